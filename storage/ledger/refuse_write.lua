-- ARGV: shard. Returns how often the table has refused the shard; 0 if it is not open.
if not is_open(ARGV[1]) then return 0 end
return redis.call("HINCRBY", part(ARGV[1], "state"), "refusals", 1)
