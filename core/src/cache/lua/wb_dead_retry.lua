-- wb_dead_retry: a dead letter waits for the store again, as it was and with the version that it had, unless a newer change is known here. The deltas that
-- went with it wait again, too; a letter may have nothing else. They are what they were, versions included: a fold adds them to an older document,
-- and so once, for the letter goes in the same step.
-- KEYS 1=value 2=deltas of the key 3=base hash 4=queue 5=meta 6=sessions of the day 7=lease 8=dead letters. All share the shard's hash tag.
-- ARGV 1=user key 2=letter's id 3=version 8B (without a record: of the newest delta) 4=most entries of the queue 5=session and slot (18B) 6=n
--   7='1': it was sent before (these as wb_put.lua)
-- reply 1 it waits; what was sent before gets that again   0 it comes too late   -2 as many entries wait as may
--   -3 something newer was accepted, or is cached   -4 there is no such letter of this key and version (retried or dropped before)
-- It keeps its version, so that the order of changes is that in which they were accepted, whatever is retried when: the store refuses it if it
-- has got a newer one. Its fence is none that was ever in force: so a worker looks for a newer deletion too, and readers compare it with the
-- store, as they do with what was accepted in a history that was lost.
local call, sub = redis.call, string.sub
local last, again = call('HGET', KEYS[6], ARGV[5]) or '', ARGV[7] == '1'
local had, n = last ~= '' and struct.unpack('<I6', last) or 0, struct.unpack('<I6', ARGV[6])
if had > n or (had == n and not again) then return 0 end
if again and had == n and #last > 6 then return 1 end
local e, r, sums, named = call('XRANGE', KEYS[8], ARGV[2], ARGV[2])[1], nil, {KEYS[2]}, nil
for i = 1, e and #e[2] or 0, 2 do
  local name, is = e[2][i], e[2][i + 1]
  if name == 'k' and is ~= ARGV[1] then return -4 end
  if name == 'r' then r = is end
  if name == 'd' and #is >= 16 then named = sub(is, 1, 8) end
  if sub(name, 1, 1) == 'd' then
    sums[#sums + 1] = sub(name, 2)
    sums[#sums + 1] = is
  end
end
if r and #r >= 48 then named = sub(r, 9, 16) elseif r ~= '' then named = nil end
if named ~= ARGV[3] then return -4 end
local seq, epoch = struct.unpack('<I5I3', ARGV[3])
local v = call('GET', KEYS[1])
if v and #v >= 16 then
  local s, e = struct.unpack('<I5I3', sub(v, 9, 16))
  if e > epoch or e == epoch and s > seq then return -3 end
end
if call('EXISTS', KEYS[2]) == 1 then return -3 end
local dirty = v and (string.byte(v, 4) or 0) > 127
if not dirty and call('LLEN', KEYS[4]) >= tonumber(ARGV[4]) then return -2 end
local record = r ~= '' and sub(r, 1, 16) .. string.rep('\0', 8) .. sub(r, 25) or dirty and v
call('DEL', KEYS[1], KEYS[7])
if not dirty then call('RPUSH', KEYS[4], ARGV[1]) end
if #sums > 1 then
  call('HSET', unpack(sums))
  if record then call('HSET', KEYS[3], ARGV[1], record) end
  call('HSET', KEYS[5], 'incr', 1)                                       -- the worker must look for them in this shard
elseif record then call('SET', KEYS[1], record) end
call('XDEL', KEYS[8], ARGV[2])
call('HSET', KEYS[6], ARGV[5], ARGV[6] .. ARGV[3])
return 1
