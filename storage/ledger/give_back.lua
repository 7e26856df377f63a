-- ARGV: shard. The next claim takes it first. Returns 0 if it is not open, or if a row of it was recorded since.
if redis.call("EXISTS", part(ARGV[1], "results")) == 1 or redis.call("ZREM", open, ARGV[1]) == 0 then return 0 end
redis.call("LPUSH", queue, ARGV[1])
return 1
