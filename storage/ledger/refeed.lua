-- ARGV: shard. Returns how often the shard has been fed again; 0 if it is not open.
local shard = ARGV[1]
if not is_open(shard) then return 0 end
touch(shard)
return redis.call("HINCRBY", part(shard, "state"), "refeeds", 1)
