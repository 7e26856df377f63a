-- ARGV: shard, ordinal, step, token.
end_attempt(unpack(ARGV))
return 0
