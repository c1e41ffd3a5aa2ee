-- wb_sums: which increments wait, and the record that they are to be added to. Changes nothing.
-- KEYS 1=base hash, then of all keys their deltas, their values   ARGV of each: user key, version 8B of the record as it was taken (zeros: none was)
-- reply of each {record|false, {'' and the other fields of the hash (wb_incr.lua) with their values, ...}}
--   false: none wait, and the record is that one; if it is another, increments that waited when it was taken may have become a part of it since
local call, out, NONE, n = redis.call, {}, string.rep('\0', 8), (#KEYS - 1) / 2
for i = 1, n do
  local d = call('HGETALL', KEYS[1 + i])
  local r = call('GETRANGE', KEYS[1 + n + i], 0, 23)
  if #d > 0 then r = call('HGET', KEYS[1], ARGV[2 * i - 1])
  elseif (string.byte(r, 4) or 0) < 128 then r = false end
  if #d > 0 or (r and string.sub(r, 9, 16) or NONE) ~= ARGV[2 * i] then
    out[i] = {#d == 0 and r and call('GET', KEYS[1 + n + i]) or r, d}
  else out[i] = false end
end
return out
