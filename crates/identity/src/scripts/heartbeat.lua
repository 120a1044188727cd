-- Appends a numbered entry without users: who has read it in unbroken sequence has missed nothing.
--
-- KEYS: 1 the stream of changes
-- ARGV: 1 how many entries the stream keeps, 2 a generation for an empty stream
-- Returns {n, gen}.
local n, gen = announce(KEYS[1], ARGV[1], ARGV[2], {}, false)
return {n, gen}
