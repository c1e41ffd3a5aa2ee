-- wb_dead: the store will not have this record: to the dead letters with it, and out of the cache, so that readers see the store.
-- KEYS 1=dirty hash 2=stream 3=deltas of the key 4=dead letters (a stream) 5=value 6=lease
-- ARGV 1=entry's id 2=version 8B 3=user key 4=why   reply 1 moved (or was before), 0 a newer record came
-- What is shorter than a version has none, so it cannot be newer.
local r = redis.call('HGET', KEYS[1], ARGV[3])
if r and #r >= 16 and string.sub(r, 9, 16) ~= ARGV[2] then return 0 end
local d = redis.call('HGETALL', KEYS[3])
-- First what takes no room: a server that is full refuses an XADD, but not behind that, and the worker has to get on there too.
redis.call('DEL', KEYS[5], KEYS[6])
local a = {'XADD', KEYS[4], '*', 'k', ARGV[3], 'r', r or '', 'e', ARGV[4]}
for i = 1, #d, 2 do a[#a + 1] = 'd' .. d[i]; a[#a + 1] = d[i + 1] end
if r or #d > 0 then redis.call(unpack(a)) end
redis.call('HDEL', KEYS[1], ARGV[3]); redis.call('DEL', KEYS[3])
redis.call('XDEL', KEYS[2], ARGV[1])
return 1
