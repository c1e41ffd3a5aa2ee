-- wb_fold: makes increments that wait a part of their document: of what they were added to and their sums comes a record with a version, like that of
-- any change. Readers and workers do it, whoever first wants the document.
-- KEYS 1=value 2=deltas of the key 3=base hash 4=queue 5=meta 6=lease
-- ARGV 1=user key 2, 3=envelope of the document with the sums, as wb_put.lua (2 '' = drop them: there is none, or it counts them already)
--   4=fence under which all this was read 5=version of the first increment 6=of the newest, both as read 7..=member, sum, ... as read
-- reply {1, version 8B} folded   {1, ''} dropped   {-1, epoch} as wb_put.lua   {-3} the sums or the document are others now: read again
-- While the hash is the same one (its first version) nobody has put another document in the place of the one that was read: a change drops the hash,
-- a fold makes it another one, and no ack takes a record away from under it. What came since it was read stays, and the record has the version of the
-- newest increment in it, which is below those. So also a server that comes back with the sums of before the fold shows which of them the record counts.
-- The key's entry stays in the queue, also if nothing is left to store.
local call, sub = redis.call, string.sub
local m = call('HMGET', KEYS[5], 'fence', 'epoch', 'seq')
if m[1] ~= ARGV[4] or tonumber(m[3] or 0) >= 1099511627774 then return {-1, tonumber(m[2] or 0)} end
local sums = call('HGET', KEYS[2], '')
if not sums or sub(sums, 9, 16) ~= ARGV[5] then return {-3} end
local rest = sub(sums, 1, 8) ~= ARGV[6]
call('DEL', KEYS[6])
if rest then
  for i = 7, #ARGV, 2 do
    local less = string.match(ARGV[i + 1], '^-(.*)') or (ARGV[i + 1] == '0' and '0' or '-' .. ARGV[i + 1])
    if call('HINCRBY', KEYS[2], ARGV[i], less) == 0 then call('HDEL', KEYS[2], ARGV[i]) end
  end
else call('DEL', KEYS[2]) end
local base, ver = nil, nil
if ARGV[2] ~= '' then
  ver = rest and ARGV[6] or struct.pack('<I5I3', call('HINCRBY', KEYS[5], 'seq', 1), tonumber(m[2]))
  base = ARGV[2] .. ver .. ARGV[4] .. ARGV[3]
end
if rest then
  call('HSET', KEYS[2], '', sub(sums, 1, 8) .. sub(sums, 1, 8))
  if base then call('HSET', KEYS[3], ARGV[1], base) end
else
  base = base or call('HGET', KEYS[3], ARGV[1])
  if base then call('SET', KEYS[1], base); call('HDEL', KEYS[3], ARGV[1]) end
end
return {1, ver or ''}
