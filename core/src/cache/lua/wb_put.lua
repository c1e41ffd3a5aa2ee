-- wb_put: accept a change of a document: create, update, replace, delete (an envelope with NEGATIVE).
-- KEYS 1=value 2=lease 3=deltas of the key 4=dirty hash 5=stream 6=meta 7=sessions of the day. All share the shard's hash tag.
-- ARGV 1=user key 2=envelope (bytes 8..15 are set here) 3=ms that it is cached ('0': not) 4=fence 5=most entries of the stream
--   6=expect: '' any | 8 bytes: the version that the change was computed from | '-' the key must be absent
--   7=session and slot (18B) 8=n, which grows with each use of the slot
-- reply {1, version 8B} accepted; a repeated n gets the first answer   {0} n is below the slot's last: not applied
--   {-1, epoch} read the fence again; unchanged: take an epoch, wb_epoch, again   {-2} as many entries wait as may
--   {-3} the version is unknown or another, or deltas wait: read, again          {-4} it exists (expect '-')
-- Whatever is refused is refused before the first write, and nothing behind that can fail but for want of memory, which Redis looks at
-- before the first write too.
-- The first answer comes before the fence: a server that came back with all that it had has another one, and a change that it accepted
-- right before must not be accepted anew behind those of others.
local last = redis.call('HGET', KEYS[7], ARGV[7])
if last then
  local n = tonumber(string.sub(last, 9))
  if n == tonumber(ARGV[8]) then
    redis.call('HSET', KEYS[7], ARGV[7], last)               -- a write, so that a WAIT behind it is about the first one, too
    return {1, string.sub(last, 1, 8)}
  end
  if n > tonumber(ARGV[8]) then return {0} end
end
local m = redis.call('HMGET', KEYS[6], 'fence', 'epoch', 'seq')
if m[1] ~= ARGV[4] or string.sub(ARGV[2], 17, 24) ~= ARGV[4] then return {-1, tonumber(m[2] or 0)} end
local rec = redis.call('HGET', KEYS[4], ARGV[1])
local beside = redis.call('EXISTS', KEYS[2], KEYS[3]) > 0 -- a call less where there is neither, which is nearly always
local deltas = beside and redis.call('EXISTS', KEYS[3]) == 1
if ARGV[6] ~= '' then
  local cur = rec or redis.call('GET', KEYS[1])
  if deltas or not cur or string.sub(cur, 17, 24) ~= ARGV[4] then return {-3} end
  if ARGV[6] == '-' then
    if string.byte(cur, 4) % 2 == 0 then return {-4} end
  elseif string.sub(cur, 9, 16) ~= ARGV[6] or string.byte(cur, 4) % 2 == 1 then return {-3} end -- no version is that of an absence
end
local known = rec or deltas
if not known and redis.call('XLEN', KEYS[5]) >= tonumber(ARGV[5]) then return {-2} end
if tonumber(m[3] or 0) >= 1099511627774 then return {-1, tonumber(m[2] or 0)} end
local ver = struct.pack('<I5I3', redis.call('HINCRBY', KEYS[6], 'seq', '1'), tonumber(m[2]))
local env = string.sub(ARGV[2], 1, 8) .. ver .. string.sub(ARGV[2], 17)
redis.call('HSET', KEYS[4], ARGV[1], env)
if ARGV[3] ~= '0' then redis.call('SET', KEYS[1], env, 'PX', ARGV[3]) else redis.call('DEL', KEYS[1]) end
if beside then redis.call('DEL', KEYS[2], KEYS[3]) end
if not known then redis.call('XADD', KEYS[5], '*', 'k', ARGV[1]) end
redis.call('HSET', KEYS[7], ARGV[7], ver .. ARGV[8])
return {1, ver}
