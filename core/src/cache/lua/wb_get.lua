-- wb_get: get.lua for a key that is written behind, where nobody announces a write: what was accepted is the value.
-- KEYS 1=value 2=lease 3=deltas of the key
-- ARGV 1=token 2=lease_ms 3=fence 4=mode 5=rejected (all as get.lua)
-- reply {code, envelope|false, ms}: 1 HIT  2 LEASED (then wb_fill.lua)  3 BUSY  5 RESTING as get.lua
--   6 DIRTY: the newest record, which is not in the store yet; ms = -1. If its fence is not the caller's, a
--     part of the server's history was lost: compare with the store, the higher version wins
--   7 DELTAS: increments wait (wb_incr.lua): wb_sums, then wb_fold
local v = redis.call('GET', KEYS[1])
if v and (string.byte(v, 4) or 0) > 127 then return {6, v, -1} end
if v and string.sub(v, 17, 24) ~= ARGV[3] then redis.call('DEL', KEYS[1]); v = false end
if v and ARGV[4] == '2' and ARGV[5] ~= '' and string.sub(v, 1, #ARGV[5]) == ARGV[5] then v = false
elseif v and ARGV[4] ~= '1' then return {1, v, redis.call('PTTL', KEYS[1])} end
if redis.call('EXISTS', KEYS[3]) == 1 then return {7, false, -1} end
local l = redis.call('GET', KEYS[2])
if l and l ~= ARGV[1] and (l ~= '-' or v) then return {l == '-' and 5 or 3, v, redis.call('PTTL', KEYS[2])} end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
return {2, v, redis.call('PTTL', KEYS[1])}
