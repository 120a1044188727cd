-- Says until when the mirror may be believed, if this is the server that the caller has verified.
--
-- KEYS: 1 the hash
-- ARGV: 1 the run_id of the verified server, 2 until when, in milliseconds since 1970
-- Never moves the time back while the server is the same.
-- Returns {'renewed' | 'first' | 'other', the server's run_id}; 'first' is a field that was absent or another
-- server's: somebody emptied the hash, or it has just been rebuilt. 'other' wrote nothing.
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') or ''
if run == '' or run ~= ARGV[1] then return {'other', run} end
local held = redis.call('HGET', KEYS[1], '!ready') or ''
local till, holder = string.match(held, '^until (%d+) run (%w+)$')
local known = holder == run
local new = ARGV[2]
if known and (#till > #new or (#till == #new and till > new)) then new = till end
redis.call('HSET', KEYS[1], '!ready', 'until ' .. new .. ' run ' .. run)
return {known and 'renewed' or 'first', run}
