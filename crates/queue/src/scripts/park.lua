-- park: gives deliveries up, with the reason, and keeps the newest of the dead.
-- KEYS  1 inflight (sorted set)   2 dead (list)
-- ARGV  1 how many dead to keep   then pairs: delivery, its record up to the value of "at"
-- Returns how many were still held. The record's time is Redis time, so it is added here.

redis.call('LLEN', KEYS[2])
local now = redis.call('TIME')
now = string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000))
local kept = 0
for i = 2, #ARGV, 2 do
  if redis.call('ZREM', KEYS[1], ARGV[i]) == 1 then
    redis.call('LPUSH', KEYS[2], ARGV[i + 1] .. now .. '}')
    kept = kept + 1
  end
end
redis.call('LTRIM', KEYS[2], 0, ARGV[1] - 1)
return kept
