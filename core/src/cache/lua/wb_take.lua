-- wb_take: what waits in a shard, oldest first. Changes nothing: it waits until it is acked.
-- KEYS 1=stream 2=dirty hash 3=meta
-- ARGV 1=id to begin behind ('' = from the oldest on) 2=most 3=most bytes of records ('0' = no bound)
-- reply {how many wait, epoch, the newest one's id or '', 1 if there may be increments (wb_sums.lua tells) else 0, then of each: id, user key, record|false}
-- If the first one's record alone is over the bound, its length comes in its place, and nothing behind it.
-- HSTRLEN: a large record that is not sent must not be copied either, which would take the server longer than all the rest.
local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local m = redis.call('HMGET', KEYS[3], 'epoch', 'incr')
local out, bytes = {redis.call('XLEN', KEYS[1]), tonumber(m[1] or 0), newest and newest[1] or '', m[2] and 1 or 0}, 0
for _, e in ipairs(redis.call('XRANGE', KEYS[1], ARGV[1] == '' and '-' or '(' .. ARGV[1], '+', 'COUNT', ARGV[2])) do
  local key = e[2][2]
  bytes = bytes + redis.call('HSTRLEN', KEYS[2], key)
  if tonumber(ARGV[3]) > 0 and bytes > tonumber(ARGV[3]) then
    if #out == 4 then out[5] = e[1]; out[6] = key; out[7] = bytes end
    break
  end
  out[#out + 1] = e[1]; out[#out + 1] = key; out[#out + 1] = redis.call('HGET', KEYS[2], key)
end
return out
