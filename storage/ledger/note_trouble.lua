-- ARGV: step, text. An unknown run is ignored.
if redis.call("EXISTS", run) == 0 then return 0 end
redis.call("HSET", run .. ":troubles", ARGV[1], string.format("%d ", now_milliseconds()) .. ARGV[2])
return 1
