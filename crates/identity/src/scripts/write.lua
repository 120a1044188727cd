-- Writes users' texts into the mirror, none over a newer one, and tells of them in one numbered entry.
--
-- KEYS: 1 the hash, 2 the stream of changes
-- ARGV: 1 'announce' or 'fill', 2 how many entries the stream keeps, 3 a generation for an empty stream,
--       4… pairs of field and text, at most 500
-- announce: an entry always, naming each user given with the text the hash now holds (a repeated write tells
--       again; a write that came late tells what is newer)
-- fill: an entry only if fields that were there have changed: who has an absent field's user in mind has it
--       from Identity, or from an entry
-- Returns {n, gen, written, older}; n is 0 and gen '' without an entry.
local hash, stream = KEYS[1], KEYS[2]
local announcing = ARGV[1] == 'announce'
local written, older, told = 0, 0, {}

for i = 4, #ARGV, 2 do
  local field, text = ARGV[i], ARGV[i + 1]
  local held = redis.call('HGET', hash, field)
  local mine, theirs = revision(text), revision(held)
  if not mine then return redis.error_reply('ERR a text without a revision') end
  if theirs and newer(theirs, mine) then
    older = older + 1
    if announcing then told[#told + 1] = {field, held} end
  else
    -- An equal revision has an equal text, unless somebody wrote the field by hand: ours is right.
    if held ~= text then
      redis.call('HSET', hash, field, text)
      written = written + 1
    end
    if announcing or (held and held ~= text) then told[#told + 1] = {field, text} end
  end
end

if not announcing and #told == 0 then return {0, '', written, older} end
local n, gen = announce(stream, ARGV[2], ARGV[3], told, false)
return {n, gen, written, older}
