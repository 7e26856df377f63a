-- ARGV: points of a run, then alternating fields and increments. Adds them to the run's figures, and notes when each of
-- the points was passed: the first row after it, as "<milliseconds> <rows done>". Nothing of an unknown run is kept.
local total, ok, failed = unpack(redis.call("HMGET", run, "total", "ok", "failed"))
if not total then return 0 end
for i = 2, #ARGV, 2 do redis.call("HINCRBY", run .. ":figures", ARGV[i], ARGV[i + 1]) end
local done = ok + failed
local point = math.floor(done * ARGV[1] / math.max(1, total))
redis.call("HSETNX", run .. ":figures", "at:" .. point, now_milliseconds() .. " " .. done)
return 1
