-- wb_incr: accept an integer increment of one member of a document. No document is decoded here: the sums wait in a hash of their own, until
-- somebody wants the document and folds them (wb_fold).
-- KEYS as wb_put.lua   ARGV 1=user key 2=member (not '') 3=by (an integer within +-(2^53 - 1)) 4=fence 5=most entries of the stream
--   6=session and slot 7=n (both as wb_put.lua) 8='1': it was sent before, under another fence
-- reply {1, version 8B}   {0}   {-1, epoch}   {-2} as wb_put.lua
--   {-3} what waits is of an earlier epoch, or the sum would leave +-(2^53 - 1), up to which Lua counts exactly: fold, and again
--   {-4} the document is known to be absent
--   {-5} whether it was accepted before is lost with a part of the server's history: nobody knows
-- The hash: member -> sum, and under '' the version of the newest increment (8B), that of the first (8B), which names this hash and no other, and
-- the id of the stream's entry if it was made for the hash. A document with a greater version than the newest counts them all already: so sums that a
-- server brings back from an old snapshot are known, and dropped.
local last = redis.call('HGET', KEYS[7], ARGV[6])
if last then
  local n = tonumber(string.sub(last, 9))
  if n == tonumber(ARGV[7]) then
    redis.call('HSET', KEYS[7], ARGV[6], last)               -- a write, so that a WAIT behind it is about the first one, too
    return {1, string.sub(last, 1, 8)}
  end
  if n > tonumber(ARGV[7]) then return {0} end
end
if ARGV[8] == '1' then return {-5} end
local m = redis.call('HMGET', KEYS[6], 'fence', 'epoch', 'seq')
if m[1] ~= ARGV[4] then return {-1, tonumber(m[2] or 0)} end
local sums = redis.call('HGET', KEYS[3], '')
if sums and string.sub(sums, 6, 8) ~= struct.pack('<I3', tonumber(m[2])) then return {-3} end
local rec = not sums and redis.call('HGET', KEYS[4], ARGV[1])
if not sums then
  local cur = rec or redis.call('GET', KEYS[1])
  if cur and string.sub(cur, 17, 24) == ARGV[4] and string.byte(cur, 4) % 2 == 1 then return {-4} end
  if not rec and redis.call('XLEN', KEYS[5]) >= tonumber(ARGV[5]) then return {-2} end
end
if tonumber(m[3] or 0) >= 1099511627774 then return {-1, tonumber(m[2] or 0)} end
local was = tonumber(redis.call('HGET', KEYS[3], ARGV[2]) or 0)
if not was or was % 1 ~= 0 or math.abs(was + tonumber(ARGV[3])) > 9007199254740991 then return {-3} end
local ver = struct.pack('<I5I3', redis.call('HINCRBY', KEYS[6], 'seq', 1), tonumber(m[2]))
if sums then redis.call('HSET', KEYS[3], '', ver .. string.sub(sums, 9))
else
  local id = rec and '' or redis.call('XADD', KEYS[5], '*', 'k', ARGV[1])
  redis.call('HSET', KEYS[3], '', ver .. ver .. id)
  redis.call('DEL', KEYS[1], KEYS[2])                                  -- a value exists => nothing waits to be added to it
  redis.call('HSET', KEYS[6], 'incr', 1)                               -- from now on the worker must look for them in this shard
end
redis.call('HINCRBY', KEYS[3], ARGV[2], ARGV[3])
redis.call('HSET', KEYS[7], ARGV[6], ver .. ARGV[7])
return {1, ver}
