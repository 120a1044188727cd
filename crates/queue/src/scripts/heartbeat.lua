-- heartbeat: says that a worker lives and what it does, and forgets those that fell silent.
-- KEYS  1 workers (sorted set)   2 this worker (hash)
-- ARGV  1 id   2 for how many ms it may be believed   then pairs: field, value

redis.call('HLEN', KEYS[2])
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
-- The removal comes first: see claim.lua on a full Redis.
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('(%.0f', now - ARGV[2]))
redis.call('ZADD', KEYS[1], string.format('%.0f', now), ARGV[1])
redis.call('HSET', KEYS[2], unpack(ARGV, 3))
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return 1
