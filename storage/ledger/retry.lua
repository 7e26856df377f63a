-- ARGV: shard, then ordinal and failure code by turns. Returns the number of rows taken back into flight.
-- A row is taken only while its bit for that very code is set, so a stale list does no harm.
local shard, taken = ARGV[1], 0
if redis.call("EXISTS", run) == 0 or redis.call("SADD", retries, shard) == 0 then return 0 end
for i = 2, #ARGV, 2 do
  local ordinal, code = ARGV[i], ARGV[i + 1]
  local failed = run .. ":failed:" .. code
  if redis.call("GETBIT", failed, ordinal) == 1 then
    redis.call("SETBIT", failed, ordinal, 0)
    count(code, -1)
    redis.call("HSET", part(shard, "rows"), ordinal, "")
    taken = taken + 1
  end
end
if taken > 0 then redis.call("RPUSH", queue, shard) end
return taken
