-- Puts right what no revision can: a field whose text was never Identity's, or is ahead of Identity's truth.
-- Each is replaced only while it is still the text that was found wrong.
--
-- KEYS: 1 the hash, 2 the stream of changes
-- ARGV: 1 how many entries the stream keeps, 2 a generation for an empty stream,
--       3… triples of field, the text found, the right text, at most 500
-- Returns {n, gen, written, changed since}; n is 0 and gen '' without an entry.
local hash, stream = KEYS[1], KEYS[2]
local written, moved, told = 0, 0, {}

for i = 3, #ARGV, 3 do
  local field, found, text = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  if redis.call('HGET', hash, field) == found then
    redis.call('HSET', hash, field, text)
    written = written + 1
    told[#told + 1] = {field, text}
  else
    moved = moved + 1
  end
end

if #told == 0 then return {0, '', written, moved} end
local n, gen = announce(stream, ARGV[1], ARGV[2], told, true)
return {n, gen, written, moved}
