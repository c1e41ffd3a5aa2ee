-- The simulated Redis: a keyspace, a run id, a replication id, the scripts that it has seen, who wants to be told of changes, and its
-- end and return.
local root, scripts, clock = ... -- folder of these files; sha -> {name=, text=}; the time in ms

local function part(name, ...) return assert(loadfile(root .. '/' .. name .. '.lua'))(...) end
local keyspace = part('keyspace')
local commands = part('commands', keyspace)
part('stream', commands)
local script = part('script', commands)
local encode = part('resp')
local backlog = part('backlog')
local watch = part('watch', backlog)

local server = {}
server.__index = server

local NOBODY = ('0'):rep(40)

-- `replaced`: name of a script -> the text that runs in its place (mutants, and the textbook, which is not `watched`: it has no
-- such rules). `tells`: it is new enough to tell of changes.
local function new(run, replid, replaced, watched, tells)
  local s = setmetatable({clock = clock, role = 'master', replaced = replaced, watched = watched, tells = tells}, server)
  s:restart(run, replid, false)
  return s
end

-- Another process: it knows no script, and what was in memory is gone or as it was when the snapshot was taken. `promoted`: it
-- was a replica until now, and remembers the replication id of its master.
function server:restart(run, replid, from_snapshot, promoted)
  self.space = from_snapshot and self.saved and self.saved:snapshot() or keyspace.new(clock)
  self.space.changed = function(name) self:changed(name) end
  self.tracking, self.readers, self.pushes, self.accepted = {}, {}, {}, {}
  self.replid2 = promoted and self.replid or NOBODY
  self.run, self.replid = run, replid
  self.loaded = {}
end

function server:save() self.saved = self.space:snapshot() end

-- The first replica attaches: another replication id, the same history.
function server:new_replid(replid) self.replid = replid end

-- ---- CLIENT TRACKING: a connection is told once of the next change of each key that it has read ----

