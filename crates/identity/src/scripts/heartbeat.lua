-- Appends a numbered entry without users: who has read it in unbroken sequence has missed nothing.
--
-- KEYS: 1 the stream of changes
-- ARGV: 1 how many entries the stream keeps, 2 a generation for an empty stream, and perhaps
--       3 the run id of the server that it is for, 4 until when, in microseconds by this server's clock
-- Returns {n, gen}; n is 0 and gen '' where it came too late, or to another server: whoever sent it may have been stopped
-- in between, and does not know what has happened since.
if ARGV[3] then
  local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') or ''
  local time = redis.call('TIME')
  local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
  if run ~= ARGV[3] or now > tonumber(ARGV[4]) then return {0, ''} end
end
local n, gen = announce(KEYS[1], ARGV[1], ARGV[2], {}, false)
return {n, gen}
