-- ARGV: batch, session, the session to replace ("" for none), seconds to keep, the journal's id ("" for any). Returns the
-- stored session, or nil if the journal has another id.
local batches = run .. ":batches"
if ARGV[5] ~= "" and redis.call("HGET", batches, "memory") ~= ARGV[5] then return false end
local standing = redis.call("HGET", batches, ARGV[1]) or ""
if standing == ARGV[3] then
  redis.call("HSET", batches, ARGV[1], ARGV[2])
  standing = ARGV[2]
end
redis.call("EXPIRE", batches, ARGV[4])
return standing
