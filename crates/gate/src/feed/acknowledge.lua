-- Writes what a gate acts on, if the entry that it speaks of is in this server's stream.
--
-- KEYS: 1 the gate's hash, 2 the stream of changes
-- ARGV: 1 the entry's id, 2 its number, 3 its generation, 4 a JSON list of the paused users whom the gate still
--       serves, 5 for how many milliseconds the hash is kept
-- Returns 1, or 0 where the entry is not there: another server answers, or the stream was lost, and its numbers
-- would speak of other entries.
local entry = redis.call('XRANGE', KEYS[2], ARGV[1], ARGV[1])[1]
if not entry then return 0 end
local fields = {}
for i = 1, #entry[2], 2 do fields[entry[2][i]] = entry[2][i + 1] end
if fields.n ~= ARGV[2] or fields.gen ~= ARGV[3] then return 0 end
redis.call('HSET', KEYS[1], 'gen', ARGV[3], 'n', ARGV[2], 'busy', ARGV[4])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return 1
