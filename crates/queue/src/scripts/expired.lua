-- expired: which deliveries have a lease that ran out, by Redis time. Changes nothing.
-- KEYS  1 inflight (sorted set)
-- ARGV  1 how many at most (1..1000)
-- Returns the deliveries, the longest overdue first.

local now = redis.call('TIME')
now = string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000))
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])
