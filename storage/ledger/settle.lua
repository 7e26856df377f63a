-- ARGV: shard, then alternating ordinals and outcomes. Returns {is_open, missing ordinals}; an ordinal that is not in
-- the shard is returned alone.
local shard = ARGV[1]
if not is_open(shard) then return {0, {}} end
for i = 2, #ARGV, 2 do
  if redis.call("HEXISTS", part(shard, "rows"), ARGV[i]) == 0 then return ARGV[i] end
end
for i = 2, #ARGV, 2 do
  if redis.call("HGET", part(shard, "rows"), ARGV[i]) == "" then mark(shard, ARGV[i], ARGV[i + 1]) end
end
-- A full shard with payloads must still be written.
if is_full(shard) and redis.call("EXISTS", part(shard, "results")) == 0 then
  close(shard)
  return {0, {}}
end
local rows, left = redis.call("HGETALL", part(shard, "rows")), {}
for i = 1, #rows, 2 do
  if rows[i + 1] == "" then left[#left + 1] = rows[i] end
end
return {1, left}
