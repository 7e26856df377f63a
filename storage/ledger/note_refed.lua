-- ARGV: number of a resumption. An unknown run is ignored.
if redis.call("EXISTS", run) == 0 then return 0 end
redis.call("HSET", run, "refed", math.max(tonumber(ARGV[1]), tonumber(redis.call("HGET", run, "refed") or 0)))
return 1
