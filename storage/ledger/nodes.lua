-- KEYS: the heartbeats. ARGV: the greatest age in milliseconds. Returns alternating "<role> <node>" and age in milliseconds.
local now, fresh = now_milliseconds(), {}
local beats = redis.call("ZRANGEBYSCORE", KEYS[1], now - tonumber(ARGV[1]), "+inf", "WITHSCORES")
for i = 1, #beats, 2 do
  fresh[i], fresh[i + 1] = beats[i], math.max(0, now - tonumber(beats[i + 1]))
end
return fresh
