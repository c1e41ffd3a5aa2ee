-- A script's or a command's value in the Redis protocol, by Redis' rules of conversion.
local function encode(value)
  local kind = type(value)
  if kind == 'nil' or value == false then return '$-1\r\n' end
  if value == true then return ':1\r\n' end
  if kind == 'number' then return string.format(':%d\r\n', value < 0 and math.ceil(value) or math.floor(value)) end
  if kind == 'string' then return string.format('$%d\r\n', #value) .. value .. '\r\n' end
  if value.err then return '-' .. value.err .. '\r\n' end
  if value.ok then return '+' .. value.ok .. '\r\n' end
  local out, n = {''}, 0
  while value[n + 1] ~= nil do
    n = n + 1
    out[n + 1] = encode(value[n])
  end
  out[1] = string.format('*%d\r\n', n)
  return table.concat(out)
end

return encode
