-- KEYS: the set of deferred messages, the set of those that are being sent. ARGV: message, milliseconds to wait.
-- One that is being sent may have been carried out and come back already: then its sender must not forget it.
redis.call("SREM", KEYS[2], ARGV[1])
return redis.call("ZADD", KEYS[1], now_milliseconds() + ARGV[2], ARGV[1])
