-- ARGV: shard, ordinal.
local attempts, prefix = part(ARGV[1], "attempts"), ARGV[2] .. ":"
for _, field in ipairs(redis.call("HKEYS", attempts)) do
  if string.sub(field, 1, #prefix) == prefix then redis.call("HDEL", attempts, field) end
end
return 0
