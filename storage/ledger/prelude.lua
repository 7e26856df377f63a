-- Prefix of every script. KEYS[1] is the run's hash; every other key of the run starts with its name and so has the same
-- {hash tag}: all keys of a run are in one slot of a cluster.
local run = KEYS[1]
local open, queue, failures, retries = run .. ":open", run .. ":queue", run .. ":failures", run .. ":retries"

local function part(shard, name) return run .. ":shard:" .. shard .. ":" .. name end

-- The server's clock, because workers' clocks may differ.
local function now_milliseconds()
  local time = redis.call("TIME")
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function is_open(shard) return redis.call("ZSCORE", open, shard) and true end

local function touch(shard) redis.call("ZADD", open, now_milliseconds(), shard) end

local function is_full(shard)
  local recorded = redis.call("HGET", part(shard, "state"), "recorded") or 0
  return tonumber(recorded) == redis.call("HLEN", part(shard, "rows"))
end

-- Adds ``by`` (1 or -1) rows of an outcome. Codes stay in the hash at zero, because they name the bitmaps to delete.
local function count(outcome, by)
  if outcome == "ok" then
    redis.call("HINCRBY", run, "ok", by)
  else
    redis.call("HINCRBY", run, "failed", by)
    redis.call("HINCRBY", failures, outcome, by)
  end
end

local function mark(shard, ordinal, outcome)
  redis.call("HSET", part(shard, "rows"), ordinal, outcome)
  redis.call("HINCRBY", part(shard, "state"), "recorded", 1)
  count(outcome, 1)
end

-- The attempt ended: its process did not die during it. An unknown token ended already, or was forgotten.
local function end_attempt(shard, ordinal, step, token)
  local attempts, field = part(shard, "attempts"), ordinal .. ":" .. step
  if token ~= "" and redis.call("HDEL", attempts, field .. ":" .. token) == 0 then return end
  local unended = field .. ":unended"
  if tonumber(redis.call("HGET", attempts, unended) or 0) > 0 then redis.call("HINCRBY", attempts, unended, -1) end
end

local function drop(shard)
  redis.call("UNLINK", part(shard, "rows"), part(shard, "results"), part(shard, "state"), part(shard, "attempts"))
end

-- ZREM comes first: a server at its memory limit accepts it, and after a script's first write its other writes are
-- accepted too. Closing frees memory, so it must not need any.
-- The bitmap of a failure code holds the rows of *closed* shards only: a set bit means the row may be retried.
local function close(shard)
  redis.call("ZREM", open, shard)
  local rows = redis.call("HGETALL", part(shard, "rows"))
  for i = 1, #rows, 2 do
    if rows[i + 1] ~= "ok" then redis.call("SETBIT", run .. ":failed:" .. rows[i + 1], rows[i], 1) end
  end
  drop(shard)
end

