-- hand_back: returns deliveries that were not begun to the end from which is claimed.
-- KEYS  1 inflight (sorted set)   2 queue (list)
-- ARGV  the deliveries, the last claimed first, so that the first claimed is again the next
-- Returns how many were still held. The entries go back byte for byte: no try is counted.

redis.call('LLEN', KEYS[2])
local kept = 0
for i = 1, #ARGV do
  if redis.call('ZREM', KEYS[1], ARGV[i]) == 1 then
    redis.call('RPUSH', KEYS[2], string.sub(ARGV[i], string.find(ARGV[i], ' ', 1, true) + 1))
    kept = kept + 1
  end
end
return kept
