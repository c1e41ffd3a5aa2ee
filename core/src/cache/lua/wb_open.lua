-- wb_open: may this server be written behind, and in how many shards?
-- KEYS 1=meta of shard 0   ARGV 1=shards   reply {shards in force, maxmemory-policy, '1' or '0': an append-only file is written}
-- The first to open decides on the shards, but not where keys are evicted whatever they are. Unknown to the server: ''.
-- Who comes later writes nothing: a server that is full has to let in the worker that empties it.
local policy = string.match(redis.call('INFO', 'memory'), 'maxmemory_policy:([%a-]+)') or ''
local aof = string.match(redis.call('INFO', 'persistence'), 'aof_enabled:(%d)') or ''
local shards = redis.call('HGET', KEYS[1], 'shards')
if not shards and string.sub(policy, 1, 7) ~= 'allkeys' then
  redis.call('HSETNX', KEYS[1], 'shards', ARGV[1]); shards = ARGV[1]
end
return {shards or '', policy, aof}
