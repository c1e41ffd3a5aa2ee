-- wb_puts: accept several changes of documents of one shard. They are what they would be in as many calls of wb_put, one behind the other: each is
-- judged by itself, by what those before it left, and has its own answer. It is sent once: what has no answer goes by wb_put again, as part 0, 1, ...
-- KEYS 1=base hash 2=queue 3=meta 4=sessions of the day, then of all changes the values, the deltas of their keys. All share the shard's hash tag.
-- ARGV 1=fence 2=most entries of the queue 3=session and slot 4=n, then of all changes, each as in wb_put:
--   user keys, envelopes up to the version, envelopes from behind the fence on, and, unless all are '', what they expect
-- reply one string, the versions, if all were accepted; else {of each change: its version, or the answer of wb_put, or an error where what stands
--   under its key is no string}
-- All are judged before the first write, and nothing behind that can fail but for want of memory, which Redis looks at before the first
-- write too.
local call, sub, byte = redis.call, string.sub, string.byte
local fence, count = ARGV[1], (#KEYS - 4) / 2
local V, D = 4, 4 + count -- behind what the columns stand
local U, H, T, X = 4, 4 + count, 4 + 2 * count, 4 + 3 * count
local m, was = call('HMGET', KEYS[3], 'fence', 'epoch', 'seq', 'incr'), call('HGET', KEYS[4], ARGV[3])
local late = was and struct.unpack('<I6', was) >= struct.unpack('<I6', ARGV[4])
local here = call('EXISTS', unpack(KEYS, V + 1, D)) > 0 -- a call for all, where most are not there
local beside = m[4] and call('EXISTS', unpack(KEYS, D + 1)) > 0 -- where nobody has ever incremented, none wait
local epoch, seq, room = tonumber(m[2] or 0), tonumber(m[3] or 0), false
local replies, vers, dirty, fresh, gone, names = {}, {}, {}, {}, {}, {}
local record, all, size = {}, true, 0 -- record: by key: what the changes before leave
for i = 1, count do
  local key, expect, reply, deltas = ARGV[U + i], ARGV[X + i] or '', nil, false
  local cur = record[key] or (here and redis.pcall('GETRANGE', KEYS[V + i], 0, 23)) or ''
  if type(cur) == 'table' then reply, cur = cur, '' end
  local flags = byte(cur, 4) or 0
  if beside and cur == '' then deltas = call('EXISTS', KEYS[D + i]) == 1 end
  if late then reply = {0}
  elseif m[1] ~= fence then reply = {-1, epoch}
  elseif not reply and expect ~= '' then
    if sub(cur, 17, 24) ~= fence then reply = {-3}
    elseif expect == '-' then reply = flags % 2 == 0 and {-4} or nil
    elseif sub(cur, 9, 16) ~= expect or flags % 2 == 1 then reply = {-3} end
  end
  local known = deltas or flags > 127
  if not reply and not known then
    room = room or tonumber(ARGV[2]) - call('LLEN', KEYS[2])
    if room < 1 then reply = {-2} end
  end
  if not reply and seq >= 1099511627774 then reply = {-1, epoch} end
  if reply then all, vers[i] = false, '\0\0\0\0\0\0\0\0'
  else
    seq = seq + 1
    local ver = struct.pack('<I5I3', seq, epoch)
    local env = ARGV[H + i] .. ver .. fence .. ARGV[T + i]
    record[key], reply, vers[i] = env, ver, ver
    dirty[size + 1], dirty[size + 2], size = KEYS[V + i], env, size + 2
    if not known then room, fresh[#fresh + 1] = room - 1, key end
    if deltas then gone[#gone + 1], names[#names + 1] = KEYS[D + i], key end
  end
  replies[i] = reply
end
if size == 0 then return replies end
vers = table.concat(vers)
call('HSET', KEYS[4], ARGV[3], ARGV[4] .. vers)
call('HSET', KEYS[3], 'seq', seq)
call('MSET', unpack(dirty))
if #gone > 0 then call('DEL', unpack(gone)); call('HDEL', KEYS[1], unpack(names)) end
if #fresh > 0 then call('RPUSH', KEYS[2], unpack(fresh)) end
return all and vers or replies
