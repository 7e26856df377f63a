-- ARGV: shard, number of results that were written. Returns 1 for the call that closed it, else 0.
local shard = ARGV[1]
if not is_open(shard) or redis.call("HGET", run, "order") ~= "cancelled" then return 0 end
if redis.call("HLEN", part(shard, "results")) ~= tonumber(ARGV[2]) then return 0 end
local rows = redis.call("HGETALL", part(shard, "rows"))
for i = 1, #rows, 2 do
  if rows[i + 1] == "" then redis.call("HDEL", part(shard, "rows"), rows[i]) end
end
close(shard)
return 1