function server:track(conn, name)
  if not self.tracking[conn] then return end
  local conns = self.readers[name] or {}
  self.readers[name] = conns
  conns[#conns + 1] = conn
end

function server:changed(name)
  local conns = self.readers[name] or {}
  self.readers[name] = nil
  for _, conn in ipairs(conns) do
    self.pushes[#self.pushes + 1] = {conn = conn, resp = encode({push = true, 'invalidate', {name}})}
  end
end

-- The next that is to be told: a connection and what it gets; nil: nothing.
function server:push()
  local one = table.remove(self.pushes, 1)
  if one then return one.conn, one.resp end
end

-- What Redis does ten times a second: keys whose time has passed go.
function server:expire() self.space:names() end

-- ---- faults ----

-- Takes the identity of another server.
function server:adopt(run, replid) self.run, self.replid = run, replid end

-- The n-th (counted around) of the keys whose name begins with `prefix` goes; its name, or nil if there is none. Only such as have a time to
-- live: where documents are written behind no other policy is let in. But the fence may go, too, by somebody's hand.
function server:evict(prefix, n)
  local found = {}
  for _, name in ipairs(self.space:names()) do
    local may = self.space:find(name).ends or name == 'mp:f'
    if may and name:sub(1, #prefix) == prefix then found[#found + 1] = name end
  end
  local name = found[1] and found[n % #found + 1]
  if name then self.space:delete(name) end
  return name
end

function server:flush_scripts() self.loaded = {} end

local function slice(argv, from, to)
  local out = {}
  for i = from, to do out[#out + 1] = argv[i] end
  return out
end

function server:eval(known, argv)
  local n = tonumber(argv[3])
  local keys, args = slice(argv, 4, 3 + n), slice(argv, 4 + n, #argv)
  local was = self.watched and watch.before(self.space, keys)
  local had = self:stands(known.name, keys, args)
  self.several = known.name == 'wb_puts' and {} or nil
  local value = script.run(self, self.replaced[known.name] or known.text, keys, args)
  if self.several then self:note_several(keys, args)
  else self:note(known.name, keys, args, had) end
  if self.watched then
    self.complaint = type(value) == 'table' and value.err or watch.after(self.space, keys, known.name, args, was)
  end
  return value
end

-- ---- what is written behind ----

local accepts = {wb_put = 'record', wb_incr = 'increment', wb_fold = 'fold'}

-- What stands there of the key that such a script is about: its record, and the versions of its increments.
function server:stands(name, keys, args)
  if not accepts[name] then return end
  local sums = backlog.sums(self.space, keys[2])
  return {record = backlog.record(self.space, keys[1]), sums = sums, newest = sums and sums:sub(1, 8)}
end

-- What it has accepted since: an increment's version and by how much, or a record, of a fold with the version of the newest increment in it, and the
-- version that those have now which came later. A fold that drops increments brings the record as it stays, or '', and the version of the first of them.
function server:note(name, keys, args, had)
  local has, kind = self:stands(name, keys, args), accepts[name]
  if kind == 'increment' and has.sums ~= had.sums then
    self.accepted[#self.accepted + 1] = {args[1], has.newest, kind, args[3]}
  elseif kind and kind ~= 'increment' and has.record and has.record ~= had.record then
    self.accepted[#self.accepted + 1] = {args[1], has.record, kind, kind == 'fold' and args[6] or '', has.newest or ''}
  elseif kind == 'fold' and has.sums ~= had.sums then
    self.accepted[#self.accepted + 1] = {args[1], has.record or '', 'drop', args[6], has.newest or '', args[5]}
  end
end

-- Of wb_puts each record as it is written: one may be in the place of another of the same call.
function server:called(name, argv)
  if not self.several or name ~= 'MSET' then return end
  for i = 2, #argv, 2 do self.several[#self.several + 1] = {argv[i], argv[i + 1], 'record', ''} end
end

function server:note_several(keys, args)
  local key_of = {}
  for i = 1, (#keys - 4) / 2 do key_of[keys[4 + i]] = args[4 + i] end
  for _, one in ipairs(self.several) do
    one[1] = key_of[one[1]]
    self.accepted[#self.accepted + 1] = one
  end
  self.several = nil
end

-- The next thing that was accepted: the user's key, what it is (a record, or an increment's version), its kind, and what note() says of it; nil: nothing.
function server:accept()
  local one = table.remove(self.accepted, 1)
  if one then return unpack(one) end
end

function server:waiting() return backlog.waiting(self.space) end

-- The records that wait are given by accept() next, and behind each the versions of its newest and its first increment, if some wait.
function server:recall()
  self.accepted = {}
  for _, one in ipairs(backlog.records(self.space)) do self.accepted[#self.accepted + 1] = {one[1], one[2], 'record', ''} end
  for _, one in ipairs(backlog.increments(self.space)) do self.accepted[#self.accepted + 1] = {one[1], one[2], 'increment', '', '', one[3]} end
end

local reads = {GET = true, PTTL = true}

local function run(self, conn, argv)
  local name = argv[1]:upper()
  if name == 'EVALSHA' then
    local known = self.loaded[argv[2]]
    if not known then return {err = 'NOSCRIPT No matching script. Please use EVAL.'} end
    return self:eval(known, argv)
  elseif name == 'EVAL' then
    local sha = scripts.sha[argv[2]]
    if not sha then return {err = 'ERR this server runs the scripts of the protocol only'} end
    self.loaded[sha] = scripts[sha]
    return self:eval(scripts[sha], argv)
  elseif name == 'HELLO' and self.tells then
    return {map = true, 'server', 'redis', 'proto', 3}
  elseif name == 'CLIENT' and self.tells then
    self.tracking[conn] = true
    return {ok = 'OK'}
  elseif commands[name] then
    if reads[name] then self:track(conn, argv[2]) end
    local ok, value = pcall(commands[name], self, unpack(argv, 2))
    if ok then return value end
    return type(value) == 'table' and value or error(value, 0)
  end
  return {err = 'ERR unknown command \'' .. argv[1] .. '\''}
end

-- ---- for people ----

local function hex(text) return (text:gsub('.', function(c) return ('%02x'):format(c:byte()) end)) end

local function readable(text)
  if #text >= 48 and text:sub(1, 2) == 'MP' then -- an envelope: what it holds, and the fence that it carries
    return ('<%s @%s>'):format(text:sub(49 + 24 * text:byte(41)), hex(text:sub(17, 18)))
  end
  return text:find('[^%w%p]') and hex(text:sub(1, 2)) .. '~' or text
end

local function show(value)
  if not value then return '-' end
  if type(value) ~= 'table' then return readable(tostring(value)) end
  if value.err or value.ok then return value.err or value.ok end
  local out = {}
  for i, one in ipairs(value) do out[i] = show(one) end
  return '{' .. table.concat(out, ' ') .. '}'
end

local function describe(argv)
  local name, from = argv[1], 2
  if name == 'EVAL' or name == 'EVALSHA' then
    local known = scripts[name == 'EVAL' and scripts.sha[argv[2]] or argv[2]]
    name, from = known and known.name or '?', 4
  end
  local out = {name}
  for i = from, #argv do out[#out + 1] = readable(argv[i]) end
  return table.concat(out, ' ')
end

-- The reply in the protocol's form, then (if `wanted`) command and answer in words, and what it broke, if it did.
function server:execute(conn, argv, wanted)
  local value = run(self, conn, argv)
  local complaint = self.complaint
  self.complaint = nil
  return encode(value), wanted and describe(argv) .. '  ->  ' .. show(value) or '', complaint or nil
end

return new
