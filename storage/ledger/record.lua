-- ARGV: shard, ordinal, payload, outcome, step and token of the attempt that the result ends ("" for none), points of a
-- run, then alternating figures and increments. Returns {is_first, is_full}; nil if the ordinal is not in the shard.
local shard, ordinal, payload, outcome, step, token, points = unpack(ARGV, 1, 7)
if not is_open(shard) then return {0, 0} end
local standing = redis.call("HGET", part(shard, "rows"), ordinal)
if not standing then return false end
if standing == "" then
  redis.call("HSET", part(shard, "results"), ordinal, payload)
  mark(shard, ordinal, outcome)
  touch(shard)
  local figures = run .. ":figures"
  for i = 8, #ARGV, 2 do redis.call("HINCRBY", figures, ARGV[i], ARGV[i + 1]) end
  -- The first row after a point notes when it was passed, as "<milliseconds> <rows done>".
  local total, ok, failed = unpack(redis.call("HMGET", run, "total", "ok", "failed"))
  local done = ok + failed
  local point = math.floor(done * points / math.max(1, total))
  redis.call("HSETNX", figures, "at:" .. point, now_milliseconds() .. " " .. done)
end
if step ~= "" then end_attempt(shard, ordinal, step, token) end
return {standing == "" and 1 or 0, is_full(shard) and 1 or 0}
