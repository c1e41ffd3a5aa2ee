-- the textbook: the lock is given back
return redis.call('DEL', KEYS[1])
