-- ARGV: shard, ordinal, payload, outcome. Returns {is_first, is_full}; nil if the ordinal is not in the shard.
local shard, ordinal, payload, outcome = unpack(ARGV)
if not is_open(shard) then return {0, 0} end
local standing = redis.call("HGET", part(shard, "rows"), ordinal)
if not standing then return false end
if standing == "" then
  redis.call("HSET", part(shard, "results"), ordinal, payload)
  mark(shard, ordinal, outcome)
  touch(shard)
end
return {standing == "" and 1 or 0, is_full(shard) and 1 or 0}
