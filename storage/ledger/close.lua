-- ARGV: shard. Returns 1 for the call that closed it, else 0.
local shard = ARGV[1]
if not is_open(shard) or not is_full(shard) then return 0 end
close(shard)
return 1
