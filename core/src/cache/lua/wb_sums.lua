-- wb_sums: which increments wait, and the record that they are to be added to. Changes nothing.
-- KEYS 1=dirty hash, then of each key its deltas   ARGV of each: user key, version 8B of the record as it was taken (zeros: none was)
-- reply of each {record|false, {'' and the other fields of the hash (wb_incr.lua) with their values, ...}}
--   false: none wait, and the record is that one; if it is another, increments that waited when it was taken may have become a part of it since
local out, NONE = {}, string.rep('\0', 8)
for i = 2, #KEYS do
  local d, r = redis.call('HGETALL', KEYS[i]), redis.call('HGET', KEYS[1], ARGV[2 * i - 3])
  out[i - 1] = (#d > 0 or (r and string.sub(r, 9, 16) or NONE) ~= ARGV[2 * i - 2]) and {r, d}
end
return out
