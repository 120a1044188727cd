-- retry: puts deliveries aside until they are due again.
-- KEYS  1 inflight (sorted set)   2 delayed (sorted set)
-- ARGV  triples: delivery, delay in ms, the entry to keep (its tries already counted)
-- Returns how many were still held. One that was lost is not kept: it runs elsewhere already.

redis.call('ZCARD', KEYS[2])
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local kept = 0
for i = 1, #ARGV, 3 do
  if redis.call('ZREM', KEYS[1], ARGV[i]) == 1 then
    redis.call('ZADD', KEYS[2], string.format('%.0f', now + ARGV[i + 1]), ARGV[i + 2])
    kept = kept + 1
  end
end
return kept
