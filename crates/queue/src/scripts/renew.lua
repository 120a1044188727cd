-- renew: moves the lease of deliveries that are still held to a later time.
-- KEYS  1 inflight (sorted set)
-- ARGV  1 lease in ms   then the deliveries (at most 1000)
-- Returns the positions, from 1, of the deliveries that are not held any more.
-- One whose lease has run out, but which nobody has taken back yet, is still held.

local scores = redis.call('ZMSCORE', KEYS[1], unpack(ARGV, 2))
local now = redis.call('TIME')
local deadline = string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000) + ARGV[1])
local held, lost = {}, {}
for i = 1, #scores do
  if scores[i] then
    held[#held + 1] = deadline
    held[#held + 1] = ARGV[i + 1]
  else
    lost[#lost + 1] = i
  end
end
-- A full Redis refuses ZADD as a script's first write, even where it only changes scores; after a
-- removal, be it of nothing, it does not. No member is the empty string.
redis.call('ZREM', KEYS[1], '')
if #held > 0 then redis.call('ZADD', KEYS[1], unpack(held)) end
return lost
