-- The commands that the scripts and the library use, each with Redis 7.0's replies in the form that a script sees: a string, a
-- number, false for nil, {ok=} and {err=}, or an array. `./run sim --cross-check` compares them with a real server's.
local keyspace = ...

local function fail(text) error({err = text}, 0) end

local function number(text, min)
  local n = tonumber(text)
  if not n or n ~= math.floor(n) or not (tostring(text):match('^-?[1-9]%d*$') or text == '0' or text == 0) then
    fail('ERR value is not an integer or out of range')
  end
  if min and n < min then fail('ERR invalid expire time') end
  return n
end

local function score(text)
  local low = text:lower()
  if low == '-inf' then return -math.huge end
  if low == '+inf' or low == 'inf' then return math.huge end
  return tonumber(text) or fail('ERR value is not a valid float')
end

local function shown(n) return string.format('%.17g', n) end

local commands = {}

function commands.PING() return {ok = 'PONG'} end

function commands.TIME(server)
  local now = server.clock()
  return {string.format('%d', math.floor(now / 1000)), string.format('%d', now % 1000 * 1000)}
end

function commands.INFO(server)
  return string.format('# Server\r\nredis_version:7.0.15\r\nrun_id:%s\r\n# Replication\r\nrole:%s\r\n' ..
                       'master_replid:%s\r\nmaster_replid2:%s\r\n# Memory\r\nmaxmemory_policy:noeviction\r\n' ..
                       '# Persistence\r\naof_enabled:0\r\n', server.run, server.role, server.replid, server.replid2)
end

-- ---- any key ----

function commands.DEL(server, ...)
  local n = 0
  for i = 1, select('#', ...) do
    if server.space:delete((select(i, ...))) then n = n + 1 end
  end
  return n
end

function commands.EXISTS(server, ...)
  local n = 0
  for i = 1, select('#', ...) do
    if server.space:find((select(i, ...))) then n = n + 1 end
  end
  return n
end

function commands.TYPE(server, name)
  local key = server.space:find(name)
  return {ok = key and key.type or 'none'}
end

function commands.PTTL(server, name)
  local key = server.space:find(name)
  if not key then return -2 end
  return key.ends and key.ends - server.clock() or -1
end

function commands.PEXPIRE(server, name, ms)
  ms = number(ms)
  local key = server.space:find(name)
  if not key then return 0 end
  if ms <= 0 then server.space:delete(name) else key.ends = server.clock() + ms end
  server.space.changed(name)
  return 1
end

-- ---- strings ----

function commands.GET(server, name)
  local key = server.space:find(name, 'string')
  return key and key.value or false
end

function commands.SET(server, name, value, ...)
  local px, nx, i, words = nil, false, 1, {...}
  while words[i] do
    local word = words[i]:upper()
    if word == 'PX' then
      px = number(words[i + 1] or fail('ERR syntax error'))
      if px <= 0 then fail("ERR invalid expire time in 'set' command") end
      i = i + 1
    elseif word == 'NX' then nx = true
    else fail('ERR syntax error') end
    i = i + 1
  end
  if nx and server.space:find(name) then return false end
  server.space.keys[name] = {type = 'string', value = value, ends = px and server.clock() + px}
  server.space.changed(name)
  return {ok = 'OK'}
end

-- What had a time to live has none any more.
function commands.MSET(server, ...)
  local words = {...}
  if #words == 0 or #words % 2 ~= 0 then fail("ERR wrong number of arguments for 'mset' command") end
  for i = 1, #words, 2 do commands.SET(server, words[i], words[i + 1]) end
  return {ok = 'OK'}
end

function commands.STRLEN(server, name)
  local key = server.space:find(name, 'string')
  return key and #key.value or 0
end

function commands.APPEND(server, name, more)
  local key = server.space:need(name, 'string', '')
  key.value = key.value .. more
  server.space.changed(name)
  return #key.value
end

-- First and last of the elements that a range names, counted from 0; no more than there are.
local function bounds(from, to, count)
  if from < 0 then from = math.max(0, count + from) end
  if to < 0 then to = count + to end
  return from, math.min(to, count - 1)
end

