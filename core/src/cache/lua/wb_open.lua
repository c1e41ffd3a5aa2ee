-- wb_open: may this server be written behind, and in how many shards?
-- KEYS 1=meta of shard 0   ARGV 1=shards   reply {shards in force, maxmemory-policy, '1' or '0': an append-only file is written}
-- The first to open decides on the shards, but not where keys are evicted whatever they are. Unknown to the server: ''.
local policy = string.match(redis.call('INFO', 'memory'), 'maxmemory_policy:([%a-]+)') or ''
local aof = string.match(redis.call('INFO', 'persistence'), 'aof_enabled:(%d)') or ''
if string.sub(policy, 1, 7) ~= 'allkeys' then redis.call('HSETNX', KEYS[1], 'shards', ARGV[1]) end
return {redis.call('HGET', KEYS[1], 'shards') or '', policy, aof}
