-- depth: how much a stage has to do, all read at one moment. Changes nothing.
-- KEYS  1 queue (list)   2 inflight (sorted set)   3 delayed (sorted set)   4 dead (list)
-- Returns four lengths, Redis time in ms as text, and the entry that has waited longest ('' = none).

local now = redis.call('TIME')
return {
  redis.call('LLEN', KEYS[1]),
  redis.call('ZCARD', KEYS[2]),
  redis.call('ZCARD', KEYS[3]),
  redis.call('LLEN', KEYS[4]),
  string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000)),
  redis.call('LINDEX', KEYS[1], -1) or '',
}
