-- the textbook: DEL after the write
redis.call('DEL', KEYS[1])
return 0
