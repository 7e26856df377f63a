-- ARGV: max_open. Returns {shard, ordinals}, or nil while so many shards are open, no row is left, or an operator has
-- paused or cancelled the run. Queued shards go first.
if redis.call("HEXISTS", run, "order") == 1 then return false end
if redis.call("EXISTS", run) == 0 or redis.call("ZCARD", open) >= tonumber(ARGV[1]) then return false end
local function cut()
  local fields = redis.call("HMGET", run, "cursor", "total", "shard_rows")
  local start, total = tonumber(fields[1]), tonumber(fields[2])
  if start >= total then return false end
  local stop = math.min(start + tonumber(fields[3]), total)
  local shard = string.format("%d-%d", start, stop)
  redis.call("HSET", run, "cursor", string.format("%d", stop))
  for ordinal = start, stop - 1 do
    redis.call("HSET", part(shard, "rows"), string.format("%d", ordinal), "")
  end
  return shard
end
local shard = redis.call("LPOP", queue) or cut()
if not shard then return false end
touch(shard)
return {shard, redis.call("HKEYS", part(shard, "rows"))}
