-- ARGV: spec, total rows, shard rows, extra columns, version of the input (of a run that is new or grows). Returns {is_new, rows before, run, open shards, queued shards}.
local spec, total, shard_rows, extra_columns, version = unpack(ARGV)
local before = redis.call("HGET", run, "total")
if not before then
  redis.call("HSET", run, "spec", spec, "total", total, "shard_rows", shard_rows, "extra_columns", extra_columns,
    "submitted", now_milliseconds(), "cursor", 0, "ok", 0, "failed", 0, "input", version)
elseif tonumber(total) > tonumber(before) then
  redis.call("HSET", run, "total", total, "input", version)
end
return {before and 0 or 1, before or total, redis.call("HGETALL", run), redis.call("ZCARD", open), redis.call("LLEN", queue)}
