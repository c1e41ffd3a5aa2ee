-- wb_take: what waits in a shard, oldest first. Changes nothing: it waits until it is acked.
-- KEYS 1=queue 2=base hash 3=meta
-- ARGV 1=place to begin behind ('' = from the oldest on) 2=most 3=most bytes of records ('0' = no bound) 4=the name of a key's value, up to the user key
-- reply {how many wait, epoch, the newest one's place and, behind a '-', aside (wb_ack.lua), if there is one, or '', 1 if there may be increments (wb_sums.lua tells) else 0, then of each: place, user key, record|false}
-- If the first one's record alone is over the bound, its length comes in its place, and nothing behind it: a large record that is not sent must not be
-- copied either, which would take the server longer than all the rest.
-- An entry's place is the number of those that ever left the queue before it (meta, head), so it names the entry while it waits.
-- A key that stands here twice comes once, by its first entry, which was left behind when a dead letter, or a fold, took all that it had: who stored
-- it twice in one transaction would be in its own way. The other entry goes with the first one's ack, or comes when that is gone.
-- The names of values are made here, from the queue's contents: they have the shard's hash tag, as all of KEYS has.
local call, byte = redis.call, string.byte
local PIECE = 65536
local m, waits = call('HMGET', KEYS[3], 'epoch', 'incr', 'head', 'aside'), call('LLEN', KEYS[1])
local head = tonumber(m[3] or 0)
local from = ARGV[1] == '' and 0 or math.max(0, tonumber(ARGV[1]) + 1 - head)
local function place(i) return string.format('%.0f', head + i) end
local out, bytes, seen = {waits, tonumber(m[1] or 0), waits > 0 and place(waits - 1) .. (m[4] and '-' .. m[4] or '') or '', m[2] and 1 or 0}, 0, {}
for i, key in ipairs(call('LRANGE', KEYS[1], from, from + tonumber(ARGV[2]) - 1)) do
  if not seen[key] then
    local name = ARGV[4] .. key
    local record = call('GETRANGE', name, 0, PIECE - 1)
    local size = #record
    if size == PIECE then size = call('STRLEN', name) end
    local dirty = (byte(record, 4) or 0) > 127 or (size > 0 and call('PTTL', name) == -1) -- the latter: it is damaged
    if not dirty then
      size, record = call('HSTRLEN', KEYS[2], key), nil
      if size == 0 then record = false end
    end
    bytes = bytes + size
    if tonumber(ARGV[3]) > 0 and bytes > tonumber(ARGV[3]) then
      if #out == 4 then out[5] = place(from); out[6] = key; out[7] = bytes end
      break
    end
    if record == nil then record = call('HGET', KEYS[2], key) elseif size > PIECE then record = call('GET', name) end
    seen[key] = true
    out[#out + 1] = place(from + i - 1); out[#out + 1] = key; out[#out + 1] = record
  end
end
return out
