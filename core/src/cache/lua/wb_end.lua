-- wb_end: end.lua for a key that is written behind, which nobody announces a write of: somebody wrote the document past the library. What is cached goes;
-- what waits for the store is the document all the same, and stays.
-- KEYS 1=value 2=lease   reply 0
redis.call('DEL', KEYS[2])
if (string.byte(redis.call('GETRANGE', KEYS[1], 3, 3)) or 0) < 128 then redis.call('DEL', KEYS[1]) end
return 0
