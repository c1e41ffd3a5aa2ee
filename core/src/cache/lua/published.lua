-- published: what processes have published and keep publishing, a thousand at most. Changes nothing.
-- KEYS as publish.lua   reply one string: of each 16 B id, 'ms left' and the row's length in decimal with a space behind each, the row
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local found = redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. string.format('%.0f', now), '+inf', 'WITHSCORES', 'LIMIT', 0, 1000)
local out = {}
for i = 1, #found, 2 do
  local row = #found[i] == 16 and redis.call('HGET', KEYS[1], found[i])
  if row then out[#out + 1] = found[i] .. string.format('%.0f %d ', found[i + 1] - now, #row) .. row end
end
return table.concat(out)
