-- ARGV: batch, session, the session to replace ("" for none), seconds to keep. Returns the stored session.
local batches = run .. ":batches"
local standing = redis.call("HGET", batches, ARGV[1]) or ""
if standing == ARGV[3] then
  redis.call("HSET", batches, ARGV[1], ARGV[2])
  standing = ARGV[2]
end
redis.call("EXPIRE", batches, ARGV[4])
return standing
