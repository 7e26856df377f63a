-- ARGV: shard, ordinal, step. Returns the attempt's number; 0 if the shard is not open; nil if it lacks the ordinal.
local shard, ordinal, step = unpack(ARGV)
if not is_open(shard) then return 0 end
if redis.call("HEXISTS", part(shard, "rows"), ordinal) == 0 then return false end
return redis.call("HINCRBY", part(shard, "attempts"), ordinal .. ":" .. step, 1)
