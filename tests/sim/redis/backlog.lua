-- What is written behind, as it stands in the keyspace (core/src/cache/lua/wb_put.lua and its kin say what is where):
--   mp:b:{shard}key   its value; while its record is not in the store this is the record, with DIRTY in its flags
--   mp:i:{shard}key   increments that wait; mp:d:{shard}, by key: the record that they are to be added to
--   mp:q:{shard}      the keys of all that waits; mp:m:{shard}, head: how many have left it
local backlog = {}

-- "mp:b:{shard}key" in two: "{shard}" and "key". Nil: it is the name of something else.
function backlog.split(name)
  return name:match('^mp:b:({.-})(.*)$')
end

function backlog.dirty(value) return (value:byte(4) or 0) > 127 end

local function text(space, name)
  local key = space:find(name)
  return key and key.type == 'string' and key.value
end

local function field(space, name, of)
  local key = space:find(name)
  return key and key.type == 'hash' and key.value[of]
end

-- Versions of the newest and the first of the increments in the hash of that name; nil: none wait.
function backlog.sums(space, name) return field(space, name, '') or nil end

-- The record of the key that has this name of a value; false: there is none.
function backlog.record(space, name)
  local shard, key = backlog.split(name)
  local value = text(space, name)
  if value and backlog.dirty(value) then return value end
  return backlog.sums(space, 'mp:i:' .. shard .. key) and field(space, 'mp:d:' .. shard, key) or false
end

function backlog.queue(space, shard)
  local key = space:find('mp:q:' .. shard)
  return key and key.type == 'list' and key.value or {}
end

function backlog.head(space, shard) return tonumber(field(space, 'mp:m:' .. shard, 'head') or 0) end

function backlog.queued(space, shard, key)
  for _, one in ipairs(backlog.queue(space, shard)) do
    if one == key then return true end
  end
  return false
end

-- What is wrong with what stands there of a key; nil: nothing.
function backlog.broken(space, shard, key)
  local value = space:find('mp:b:' .. shard .. key)
  local sums = space:find('mp:i:' .. shard .. key)
  local dirty = value and backlog.dirty(value.value)
  if value and sums then return 'a value stands beside increments' end
  if field(space, 'mp:d:' .. shard, key) and not sums then return 'a record waits for increments that are not there' end
  if sums and not field(space, 'mp:i:' .. shard .. key, '') then return 'increments without a version' end
  if dirty and value.ends then return 'a record that waits has a time to live' end
  if value and not dirty and not value.ends then return 'a cached value has no time to live' end
  if (dirty or sums) and not backlog.queued(space, shard, key) then return 'what waits has no entry' end
end

-- All keys of which something stands there that is not in the store: {shard, key} of each.
local function all(space)
  local out = {}
  for _, name in ipairs(space:names()) do
    local shard, key = backlog.split(name)
    if shard and backlog.record(space, name) then out[#out + 1] = {shard, key} end
    shard, key = name:match('^mp:i:({.-})(.*)$')
    if shard then out[#out + 1] = {shard, key} end
  end
  return out
end

-- {key, record} of each.
function backlog.records(space)
  local out = {}
  for _, one in ipairs(all(space)) do
    local record = backlog.record(space, 'mp:b:' .. one[1] .. one[2])
    if record then out[#out + 1] = {one[2], record} end
  end
  return out
end

-- {key, the versions of the newest and the first} of each key that has some.
function backlog.increments(space)
  local out = {}
  for _, one in ipairs(all(space)) do
    local sums = backlog.sums(space, 'mp:i:' .. one[1] .. one[2])
    if sums then out[#out + 1] = {one[2], sums:sub(1, 8), sums:sub(9, 16)} end
  end
  return out
end

-- How many entries wait for the store; what should have one, and has none, counts too.
function backlog.waiting(space)
  local n = 0
  for _, name in ipairs(space:names()) do
    if name:sub(1, 5) == 'mp:q:' then n = n + #space:find(name).value end
  end
  for _, one in ipairs(all(space)) do
    if not backlog.queued(space, one[1], one[2]) then n = n + 1 end
  end
  return n
end

return backlog
