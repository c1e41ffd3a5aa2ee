-- wb_epoch: install an epoch just taken from the store (atomic there, 1 .. 2^23-1). It never goes back, and is of one fence.
-- KEYS 1=meta (hash fence, epoch, seq; no TTL)   ARGV 1=fence (read again after the {-1} of wb_put) 2=epoch ('0': is one in force?)
-- reply the epoch now in force; -1 = take a higher one from the store, and try again
-- The epoch was taken after the fence had been read: else it may be lower than one of a part of the history that was lost since, and what is
-- accepted under it would be older than what the store has.
-- Who finds the epoch in force but its numbers used up (seq, as wb_put.lua) must bring a higher one too.
local m = redis.call('HMGET', KEYS[1], 'fence', 'epoch', 'seq')
if m[2] and tonumber(m[2]) >= tonumber(ARGV[2]) then
  if m[1] == ARGV[1] and tonumber(m[3] or 0) < 1099511627774 then return tonumber(m[2]) end
  return -1
end
if ARGV[2] == '0' then return -1 end
redis.call('HSET', KEYS[1], 'fence', ARGV[1], 'epoch', ARGV[2], 'seq', 0)
return tonumber(ARGV[2])
