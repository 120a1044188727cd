-- recover: takes back deliveries whose lease ran out.
-- KEYS  1 inflight (sorted set)   2 queue (list)   3 dead (list)
-- ARGV  1 how many dead to keep   then triples: delivery, "queue" or "dead", what to put there
--       (for "dead" the record up to the value of "at")
-- Returns two counts: queued again, given up.
-- What was renewed or acknowledged since it was found expired is left alone.

redis.call('LLEN', KEYS[2])
redis.call('LLEN', KEYS[3])
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local queued, dead = 0, 0
-- From the last to the first, so that the longest overdue is the next to be claimed.
for i = #ARGV - 2, 2, -3 do
  local deadline = redis.call('ZSCORE', KEYS[1], ARGV[i])
  if deadline and tonumber(deadline) <= now then
    redis.call('ZREM', KEYS[1], ARGV[i])
    if ARGV[i + 1] == 'queue' then
      redis.call('RPUSH', KEYS[2], ARGV[i + 2])
      queued = queued + 1
    else
      redis.call('LPUSH', KEYS[3], ARGV[i + 2] .. string.format('%.0f', now) .. '}')
      dead = dead + 1
    end
  end
end
if dead > 0 then redis.call('LTRIM', KEYS[3], 0, ARGV[1] - 1) end
return {queued, dead}
