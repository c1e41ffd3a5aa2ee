-- wb_dead: the store will not have this record: to the dead letters with it, and out of the cache, so that readers see the store.
-- KEYS 1=value 2=lease 3=deltas of the key 4=base hash 5=dead letters (a stream)
-- ARGV 1=version 8B 2=user key 3=why   reply 1 moved (or was before), 0 a newer record came
-- What is shorter than a version has none, so it cannot be newer. The key's entry stays in the queue, with nothing to store.
local call, sub = redis.call, string.sub
local d, r = call('HGETALL', KEYS[3]), call('GET', KEYS[1])
if not r or ((string.byte(r, 4) or 0) < 128 and call('PTTL', KEYS[1]) ~= -1) then r = call('HGET', KEYS[4], ARGV[2]) end
if r and #r >= 16 and sub(r, 9, 16) ~= ARGV[1] then return 0 end
-- First what takes no room: a server that is full refuses an XADD, but not behind that, and the worker has to get on there too.
call('DEL', KEYS[1], KEYS[2], KEYS[3])
call('HDEL', KEYS[4], ARGV[2])
local a = {KEYS[5], '*', 'k', ARGV[2], 'r', r or '', 'e', ARGV[3]}
for i = 1, #d, 2 do a[#a + 1] = 'd' .. d[i]; a[#a + 1] = d[i + 1] end
if r or #d > 0 then call('XADD', unpack(a)) end
return 1
