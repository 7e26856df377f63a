-- ARGV: shard, ordinal, step, token, how many attempts may have no end (-1: any number). Returns {why it was not begun,
-- the attempt's number, earlier attempts that never ended}; nil if the ordinal is not in the shard. A known token is a
-- repeated call whose first reply was lost: it gets the first answer.
local shard, ordinal, step, token, most = unpack(ARGV)
if not is_open(shard) then return {"recorded", 0, 0} end
local outcome = redis.call("HGET", part(shard, "rows"), ordinal)
if not outcome then return false end
local attempts, field = part(shard, "attempts"), ordinal .. ":" .. step
local counts = redis.call("HMGET", attempts, field .. ":unended", field .. ":" .. token, field)
local unended = tonumber(counts[1] or 0)
if token ~= "" and counts[2] then return {"", tonumber(counts[3]), unended - 1} end
if outcome ~= "" then return {"recorded", 0, 0} end
local order = redis.call("HGET", run, "order")
if order then return {order, 0, 0} end
if tonumber(most) >= 0 and unended > tonumber(most) then return {"suspected", 0, unended} end
local number = tonumber(counts[3] or 0) + 1
redis.call("HSET", attempts, field, number, field .. ":unended", unended + 1)
if token ~= "" then redis.call("HSET", attempts, field .. ":" .. token, 1) end
return {"", number, unended}
