-- promote: puts delayed jobs that are due at the end from which is claimed.
-- KEYS  1 delayed (sorted set)   2 queue (list)
-- ARGV  1 how many at most (1..1000)
-- Returns how many were moved.

redis.call('LLEN', KEYS[2])
local now = redis.call('TIME')
now = string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000))
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])
-- From the last to the first, so that what was due first is claimed first.
for i = #due, 1, -1 do
  redis.call('ZREM', KEYS[1], due[i])
  redis.call('RPUSH', KEYS[2], due[i])
end
return #due
