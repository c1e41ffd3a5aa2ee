-- wb_dead_retry: a dead letter waits for the store again, as it was and with the version that it had, unless a newer change is known here. The deltas that
-- went with it wait again, too; a letter may have nothing else. They are what they were, versions included: a fold adds them to an older document,
-- and so once, for the letter goes in the same step.
-- KEYS 1=value 2=lease 3=deltas of the key 4=dirty hash 5=stream 6=dead letters 7=sessions of the day 8=meta. All share the shard's hash tag.
-- ARGV 1=user key 2=letter's id 3=version 8B (without a record: of the newest delta) 4=most entries of the stream 5=session and slot (18B) 6=n, as wb_put.lua
-- reply 1 it waits; a repeated n gets that again   0 n is below the slot's last   -2 as many entries wait as may
--   -3 something newer was accepted, or is cached   -4 there is no such letter of this key and version (retried or dropped before)
-- It keeps its version, so that the order of changes is that in which they were accepted, whatever is retried when: the store refuses it if it
-- has got a newer one. Its fence is none that was ever in force: so a worker looks for a newer deletion too, and readers compare it with the
-- store, as they do with what was accepted in a history that was lost.
local last = redis.call('HGET', KEYS[7], ARGV[5])
if last then
  local n = tonumber(string.sub(last, 9))
  if n == tonumber(ARGV[6]) then return 1 end
  if n > tonumber(ARGV[6]) then return 0 end
end
local e, r, sums, named = redis.call('XRANGE', KEYS[6], ARGV[2], ARGV[2])[1], nil, {'HSET', KEYS[3]}, nil
for i = 1, e and #e[2] or 0, 2 do
  local name, is = e[2][i], e[2][i + 1]
  if name == 'k' and is ~= ARGV[1] then return -4 end
  if name == 'r' then r = is end
  if name == 'd' and #is >= 16 then named = string.sub(is, 1, 8) end
  if string.sub(name, 1, 1) == 'd' then
    sums[#sums + 1] = string.sub(name, 2)
    sums[#sums + 1] = name == 'd' and string.sub(is, 1, 16) or is         -- without the entry that was made for them
  end
end
if r and #r >= 48 then named = string.sub(r, 9, 16) elseif r ~= '' then named = nil end
if named ~= ARGV[3] then return -4 end
local seq, epoch = struct.unpack('<I5I3', ARGV[3])
local function newer(other)
  if #other < 16 then return false end
  local s, e = struct.unpack('<I5I3', string.sub(other, 9, 16))
  return e > epoch or e == epoch and s > seq
end
local rec = redis.call('HGET', KEYS[4], ARGV[1])
local v = redis.call('GET', KEYS[1])
if rec and newer(rec) or v and newer(v) or redis.call('EXISTS', KEYS[3]) == 1 then return -3 end
if not rec and redis.call('XLEN', KEYS[5]) >= tonumber(ARGV[4]) then return -2 end
if r ~= '' then redis.call('HSET', KEYS[4], ARGV[1], string.sub(r, 1, 16) .. string.rep('\0', 8) .. string.sub(r, 25)) end
redis.call('DEL', KEYS[1], KEYS[2])
local id = rec and '' or redis.call('XADD', KEYS[5], '*', 'k', ARGV[1])
if #sums > 2 then
  redis.call(unpack(sums))
  if r == '' and not rec then redis.call('HSET', KEYS[3], '', redis.call('HGET', KEYS[3], '') .. id) end   -- made for them, as in wb_incr.lua
  redis.call('HSET', KEYS[8], 'incr', 1)                                 -- the worker must look for them in this shard
end
redis.call('XDEL', KEYS[6], ARGV[2])
redis.call('HSET', KEYS[7], ARGV[5], ARGV[3] .. ARGV[6])
return 1
