-- Begins a new numbering, on the server of that run id only: whoever follows the stream forgets what was known.
--
-- KEYS: 1 the stream of changes
-- ARGV: 1 how many entries the stream keeps, 2 the new generation, 3 the run id
-- Returns 1, or 0 on another server.
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') or ''
if run ~= ARGV[3] then return 0 end
redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', 'n', '1', 'gen', ARGV[2] .. '-' .. string.sub(run, 1, 16))
return 1
