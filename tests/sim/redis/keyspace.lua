-- A keyspace with Redis' meaning of types and of time. A key is {type=, value=, ends=}: `value` is a string, or for a hash
-- field -> string, for a list its elements, for a zset member -> number, for a stream its entries and its last id (stream.lua); `ends` in ms, nil
-- without a TTL. A key is there up to its end, not beyond.
local keyspace = {}
keyspace.__index = keyspace

-- `clock()` gives the server's time in ms; `changed(name)`, once it is set, is told of every change.
function keyspace.new(clock)
  return setmetatable({keys = {}, clock = clock, changed = function() end}, keyspace)
end

local function copy(value)
  if type(value) ~= 'table' then return value end
  local out = {}
  for k, v in pairs(value) do out[k] = copy(v) end
  return out
end

-- What a snapshot on disk holds: ends are points in time, so they pass while it lies there.
function keyspace:snapshot()
  local out = keyspace.new(self.clock)
  for name, key in pairs(self.keys) do
    out.keys[name] = {type = key.type, value = copy(key.value), ends = key.ends}
  end
  return out
end

-- The key, or nil. `kind` (may be nil): an error if it is of another type.
function keyspace:find(name, kind)
  local key = self.keys[name]
  if key and key.ends and self.clock() > key.ends then
    self.keys[name] = nil
    self.changed(name)
    return nil
  end
  if key and kind and key.type ~= kind then
    error({err = 'WRONGTYPE Operation against a key holding the wrong kind of value'}, 0)
  end
  return key
end

-- The key, made if it is missing.
function keyspace:need(name, kind, empty)
  local key = self:find(name, kind)
  if not key then
    key = {type = kind, value = empty}
    self.keys[name] = key
  end
  return key
end

function keyspace:delete(name)
  local there = self:find(name) ~= nil
  self.keys[name] = nil
  if there then self.changed(name) end
  return there
end

-- A hash, list or zset that has lost its last member is no key any more.
function keyspace:trim(name)
  local key = self.keys[name]
  if key and type(key.value) == 'table' and next(key.value) == nil then self.keys[name] = nil end
end

-- The names of all keys that are there, sorted: the same in every run.
function keyspace:names()
  local out = {}
  for name in pairs(self.keys) do out[#out + 1] = name end
  table.sort(out)
  local live = {}
  for _, name in ipairs(out) do
    if self:find(name) then live[#live + 1] = name end
  end
  return live
end

-- Members of a zset as {member, score}, ascending by score and then by bytes.
function keyspace.ordered(key)
  local out = {}
  for member, score in pairs(key.value) do out[#out + 1] = {member, score} end
  table.sort(out, function(a, b)
    if a[2] ~= b[2] then return a[2] < b[2] end
    return a[1] < b[1]
  end)
  return out
end

return keyspace
