-- wb_ack: the store has these versions or newer ones, and the collection's tags were invalidated after that: they wait no longer.
-- KEYS 1=dirty hash 2=stream, then of each key: deltas, value, lease   ARGV of each: entry's id, version 8B (of what was flushed; zeros: there was no
--   record), user key   reply one string, of each '1' done, or '0': a newer record or increments came, and wait at the
--   stream's end; where there is no record yet they have not been looked at, and wait where they are
-- Where the record is gone without an ack a part of the server's history may have been lost, and what was loaded since may be older than
-- what the store has got now: away with it.
-- Repeated, and by who is not the worker any more, it does no harm: who knows a version to be in the store may say so.
local out, NONE = {}, string.rep('\0', 8)
for i = 1, (#KEYS - 2) / 3 do
  local id, ver, key = ARGV[3 * i - 2], ARGV[3 * i - 1], ARGV[3 * i]
  local r = redis.call('HGET', KEYS[1], key)
  local sums = redis.call('EXISTS', KEYS[3 * i]) == 1
  if sums and not r then out[i] = '0'
  elseif sums or (r and string.sub(r, 9, 16) ~= ver) then
    if redis.call('XDEL', KEYS[2], id) == 1 then redis.call('XADD', KEYS[2], '*', 'k', key) end
    out[i] = '0'
  else
    local v = not r and ver ~= NONE and redis.call('GET', KEYS[3 * i + 1]) or ''
    if r then redis.call('HDEL', KEYS[1], key)
    elseif ver ~= NONE and string.sub(v, 9, 16) ~= ver then redis.call('DEL', KEYS[3 * i + 1], KEYS[3 * i + 2]) end
    redis.call('XDEL', KEYS[2], id)
    out[i] = '1'
  end
end
return table.concat(out)
