-- Streams: {last = {ms, seq}, n entries in the order of their ids, each {ms, seq, fields}}. One that has lost its entries stays, for
-- it remembers its last id.
local commands = ...

local function fail(text) error({err = text}, 0) end
local INVALID = 'ERR Invalid stream ID specified as stream command argument'

-- `seq`: where the text names none.
local function id(text, seq)
  local ms, rest = text:match('^(%d+)%-(%d+)$')
  if not ms then ms, rest = text:match('^(%d+)$'), seq end
  if not ms then fail(INVALID) end
  return {tonumber(ms), tonumber(rest)}
end

local function below(a, b) return a[1] < b[1] or (a[1] == b[1] and a[2] < b[2]) end
local function shown(one) return string.format('%.0f-%.0f', one[1], one[2]) end

function commands.XADD(server, name, at, ...)
  if at ~= '*' then fail('ERR syntax error') end
  if select('#', ...) == 0 or select('#', ...) % 2 ~= 0 then fail("ERR wrong number of arguments for 'xadd' command") end
  local value = server.space:need(name, 'stream', {last = {0, 0}}).value
  local new = {server.clock(), 0}
  if not below(value.last, new) then new = {value.last[1], value.last[2] + 1} end
  value.last = new
  value[#value + 1] = {new[1], new[2], {...}}
  server.space.changed(name)
  return shown(new)
end

function commands.XLEN(server, name)
  local key = server.space:find(name, 'stream')
  return key and #key.value or 0
end

function commands.XRANGE(server, name, from, to, word, count)
  if word and (word:upper() ~= 'COUNT' or not count) then fail('ERR syntax error') end
  local open = from:sub(1, 1) == '('
  from = from == '-' and {0, 0} or id(open and from:sub(2) or from, 0)
  to = to == '+' and {math.huge, 0} or id(to, math.huge)
  local key, out = server.space:find(name, 'stream'), {}
  for _, one in ipairs(key and key.value or {}) do
    local is_in = not below(one, from) and not (open and not below(from, one)) and not below(to, one)
    if is_in and (not count or #out < tonumber(count)) then out[#out + 1] = {shown(one), one[3]} end
  end
  return out
end

function commands.XDEL(server, name, ...)
  local key, gone, n = server.space:find(name, 'stream'), {}, 0
  if not key then return 0 end
  for i = 1, select('#', ...) do gone[shown(id((select(i, ...)), 0))] = true end
  for i = #key.value, 1, -1 do
    if gone[shown(key.value[i])] then
      table.remove(key.value, i)
      n = n + 1
    end
  end
  if n > 0 then server.space.changed(name) end
  return n
end
