-- What a server can see of a broken rule that no reader would notice: who may end a lease, and who may make one; and how what is written
-- behind stands there (backlog.lua). (Whatever makes a read wrong is judged by the reads, see ../judge.h.)
local backlog = ...
local watch = {}

-- ---- leases ----

local function leases(space, keys)
  local out = {}
  for _, name in ipairs(keys) do
    if name:sub(1, 5) == 'mp:l:' or name:sub(1, 6) == 'mp:bl:' then
      local key = space:find(name)
      out[name] = {token = key and key.value, ends = key and key.ends}
    end
  end
  return out
end

local BACKOFF = '-'
local gives = {get = true, wb_get = true}
-- Whoever loads began before this, so that what he has may be older.
local revokes = {begin = true, ['end'] = true, wb_ack = true, wb_end = true, wb_incr = true, wb_fold = true, wb_dead = true, wb_dead_retry = true}

-- `name` is the script that ran, `token` its caller's.
local function lease(name, token, was, is)
  if was.token and not is.token and was.token ~= token and not revokes[name] then
    return 'ended the lease of another'
  elseif was.token and is.token and was.token ~= is.token and was.token ~= BACKOFF and not (name == 'release' and was.token == token) then
    return 'gave away a lease that stood'
  elseif is.token and is.token ~= was.token and is.token ~= BACKOFF and (not gives[name] or is.token ~= token) then
    return 'made a lease'
  elseif is.token and is.token == was.token and is.ends ~= was.ends and is.token ~= token then
    return 'moved the end of the lease of another'
  end
end

-- ---- queues ----

-- Of each shard that the keys are of: its entries, and the place of the first.
local function queues(space, keys)
  local out = {}
  for _, name in ipairs(keys) do
    local shard = name:match('^mp:q:(.*)$')
    if shard then
      local entries = {}
      for i, key in ipairs(backlog.queue(space, shard)) do entries[i] = key end
      out[shard] = {head = backlog.head(space, shard), entries = entries}
    end
  end
  return out
end

local most = {wb_put = 5, wb_puts = 2, wb_incr = 5, wb_dead_retry = 4} -- which argument says how many entries may wait

local function queue(name, args, was, is)
  local less = is.head - was.head
  if less < 0 or less > #was.entries then return 'lost count of what has left the queue' end
  if less > 0 and name ~= 'wb_ack' then return 'took entries out of the queue' end
  for i = less + 1, #was.entries do
    if is.entries[i - less] ~= was.entries[i] then return 'moved an entry to another place' end
  end
  if most[name] and #is.entries > math.max(#was.entries, tonumber(args[most[name]])) then return 'let more wait than may' end
end

-- ---- both ----

-- What the keys of a script were before it ran, for after().
function watch.before(space, keys) return {leases = leases(space, keys), queues = queues(space, keys)} end

-- What is wrong, or nil.
function watch.after(space, keys, name, args, was)
  local now = watch.before(space, keys)
  local wrong
  for of, lease_was in pairs(was.leases) do wrong = wrong or lease(name, args[1], lease_was, now.leases[of]) end
  for shard, queue_was in pairs(was.queues) do wrong = wrong or queue(name, args, queue_was, now.queues[shard]) end
  for _, of in ipairs(keys) do
    local shard, key = backlog.split(of)
    local broken = shard and backlog.broken(space, shard, key)
    wrong = wrong or broken and 'left it so that ' .. broken
  end
  return wrong and name .. ' ' .. wrong
end

return watch
