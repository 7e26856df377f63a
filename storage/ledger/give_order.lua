-- ARGV: order, "" to go on. Returns the order that stands afterwards; an unknown run has none. Only a new submission
-- ends a cancellation. Shards of a run that goes on count as idle from now.
if redis.call("EXISTS", run) == 0 then return "" end
local standing = redis.call("HGET", run, "order") or ""
if standing == "cancelled" or standing == ARGV[1] then return standing end
if ARGV[1] ~= "" then
  redis.call("HSET", run, "order", ARGV[1])
  return ARGV[1]
end
redis.call("HDEL", run, "order")
redis.call("HINCRBY", run, "resumed", 1)
for _, shard in ipairs(redis.call("ZRANGE", open, 0, -1)) do touch(shard) end
return ""
