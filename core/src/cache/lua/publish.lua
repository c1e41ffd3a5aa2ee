-- publish: what a process has counted, for whoever asks (published.lua). It is forgotten when it is not published again in time.
-- KEYS 1=rows (hash, id -> row) 2=ends (zset, id -> server ms)   ARGV 1=id (16B) 2=ttl_ms ('0': the process ends) 3=row
-- reply 1. What has ended is dropped on the way, a hundred at a time; both keys end with their last row.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, 100)) do
  redis.call('HDEL', KEYS[1], id); redis.call('ZREM', KEYS[2], id)
end
if ARGV[2] == '0' then
  redis.call('HDEL', KEYS[1], ARGV[1]); redis.call('ZREM', KEYS[2], ARGV[1])
else
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[3]); redis.call('ZADD', KEYS[2], now + ARGV[2], ARGV[1])
end
local last = redis.call('ZREVRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2]
if last and tonumber(last) > now then
  redis.call('PEXPIRE', KEYS[1], last - now); redis.call('PEXPIRE', KEYS[2], last - now)
end
return 1
