-- wb_inspect: inspect.lua for a key that is written behind. Changes nothing.
-- KEYS 1=value 2=deltas 3=lease 4=dirty hash   ARGV 1=user key   reply as inspect.lua (nobody announces a write), and 1 if a record or increments wait
return {redis.call('GET', KEYS[1]), redis.call('PTTL', KEYS[1]), redis.call('GET', KEYS[3]), redis.call('PTTL', KEYS[3]), 0, -2,
        math.max(redis.call('HEXISTS', KEYS[4], ARGV[1]), redis.call('EXISTS', KEYS[2]))}
