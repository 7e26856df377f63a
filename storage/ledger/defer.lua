-- KEYS[1] is the set of deferred messages. ARGV: message, milliseconds to wait.
return redis.call("ZADD", KEYS[1], now_milliseconds() + ARGV[2], ARGV[1])
