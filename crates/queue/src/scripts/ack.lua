-- ack: removes deliveries that are done and queues what follows from them, in one step.
-- KEYS  1 inflight (sorted set)   2 the next stage's queue (list), if anything follows
-- ARGV  1 number d of deliveries   2..d+1 the deliveries   then the next stage's entries
--       (at most 1000 of each: unpack fails above some 8000 values)
-- Returns how many of the deliveries were still held.
-- The entries are pushed even where the delivery was lost: whoever acknowledges has made the
-- transition in Postgres, and the other one will find that it is too late.

-- Fails on a key of the wrong type before anything has been removed.
if KEYS[2] then redis.call('LLEN', KEYS[2]) end
local d = tonumber(ARGV[1])
-- The removal comes first: see claim.lua on a full Redis.
local removed = redis.call('ZREM', KEYS[1], unpack(ARGV, 2, d + 1))
if #ARGV > d + 1 then redis.call('LPUSH', KEYS[2], unpack(ARGV, d + 2)) end
return removed
