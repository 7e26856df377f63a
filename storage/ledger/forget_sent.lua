-- KEYS: the set of deferred messages, the set of those that are being sent. ARGV: messages that were sent.
for _, message in ipairs(ARGV) do
  if redis.call("SREM", KEYS[2], message) == 1 then redis.call("ZREM", KEYS[1], message) end
end
