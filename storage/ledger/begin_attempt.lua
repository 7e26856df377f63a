-- ARGV: shard, ordinal, step. Returns {the attempt's number, those before it that never ended}; {0, 0} if the shard is
-- not open; nil if it lacks the ordinal.
local shard, ordinal, step = unpack(ARGV)
if not is_open(shard) then return {0, 0} end
if redis.call("HEXISTS", part(shard, "rows"), ordinal) == 0 then return false end
local attempts, field = part(shard, "attempts"), ordinal .. ":" .. step
local number = redis.call("HINCRBY", attempts, field, 1)
return {number, redis.call("HINCRBY", attempts, field .. ":unended", 1) - 1}
