-- wb_own: who may try to be the worker of a shard. A hint only: the store's fence decides who is.
-- KEYS 1=owner   ARGV 1=token 2=ms ('0' = no more)   reply {1, ms} mine, or given up;  {0, what is left of another's}
local o = redis.call('GET', KEYS[1])
local mine = o == ARGV[1]
if ARGV[2] == '0' then
  if mine then redis.call('DEL', KEYS[1]) end
  return {mine and 1 or 0, 0}
end
if o and not mine then return {0, redis.call('PTTL', KEYS[1])} end
-- A server that is full refuses a SET, but not behind a DEL: without a worker it would stay full.
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return {1, tonumber(ARGV[2])}
