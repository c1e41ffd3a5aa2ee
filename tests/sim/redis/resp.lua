-- A script's or a command's value in the Redis protocol, by Redis' rules of conversion; {map=true, ...} and {push=true, ...}
-- are RESP3's. An array ends at its first nil.
local encode_all

local function encode(value)
  local kind = type(value)
  if kind == 'nil' or value == false then return '$-1\r\n' end
  if value == true then return ':1\r\n' end
  if kind == 'number' then return string.format(':%d\r\n', value < 0 and math.ceil(value) or math.floor(value)) end
  if kind == 'string' then return string.format('$%d\r\n', #value) .. value .. '\r\n' end
  if value.err then return '-' .. value.err .. '\r\n' end
  if value.ok then return '+' .. value.ok .. '\r\n' end
  local all, n = encode_all(value)
  if value.map then return string.format('%%%d\r\n', n / 2) .. all end
  return string.format(value.push and '>%d\r\n' or '*%d\r\n', n) .. all
end

function encode_all(value)
  local out = {}
  for i, one in ipairs(value) do out[i] = encode(one) end
  return table.concat(out), #out
end

return encode
