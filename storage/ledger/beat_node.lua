-- KEYS: the heartbeats (a sorted set of "<role> <node>"). ARGV: milliseconds to keep a member without heartbeat, node, role, role, …
local now = now_milliseconds()
redis.call("ZREMRANGEBYSCORE", KEYS[1], "-inf", now - tonumber(ARGV[1]))
for i = 3, #ARGV do redis.call("ZADD", KEYS[1], now, ARGV[i] .. " " .. ARGV[2]) end
return 0
