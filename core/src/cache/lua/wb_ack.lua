-- wb_ack: the store has these versions or newer ones, and the collection's tags were invalidated after that: they wait no longer, and are cached values
-- from now on, for as long as their envelopes say.
-- KEYS 1=queue 2=meta, then of all keys their deltas, their values, their leases
-- ARGV of each: place, version 8B (of what was flushed; zeros: there was no record), user key
-- reply one string, of each '1' done, or '0': a newer record or increments came, and wait at the queue's end
-- A load that began before its document was stored may have seen what was there before: so the leases go.
-- Where the record is gone without an ack a part of the server's history may have been lost, and what was loaded since may be older than
-- what the store has got now: away with it.
-- What stood in the queue before the last of these goes to its end, too, unless it was acked: the store would not have it, or not now. Meta, aside, is the
-- place of the last one that did, so that who waits until the store has all that was here (wb_take) does not take it for something new.
-- Repeated, and by who is not the worker any more, it does no harm: who knows a version to be in the store may say so, and the places of what has
-- left the queue name nothing any more.
local call, sub, byte = redis.call, string.sub, string.byte
local NONE, n = string.rep('\0', 8), (#KEYS - 2) / 3
local out, done, last, head = {}, {}, -1, tonumber(call('HGET', KEYS[2], 'head') or 0)
if n == 0 then return '' end
call('DEL', unpack(KEYS, 3 + 2 * n)) -- first what takes no room: a server that is full refuses a SETRANGE, but not behind that
for i = 1, n do
  local place, ver, key, value = tonumber(ARGV[3 * i - 2]), ARGV[3 * i - 1], ARGV[3 * i], KEYS[2 + n + i]
  local r = call('GETRANGE', value, 0, 39)
  local flags, well = byte(r, 4) or 0, true
  if flags > 127 then
    well = sub(r, 9, 16) == ver
    local ms = well and #r == 40 and struct.unpack('<I4', sub(r, 37)) or 0
    if well and ms == 0 then call('DEL', value)
    elseif well then
      call('SETRANGE', value, 3, string.char(flags - 128) .. sub(r, 5, 36) .. '\0\0\0\0')
      call('PEXPIRE', value, ms)
    end
  elseif call('EXISTS', KEYS[2 + i]) == 1 or (r ~= '' and call('PTTL', value) == -1) then well = false -- the latter: it is damaged
  elseif ver ~= NONE and r ~= '' and sub(r, 9, 16) ~= ver then call('DEL', value) end
  done[key], out[i] = well, well and '1' or '0'
  if place > last then last = place end
end
if last >= head then
  local count, rest, before, aside = last - head + 1, {}, {}, 0
  local left = call('LRANGE', KEYS[1], 0, count - 1)
  call('LTRIM', KEYS[1], count, -1)
  call('HSET', KEYS[2], 'head', head + #left)
  for _, key in ipairs(left) do
    if not done[key] and not before[key] then rest[#rest + 1] = key end
    if done[key] == nil and not before[key] then aside = #rest end
    before[key] = true
  end
  local waits = #rest > 0 and call('RPUSH', KEYS[1], unpack(rest))
  if aside > 0 then call('HSET', KEYS[2], 'aside', head + #left + waits - #rest + aside - 1) end
end
return table.concat(out)
