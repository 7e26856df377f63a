-- Returns {shard, recorded, expected, idle milliseconds, refeeds} for each open shard, the longest idle first.
local now, shards = now_milliseconds(), {}
local progress = redis.call("ZRANGE", open, 0, -1, "WITHSCORES")
for i = 1, #progress, 2 do
  local shard = progress[i]
  local state = redis.call("HMGET", part(shard, "state"), "recorded", "refeeds")
  local expected = redis.call("HLEN", part(shard, "rows"))
  local idle = math.max(0, now - tonumber(progress[i + 1]))
  shards[#shards + 1] = {shard, tonumber(state[1] or 0), expected, idle, tonumber(state[2] or 0)}
end
return shards
