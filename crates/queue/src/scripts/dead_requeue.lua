-- dead_requeue: lets jobs that were given up wait again, as new ones.
-- KEYS  1 dead (list)   2 queue (list)
-- ARGV  pairs: the record as it stands in the list, the entry to queue (at most 50 pairs)
-- Returns how many records were still there. The search is bounded: the list is capped, starts at
-- its oldest record, and few are asked for at a time.

redis.call('LLEN', KEYS[2])
local queued = 0
for i = 1, #ARGV, 2 do
  if redis.call('LREM', KEYS[1], -1, ARGV[i]) == 1 then
    redis.call('LPUSH', KEYS[2], ARGV[i + 1])
    queued = queued + 1
  end
end
return queued
