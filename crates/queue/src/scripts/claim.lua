-- claim: hands the jobs that have waited longest to one worker, under a lease.
-- KEYS  1 queue (list)   2 inflight (sorted set)
-- ARGV  1 how many at most (1..1000)   2 lease in ms   3 delivery prefix, unique to this call
-- Returns the raw entries in the order of claiming; the i-th is held as "<prefix>.<i> <raw entry>",
-- with i from 1 as two digits of base 32.
-- The entries are not parsed here: cjson would cost more than all the rest.

-- Fails on a key of the wrong type before anything has been taken from the list.
redis.call('ZCARD', KEYS[2])
-- The removal comes first: a script that has written may go on writing when Redis is full,
-- so that a full Redis can still be drained.
local raw = redis.call('RPOP', KEYS[1], ARGV[1])
if not raw then return {} end

local now = redis.call('TIME')
local deadline = string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000) + ARGV[2])
-- Digits from a table: turning a number into text would be an eighth of the whole script's time.
local digit = {[0] = '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
  'g', 'h', 'i', 'j', 'k', 'l', 'm', 'n', 'o', 'p', 'q', 'r', 's', 't', 'u', 'v'}
local prefix = ARGV[3] .. '.'
local held = {}
for i = 1, #raw do
  local low = i % 32
  held[2 * i - 1] = deadline
  held[2 * i] = prefix .. digit[(i - low) / 32] .. digit[low] .. ' ' .. raw[i]
end
redis.call('ZADD', KEYS[2], unpack(held))
return raw
