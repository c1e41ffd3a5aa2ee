-- wb_inspect: inspect.lua for a key that is written behind. Changes nothing.
-- KEYS 1=value 2=deltas 3=lease   reply as inspect.lua (nobody announces a write), and 1 if a record or increments wait
local v = redis.call('GET', KEYS[1])
local dirty = v and (string.byte(v, 4) or 0) > 127
return {v, redis.call('PTTL', KEYS[1]), redis.call('GET', KEYS[3]), redis.call('PTTL', KEYS[3]), 0, -2,
        dirty and 1 or redis.call('EXISTS', KEYS[2])}
