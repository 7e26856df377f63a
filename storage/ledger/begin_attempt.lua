-- ARGV: shard, ordinal, step, token. Returns {the attempt's number, earlier attempts that never ended}; {0, 0} if the
-- shard is not open; nil if the ordinal is not in it. A known token is a repeated call whose first reply was lost.
local shard, ordinal, step, token = unpack(ARGV)
if not is_open(shard) then return {0, 0} end
if redis.call("HEXISTS", part(shard, "rows"), ordinal) == 0 then return false end
local attempts, field = part(shard, "attempts"), ordinal .. ":" .. step
local unended = field .. ":unended"
if token ~= "" and redis.call("HSETNX", attempts, field .. ":" .. token, 1) == 0 then
  return {tonumber(redis.call("HGET", attempts, field)), tonumber(redis.call("HGET", attempts, unended)) - 1}
end
local number = redis.call("HINCRBY", attempts, field, 1)
return {number, redis.call("HINCRBY", attempts, unended, 1) - 1}
