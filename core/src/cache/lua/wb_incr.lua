-- wb_incr: accept an integer increment of one member of a document. No document is decoded here: the sums wait in a hash of their own, until
-- somebody wants the document and folds them (wb_fold).
-- KEYS 1=value 2=deltas of the key 3=base hash 4=queue 5=meta 6=sessions of the day 7=lease   ARGV 1=user key 2=member (not '')
--   3=by (an integer within +-(2^53 - 1)) 4=fence 5=most entries of the queue 6=session and slot 7=n 8='1': it was sent before (these as wb_put.lua)
--   9='1': and under another fence
-- reply {1, version 8B}   {0}   {-1, epoch}   {-2} as wb_put.lua
--   {-3} what waits is of an earlier epoch, or of 100 other members, or the sum would leave +-(2^53 - 1), up to which Lua counts exactly: fold,
--     and again
--   {-4} the document is known to be absent
--   {-5} whether it was accepted before is lost with a part of the server's history: nobody knows
-- The hash: member -> sum, and under '' the version of the newest increment (8B) and that of the first (8B), which names this hash and no other.
-- A document with the version of the newest, or a greater one, counts them all already: so sums that a server brings back from an old snapshot are known,
-- and dropped. One with that of the first, or between the two, counts some of them.
-- While they wait there is no value: a record that they are to be added to waits in the base hash.
local call, sub = redis.call, string.sub
local last, again = call('HGET', KEYS[6], ARGV[6]) or '', ARGV[8] == '1'
local had, n = last ~= '' and struct.unpack('<I6', last) or 0, struct.unpack('<I6', ARGV[7])
if had > n or (had == n and not again) then return {0} end
if again then
  if had < n then last = ARGV[7] end
  call('HSET', KEYS[6], ARGV[6], last)                     -- also a write, so that a WAIT behind it is about the first one, too
  if #last > 6 then return {1, sub(last, 7)} end
end
if ARGV[9] == '1' then return {-5} end
local m = call('HMGET', KEYS[5], 'fence', 'epoch', 'seq')
if m[1] ~= ARGV[4] then return {-1, tonumber(m[2] or 0)} end
local sums = call('HGET', KEYS[2], '')
if sums and sub(sums, 6, 8) ~= struct.pack('<I3', tonumber(m[2])) then return {-3} end
local dirty = false
if not sums then
  local cur = call('GETRANGE', KEYS[1], 0, 23)
  local flags = string.byte(cur, 4) or 0
  dirty = flags > 127
  if flags % 2 == 1 and sub(cur, 17, 24) == ARGV[4] then return {-4} end
  if not dirty and call('LLEN', KEYS[4]) >= tonumber(ARGV[5]) then return {-2} end
end
if tonumber(m[3] or 0) >= 1099511627774 then return {-1, tonumber(m[2] or 0)} end
local was = call('HGET', KEYS[2], ARGV[2])
if sums and not was and call('HLEN', KEYS[2]) > 100 then return {-3} end -- whoever folds them reads them all, and beside those of other documents
was = tonumber(was or 0)
if not was or was % 1 ~= 0 or math.abs(was + tonumber(ARGV[3])) > 9007199254740991 then return {-3} end
local ver = struct.pack('<I5I3', call('HINCRBY', KEYS[5], 'seq', 1), tonumber(m[2]))
if sums then call('HSET', KEYS[2], '', ver .. sub(sums, 9))
else
  if dirty then call('HSET', KEYS[3], ARGV[1], call('GET', KEYS[1])) else call('RPUSH', KEYS[4], ARGV[1]) end
  call('HSET', KEYS[2], '', ver .. ver)
  call('DEL', KEYS[1], KEYS[7])                                          -- a value exists => nothing waits to be added to it
  call('HSET', KEYS[5], 'incr', 1)                                       -- from now on the worker must look for them in this shard
end
call('HINCRBY', KEYS[2], ARGV[2], ARGV[3])
call('HSET', KEYS[6], ARGV[6], ARGV[7] .. ver)
return {1, ver}
