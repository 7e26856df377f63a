-- ARGV: shard, then alternating ordinals and failure codes. Returns the number of rows put back into flight.
-- A row is taken only while its bit for this code is set, so an outdated list has no effect.
-- The shard's generation orders its rows after all earlier ones: the server's time, but always more than the last one.
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
if taken > 0 then
  local generation = math.max(now_milliseconds(), tonumber(redis.call("HGET", run, "generation") or 0) + 1)
  redis.call("HSET", run, "generation", string.format("%d", generation))
  redis.call("HSET", part(shard, "state"), "generation", string.format("%d", generation))
  redis.call("RPUSH", queue, shard)
end
return taken
