-- KEYS: the set of deferred messages, the set of those that are being sent. ARGV: how many at most, milliseconds until
-- a message whose taker died is due again. Messages stay until the taker forgets them: a taker that dies loses none.
local now = now_milliseconds()
local due = redis.call("ZRANGEBYSCORE", KEYS[1], "-inf", now, "LIMIT", 0, ARGV[1])
for _, message in ipairs(due) do
  redis.call("ZADD", KEYS[1], now + ARGV[2], message)
  redis.call("SADD", KEYS[2], message)
end
return due
