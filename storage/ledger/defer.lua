-- KEYS: the set of deferred messages, the set of those that are being sent. ARGV: message, milliseconds to wait.
-- A message that is being sent may have been processed and added again already; its sender must then not forget it.
redis.call("SREM", KEYS[2], ARGV[1])
return redis.call("ZADD", KEYS[1], now_milliseconds() + ARGV[2], ARGV[1])
