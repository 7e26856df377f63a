-- ARGV: shard, then alternating ordinals and outcomes. Replaces outcomes of recorded rows; returns how many changed.
local shard, changed = ARGV[1], 0
if not is_open(shard) then return 0 end
for i = 2, #ARGV, 2 do
  local standing = redis.call("HGET", part(shard, "rows"), ARGV[i])
  if standing and standing ~= "" and standing ~= ARGV[i + 1] then
    count(standing, -1)
    count(ARGV[i + 1], 1)
    redis.call("HSET", part(shard, "rows"), ARGV[i], ARGV[i + 1])
    changed = changed + 1
  end
end
return changed
