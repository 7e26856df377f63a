-- ARGV: shard, ordinal, step, token. The attempt ended: its process did not die during it. An unknown token ended
-- already, or was forgotten.
local attempts, field = part(ARGV[1], "attempts"), ARGV[2] .. ":" .. ARGV[3]
if ARGV[4] ~= "" and redis.call("HDEL", attempts, field .. ":" .. ARGV[4]) == 0 then return 0 end
local unended = field .. ":unended"
if tonumber(redis.call("HGET", attempts, unended) or 0) > 0 then redis.call("HINCRBY", attempts, unended, -1) end
return 0
