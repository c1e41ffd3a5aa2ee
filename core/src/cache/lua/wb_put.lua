-- wb_put: accept a change of a document: create, update, replace, delete (an envelope with NEGATIVE).
-- KEYS 1=value 2=deltas of the key 3=base hash 4=queue 5=meta 6=sessions of the day. All share the shard's hash tag.
-- ARGV 1=user key 2=envelope up to its version, with DIRTY 3=envelope from behind its fence on 4=fence 5=most entries of the queue
--   6=expect: '' any | 8 bytes: the version that the change was computed from | '-' the key must be absent
--   7=session and slot (18B) 8=n (6B), which grows with each use of the slot 9=part of that n, from 0 on 10='1': it was sent before
-- reply {1, version 8B} accepted; what was sent before gets its first answer   {0} it comes too late: not applied
--   {-1, epoch} read the fence again; unchanged: take an epoch, wb_epoch, again   {-2} as many entries wait as may
--   {-3} the version is unknown or another, or deltas wait: read, again          {-4} it exists (expect '-')
-- The record is the value: while DIRTY stands in its flags it is not in the store, has no TTL, and an entry of the queue. wb_ack makes it a
-- cached one. A load that is under way is not told: its fill is refused while the value is dirty, and the ack revokes its lease.
-- Whatever is refused is refused before the first write but that of the number, and nothing behind that can fail but for want of memory, which Redis
-- looks at before the first write.
-- The first answer comes before the fence: a server that came back with all that it had has another one, and a change that it accepted
-- right before must not be accepted anew behind those of others.
-- What was sent on a connection that was lost may still be read from it: behind what was sent again in its place it is nothing any more.
local call, sub = redis.call, string.sub
local NONE, at = string.rep('\0', 8), 7 + 8 * tonumber(ARGV[9])
local last, again = call('HGET', KEYS[6], ARGV[7]) or '', ARGV[10] == '1'
local had, n = last ~= '' and struct.unpack('<I6', last) or 0, struct.unpack('<I6', ARGV[8])
if had > n or (had == n and not again) then return {0} end
if had < n then last = ARGV[8] end
if again then
  call('HSET', KEYS[6], ARGV[7], last)                     -- also a write, so that a WAIT behind it is about the first one, too
  local first = sub(last, at, at + 7)
  if #first == 8 and first ~= NONE then return {1, first} end
end
local m = call('HMGET', KEYS[5], 'fence', 'epoch', 'seq', 'incr')
if m[1] ~= ARGV[4] then return {-1, tonumber(m[2] or 0)} end
local cur = call('GETRANGE', KEYS[1], 0, 23)
local deltas = m[4] and cur == '' and call('EXISTS', KEYS[2]) == 1 -- where nobody has ever incremented, none wait
local flags = string.byte(cur, 4) or 0
if ARGV[6] ~= '' then
  if sub(cur, 17, 24) ~= ARGV[4] then return {-3} end
  if ARGV[6] == '-' then
    if flags % 2 == 0 then return {-4} end
  elseif sub(cur, 9, 16) ~= ARGV[6] or flags % 2 == 1 then return {-3} end -- no version is that of an absence
end
local known = deltas or flags > 127
if not known and call('LLEN', KEYS[4]) >= tonumber(ARGV[5]) then return {-2} end
local seq = tonumber(m[3] or 0) + 1
if seq > 1099511627774 then return {-1, tonumber(m[2] or 0)} end
local ver = struct.pack('<I5I3', seq, tonumber(m[2]))
call('HSET', KEYS[5], 'seq', seq)
call('SET', KEYS[1], ARGV[2] .. ver .. ARGV[4] .. ARGV[3])
if deltas then call('DEL', KEYS[2]); call('HDEL', KEYS[3], ARGV[1]) end
if not known then call('RPUSH', KEYS[4], ARGV[1]) end
call('HSET', KEYS[6], ARGV[7], sub(last .. string.rep(NONE, ARGV[9]), 1, at - 1) .. ver .. sub(last, at + 8))
return {1, ver}
