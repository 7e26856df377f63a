-- ARGV: shard, ordinal, step. The attempt ended in order: its process did not die under it.
local attempts, field = part(ARGV[1], "attempts"), ARGV[2] .. ":" .. ARGV[3] .. ":unended"
if tonumber(redis.call("HGET", attempts, field) or 0) > 0 then redis.call("HINCRBY", attempts, field, -1) end
return 0
