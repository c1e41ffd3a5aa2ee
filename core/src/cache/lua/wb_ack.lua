-- wb_ack: the store has these versions or newer ones, and the collection's tags were invalidated after that: they wait no longer.
-- KEYS 1=dirty hash 2=stream 3..=deltas of each key   ARGV of each: entry's id, version 8B (of what was flushed; zeros: there was no
--   record), user key   reply one string, of each '1' done, or '0': a newer record or deltas came, and wait at the stream's end
-- Repeated, and by who is not the worker any more, it does no harm: who knows a version to be in the store may say so.
local out = {}
for i = 1, #KEYS - 2 do
  local id, ver, key = ARGV[3 * i - 2], ARGV[3 * i - 1], ARGV[3 * i]
  local r = redis.call('HGET', KEYS[1], key)
  if (r and string.sub(r, 9, 16) ~= ver) or redis.call('EXISTS', KEYS[2 + i]) == 1 then
    if redis.call('XDEL', KEYS[2], id) == 1 then redis.call('XADD', KEYS[2], '*', 'k', key) end
    out[i] = '0'
  else
    if r then redis.call('HDEL', KEYS[1], key) end
    redis.call('XDEL', KEYS[2], id)
    out[i] = '1'
  end
end
return table.concat(out)
