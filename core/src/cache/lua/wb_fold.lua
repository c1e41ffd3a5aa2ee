-- wb_fold: makes increments that wait a part of their document: of what they were added to and their sums comes a record with a version, like that of
-- any change. Readers and workers do it, whoever first wants the document.
-- KEYS 1=value 2=lease 3=deltas of the key 4=dirty hash 5=stream 6=meta
-- ARGV 1=user key 2=envelope of the document with the sums ('' = drop them: there is none, or it counts them already) 3=ms that it is cached ('0': not)
--   4=fence under which all this was read 5=version of the first increment 6=of the newest, both as read 7..=member, sum, ... as read
-- reply {1, version 8B} folded   {1, ''} dropped   {-1, epoch} as wb_put.lua   {-3} the sums or the document are others now: read again
-- While the hash is the same one (its first version) nobody has put another document in the place of the one that was read: a change drops the hash,
-- a fold makes it another one, and no ack takes a record away from under it. What came since it was read stays, under a version above the folded one.
local m = redis.call('HMGET', KEYS[6], 'fence', 'epoch', 'seq')
if m[1] ~= ARGV[4] or (ARGV[2] ~= '' and string.sub(ARGV[2], 17, 24) ~= ARGV[4]) or tonumber(m[3] or 0) >= 1099511627773 then
  return {-1, tonumber(m[2] or 0)}
end
local sums = redis.call('HGET', KEYS[3], '')
if not sums or string.sub(sums, 9, 16) ~= ARGV[5] then return {-3} end
local function nextver() return struct.pack('<I5I3', redis.call('HINCRBY', KEYS[6], 'seq', 1), tonumber(m[2])) end
local rest = string.sub(sums, 1, 8) ~= ARGV[6]
if rest then
  for i = 7, #ARGV, 2 do
    local less = string.match(ARGV[i + 1], '^-(.*)') or (ARGV[i + 1] == '0' and '0' or '-' .. ARGV[i + 1])
    if redis.call('HINCRBY', KEYS[3], ARGV[i], less) == 0 then redis.call('HDEL', KEYS[3], ARGV[i]) end
  end
else redis.call('DEL', KEYS[3]) end
redis.call('DEL', KEYS[1], KEYS[2])
if ARGV[2] == '' then
  if rest then redis.call('HSET', KEYS[3], '', string.sub(sums, 1, 8) .. string.sub(sums, 1, 8) .. string.sub(sums, 17))
  elseif #sums > 16 and redis.call('HEXISTS', KEYS[4], ARGV[1]) == 0 then redis.call('XDEL', KEYS[5], string.sub(sums, 17)) end
  return {1, ''}
end
local ver = nextver()
local env = string.sub(ARGV[2], 1, 8) .. ver .. string.sub(ARGV[2], 17)
redis.call('HSET', KEYS[4], ARGV[1], env)
if rest then
  local above = nextver()
  redis.call('HSET', KEYS[3], '', above .. above)
elseif tonumber(ARGV[3]) > 0 then redis.call('SET', KEYS[1], env, 'PX', ARGV[3]) end
return {1, ver}
