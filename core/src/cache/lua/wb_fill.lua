-- wb_fill: fill.lua for a key that is written behind: what was accepted meanwhile is newer than what was loaded.
-- KEYS 1=value 2=deltas of the key 3=lease   ARGV 1=token 2=envelope 3=ttl_ms   reply 1 stored, 0 refused
if redis.call('GET', KEYS[3]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[3])                                             -- wakes the trackers of the lease
if redis.call('EXISTS', KEYS[2]) == 1 or (string.byte(redis.call('GETRANGE', KEYS[1], 3, 3)) or 0) > 127 then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