function commands.GETRANGE(server, name, from, to)
  from, to = number(from), number(to)
  local key = server.space:find(name, 'string')
  if not key or (from < 0 and to < 0 and from > to) then return '' end
  from, to = bounds(from, to, #key.value)
  return key.value:sub(from + 1, math.max(to, 0) + 1)
end

-- Its time to live stays.
function commands.SETRANGE(server, name, at, text)
  at = number(at)
  if at < 0 then fail('ERR offset is out of range') end
  local key = server.space:find(name, 'string')
  if text == '' then return key and #key.value or 0 end
  key = server.space:need(name, 'string', '')
  local was = key.value .. ('\0'):rep(at - #key.value)
  key.value = was:sub(1, at) .. text .. was:sub(at + #text + 1)
  server.space.changed(name)
  return #key.value
end

-- ---- lists ----

function commands.RPUSH(server, name, ...)
  if select('#', ...) == 0 then fail("ERR wrong number of arguments for 'rpush' command") end
  local key = server.space:need(name, 'list', {})
  for i = 1, select('#', ...) do key.value[#key.value + 1] = select(i, ...) end
  server.space.changed(name)
  return #key.value
end

function commands.LLEN(server, name)
  local key = server.space:find(name, 'list')
  return key and #key.value or 0
end

function commands.LRANGE(server, name, from, to)
  from, to = number(from), number(to)
  local key, out = server.space:find(name, 'list'), {}
  if not key then return out end
  from, to = bounds(from, to, #key.value)
  for i = from, to do out[#out + 1] = key.value[i + 1] end
  return out
end

function commands.LTRIM(server, name, from, to)
  from, to = number(from), number(to)
  local key = server.space:find(name, 'list')
  if not key then return {ok = 'OK'} end
  key.value = commands.LRANGE(server, name, tostring(from), tostring(to))
  server.space.changed(name)
  server.space:trim(name)
  return {ok = 'OK'}
end

-- ---- hashes ----

function commands.HSET(server, name, ...)
  local words, added = {...}, 0
  if #words == 0 or #words % 2 ~= 0 then fail("ERR wrong number of arguments for 'hset' command") end
  local key = server.space:need(name, 'hash', {})
  for i = 1, #words, 2 do
    if key.value[words[i]] == nil then added = added + 1 end
    key.value[words[i]] = words[i + 1]
  end
  server.space.changed(name)
  return added
end

function commands.HGET(server, name, field)
  local key = server.space:find(name, 'hash')
  return key and key.value[field] or false
end

function commands.HMGET(server, name, ...)
  local key, out = server.space:find(name, 'hash'), {}
  for i = 1, select('#', ...) do out[i] = key and key.value[(select(i, ...))] or false end
  return out
end

function commands.HSETNX(server, name, field, value)
  local key = server.space:need(name, 'hash', {})
  if key.value[field] ~= nil then return 0 end
  key.value[field] = value
  server.space.changed(name)
  return 1
end

function commands.HDEL(server, name, ...)
  local key, n = server.space:find(name, 'hash'), 0
  for i = 1, key and select('#', ...) or 0 do
    local field = select(i, ...)
    if key.value[field] ~= nil then n = n + 1 end
    key.value[field] = nil
  end
  if n > 0 then server.space.changed(name) end
  server.space:trim(name)
  return n
end

function commands.HLEN(server, name)
  local key, n = server.space:find(name, 'hash'), 0
  for _ in pairs(key and key.value or {}) do n = n + 1 end
  return n
end

function commands.HSTRLEN(server, name, field)
  local key = server.space:find(name, 'hash')
  return key and #(key.value[field] or '') or 0
end

-- By their names: Redis has an order of its own, on which nobody may rely.
function commands.HGETALL(server, name)
  local key, fields, out = server.space:find(name, 'hash'), {}, {}
  for field in pairs(key and key.value or {}) do fields[#fields + 1] = field end
  table.sort(fields)
  for _, field in ipairs(fields) do
    out[#out + 1] = field
    out[#out + 1] = key.value[field]
  end
  return out
end

function commands.HINCRBY(server, name, field, by)
  by = number(by)
  local key = server.space:need(name, 'hash', {})
  local was = key.value[field]
  if was and not was:match('^-?%d+$') then
    server.space:trim(name)
    fail('ERR hash value is not an integer')
  end
  local sum = tonumber(was or 0) + by
  key.value[field] = string.format('%.0f', sum)
  server.space.changed(name)
  return sum
end

-- ---- sorted sets ----

function commands.ZADD(server, name, ...)
  local words, gt, i = {...}, false, 1
  while words[i] and words[i]:upper() == 'GT' do gt, i = true, i + 1 end
  if #words < i + 1 or (#words - i) % 2 ~= 1 then fail('ERR syntax error') end
  local pairs_of, added = {}, 0
  for k = i, #words, 2 do pairs_of[#pairs_of + 1] = {words[k + 1], score(words[k])} end
  local key = server.space:need(name, 'zset', {})
  for _, one in ipairs(pairs_of) do
    local was = key.value[one[1]]
    if was == nil then added = added + 1 end
    if was == nil or not gt or one[2] > was then key.value[one[1]] = one[2] end
  end
  server.space.changed(name)
  return added
end

function commands.ZSCORE(server, name, member)
  local key = server.space:find(name, 'zset')
  local n = key and key.value[member]
  return n and shown(n) or false
end

function commands.ZCARD(server, name)
  local key = server.space:find(name, 'zset')
  return key and #keyspace.ordered(key) or 0
end

function commands.ZREM(server, name, ...)
  local key, n = server.space:find(name, 'zset'), 0
  for i = 1, key and select('#', ...) or 0 do
    local member = select(i, ...)
    if key.value[member] ~= nil then n = n + 1 end
    key.value[member] = nil
  end
  if n > 0 then server.space.changed(name) end
  server.space:trim(name)
  return n
end

function commands.ZREMRANGEBYSCORE(server, name, from, to)
  from, to = score(from), score(to)
  local key, n = server.space:find(name, 'zset'), 0
  for _, one in ipairs(key and keyspace.ordered(key) or {}) do
    if one[2] >= from and one[2] <= to then
      key.value[one[1]] = nil
      n = n + 1
    end
  end
  if n > 0 then server.space.changed(name) end
  server.space:trim(name)
  return n
end

function commands.ZREVRANGE(server, name, from, to, scores)
  from, to = number(from), number(to)
  local key, out = server.space:find(name, 'zset'), {}
  local all = key and keyspace.ordered(key) or {}
  if from < 0 then from = math.max(0, #all + from) end
  if to < 0 then to = #all + to end
  for i = from, math.min(to, #all - 1) do
    local one = all[#all - i]
    out[#out + 1] = one[1]
    if scores then out[#out + 1] = shown(one[2]) end
  end
  return out
end

return commands
