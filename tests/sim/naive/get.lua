-- the textbook: GET; who finds nothing takes the lock with SET NX, and waits if somebody else has it
-- (Mode 2: what stands there cannot be served by this client, for it has another fence.)
local v = redis.call('GET', KEYS[1])
if v and not (ARGV[4] == '2' and string.sub(v, 1, #ARGV[5]) == ARGV[5]) then return {1, v, redis.call('PTTL', KEYS[1])} end
if redis.call('SET', KEYS[3], 'locked', 'NX', 'PX', ARGV[2]) then return {2, false, -2} end
return {3, false, redis.call('PTTL', KEYS[3])}
