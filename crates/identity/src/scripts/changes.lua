-- Shared by the scripts that write (put in front of each of them). Redis 6.2 commands only.

-- The digits of a text's revision, without leading zeros; nil where it has none.
local function revision(text)
  local digits = text and string.match(text, '^r(%d+)')
  if not digits then return nil end
  return string.match(digits, '^0*(%d+)$')
end

-- Whether revision a is newer than b. As text, since a Lua number is exact only up to 2^53.
local function newer(a, b)
  if #a ~= #b then return #a > #b end
  return a > b
end

-- Appends one numbered entry: n is the last entry's plus one, and gen is handed on; where the stream is empty, or
-- its last entry is not one of ours or was written by another server, n starts at 1 under the generation `fresh`.
-- `users` is a list of {field, text}, `forced` says that these texts hold even against a higher revision. Returns
-- n and gen.
--
-- A generation ends with the server's run id: a stale copy that takes over after a fail-over would give numbers
-- out a second time, and what a gate has said of the first would pass for an answer to the second.
local function announce(stream, kept, fresh, users, forced)
  local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') or ''
  local tail = '-' .. string.sub(run, 1, 16)
  local n, gen = 1, fresh .. tail
  local last = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
  if last then
    local fields = {}
    for i = 1, #last[2], 2 do fields[last[2][i]] = last[2][i + 1] end
    local known = fields.n and string.match(fields.n, '^%d+$') and tonumber(fields.n)
    local ours = fields.gen and string.sub(fields.gen, -#tail) == tail
    if known and ours and known < 2 ^ 53 then n, gen = known + 1, fields.gen end
  end
  local entry = {'n', string.format('%.0f', n), 'gen', gen}
  if #users > 0 then
    entry[#entry + 1] = 'users'
    entry[#entry + 1] = cjson.encode(users)
  end
  if forced then
    entry[#entry + 1] = 'forced'
    entry[#entry + 1] = '1'
  end
  redis.call('XADD', stream, 'MAXLEN', '~', kept, '*', unpack(entry))
  return n, gen
end

