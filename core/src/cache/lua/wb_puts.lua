-- wb_puts: accept several changes of documents of one shard. They are what they would be in as many calls of wb_put, one behind the other: each is
-- judged by itself, by what those before it left, and has its own answer.
-- KEYS 1=dirty hash 2=stream 3=meta 4=sessions of the day, then of all changes the values, the leases, the deltas of their keys. All share the
--   shard's hash tag.
-- ARGV 1=fence 2=most entries of the stream, then of all changes, each as in wb_put:
--   user keys, sessions and slots, n, what they expect, ms that they are cached, envelopes
-- reply {of each change: as of wb_put, or an error where what is cached is no string}
-- All are judged before the first write, and nothing behind that can fail but for want of memory, which Redis looks at before the first
-- write too.
local call, sub = redis.call, string.sub
local fence, count = ARGV[1], (#KEYS - 4) / 3
local V, L, D = 4, 4 + count, 4 + 2 * count -- behind what the columns stand
local U, S, N, X, M, E = 2, 2 + count, 2 + 2 * count, 2 + 3 * count, 2 + 4 * count, 2 + 5 * count
local answers, m = call('HMGET', KEYS[4], unpack(ARGV, S + 1, N)), call('HMGET', KEYS[3], 'fence', 'epoch', 'seq')
local records = call('HMGET', KEYS[1], unpack(ARGV, U + 1, S))
local beside = call('EXISTS', unpack(KEYS, L + 1)) > 0 -- a call less for each where there is neither lease nor deltas, which is nearly always
local epoch, seq, room = tonumber(m[2] or 0), tonumber(m[3] or 0), false
local last, record = {}, {} -- by slot and by key: what the changes before leave
local replies, envs, dirty, slots, fresh = {}, {}, {}, {}, {}
for i = 1, count do
  local reply, env
  local key, slot, n, expect, given = ARGV[U + i], ARGV[S + i], ARGV[N + i], ARGV[X + i], ARGV[E + i]
  local was, rec = last[slot] or answers[i], record[key] or records[i]
  local deltas = beside and not record[key] and call('EXISTS', KEYS[D + i]) == 1
  local before = was and tonumber(sub(was, 9))
  if before and before >= tonumber(n) then
    reply = before == tonumber(n) and {1, sub(was, 1, 8)} or {0}
    if reply[1] == 1 then slots[#slots + 1], slots[#slots + 2] = slot, was end -- a write, so that a WAIT behind it is about the first one, too
  elseif m[1] ~= fence or sub(given, 17, 24) ~= fence then reply = {-1, epoch}
  elseif expect ~= '' then
    local cur = rec or redis.pcall('GET', KEYS[V + i])
    if type(cur) == 'table' then reply = cur
    elseif deltas or not cur or sub(cur, 17, 24) ~= fence then reply = {-3}
    elseif expect == '-' then reply = string.byte(cur, 4) % 2 == 0 and {-4} or nil
    elseif sub(cur, 9, 16) ~= expect or string.byte(cur, 4) % 2 == 1 then reply = {-3} end
  end
  if not reply and not rec and not deltas then
    room = room or tonumber(ARGV[2]) - call('XLEN', KEYS[2])
    if room < 1 then reply = {-2} end
  end
  if not reply and seq >= 1099511627774 then reply = {-1, epoch} end
  if not reply then
    seq = seq + 1
    local ver, at = struct.pack('<I5I3', seq, epoch), #dirty
    env, was = sub(given, 1, 8) .. ver .. sub(given, 17), ver .. n
    if not rec and not deltas then room, fresh[#fresh + 1] = room - 1, key end
    record[key], last[slot], reply = env, was, {1, ver}
    dirty[at + 1], dirty[at + 2] = key, env
    at = #slots
    slots[at + 1], slots[at + 2] = slot, was
  end
  replies[i], envs[i] = reply, env or false
end

if #slots > 0 then call('HSET', KEYS[4], unpack(slots)) end
if #dirty == 0 then return replies end
call('HSET', KEYS[3], 'seq', seq)
call('HSET', KEYS[1], unpack(dirty))
for i = 1, count do
  local ms, env = ARGV[M + i], envs[i]
  if env then
    if ms ~= '0' then call('SET', KEYS[V + i], env, 'PX', ms) else call('DEL', KEYS[V + i]) end
    if beside then call('DEL', KEYS[L + i], KEYS[D + i]) end
  end
end
for i = 1, #fresh do call('XADD', KEYS[2], '*', 'k', fresh[i]) end
return replies
