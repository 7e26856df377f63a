-- Removes every key of the run.
for _, shard in ipairs(redis.call("ZRANGE", open, 0, -1)) do drop(shard) end
for _, shard in ipairs(redis.call("LRANGE", queue, 0, -1)) do drop(shard) end
for _, code in ipairs(redis.call("HKEYS", failures)) do redis.call("UNLINK", run .. ":failed:" .. code) end
return redis.call("UNLINK", run, open, queue, failures, retries, run .. ":troubles", run .. ":batches",
  run .. ":figures")
