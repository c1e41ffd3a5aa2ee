-- inspect: all that stands under a key, for explain. Changes nothing.
-- KEYS 1=value 2=intents 3=lease   reply {value|false, PTTL of it, lease token|false, PTTL of it, number of intents, PTTL of them}
return {redis.call('GET', KEYS[1]), redis.call('PTTL', KEYS[1]), redis.call('GET', KEYS[3]), redis.call('PTTL', KEYS[3]),
        redis.call('ZCARD', KEYS[2]), redis.call('PTTL', KEYS[2])}
