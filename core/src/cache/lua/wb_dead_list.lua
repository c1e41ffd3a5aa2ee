-- wb_dead_list: dead letters, oldest first. Changes nothing.
-- KEYS 1=dead letters   ARGV 1=id to begin behind ('' = from the first on) 2=most 3=most bytes of records ('0' = no bound; one comes all the same)
-- reply {how many there are, 1 if more follow (else 0), then of each: id, user key, record ('' = none), why, deltas (a hash as wb_incr.lua has it, {} = none)}
-- One at a time: a range of many would be in memory as a whole before a byte of it is counted.
local out, bytes, at = {redis.call('XLEN', KEYS[1]), 0}, 0, ARGV[1] == '' and '-' or '(' .. ARGV[1]
for i = 0, tonumber(ARGV[2]) do
  local e = redis.call('XRANGE', KEYS[1], at, '+', 'COUNT', 1)[1]
  if not e then break end
  local of, sums = {}, {}
  for i = 1, #e[2], 2 do
    local name = e[2][i]
    of[name] = e[2][i + 1]
    if string.sub(name, 1, 1) == 'd' then sums[#sums + 1] = string.sub(name, 2); sums[#sums + 1] = e[2][i + 1] end
  end
  bytes = bytes + #(of.r or '')
  if i == tonumber(ARGV[2]) or (i > 0 and tonumber(ARGV[3]) > 0 and bytes > tonumber(ARGV[3])) then
    out[2] = 1
    break
  end
  out[#out + 1] = e[1]; out[#out + 1] = of.k or ''; out[#out + 1] = of.r or ''; out[#out + 1] = of.e or ''; out[#out + 1] = sums
  at = '(' .. e[1]
end
return out
