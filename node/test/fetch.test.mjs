import assert from 'node:assert/strict'
import { after, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { AsyncLocalStorage } from 'node:async_hooks'
import { Absent, ClosedError, DeadlockError, InvalidKey, InvalidValue, MisuseError, NULL, TimeoutError, open } from 'millpond'
import { redisFor } from './redis.mjs'

const redis = await redisFor(after)
const never = () => assert.fail('this loader must not be called')
let names = 0

for (const cache of ['memory', 'redis']) {
  const openPond = async (t, options) => {
    const pond = await open(cache === 'redis' ? redis.url : 'memory:', { namespace: `fetch-${cache}-${++names}`, ...options })
    t.after(() => pond.close({ timeout: 0 }).catch(() => {}))
    return pond
  }

  describe(cache, () => {
    test('a miss loads, a hit does not, and both give the same', async t => {
      const pond = await openPond(t)
      const loaded = { id: 42, name: 'Ada', gone: undefined, langs: ['en', null], when: { toJSON: () => 'today' } }
      const expected = { id: 42, name: 'Ada', langs: ['en', null], when: 'today' }
      const first = await pond.fetch('user:42', async key => {
        assert.equal(key, 'user:42')
        return loaded
      })
      assert.deepEqual(first, expected)
      assert.deepEqual(await pond.fetch('user:42', never), expected)
      assert.notEqual(await pond.fetch('user:42', never), await pond.fetch('user:42', never), 'each caller has an object of its own')
    })

    test('text, bytes, JSON scalars and the null that is data come back as they are', async t => {
      const pond = await openPond(t)
      const values = ['', 'plain', 'Grüße 日本語 🐸', 'a\0b', Buffer.from([0, 255, 128]), Buffer.alloc(0), 0, -1.5, true, false, [], {}, NULL]
      for (const [i, value] of values.entries()) {
        const key = `v${i}`
        assert.deepEqual(await pond.fetch(key, () => value), value)
        const hit = await pond.fetch(key, never)
        assert.deepEqual(hit, value)
        if (value instanceof Buffer) assert.ok(Buffer.isBuffer(hit))
        assert.deepEqual(await pond.lookup(key), { state: 'value', value, stale: false })
      }
      assert.equal(await pond.fetch('u8', () => new Uint8Array([1, 2])).then(String), '\x01\x02')
      assert.equal(JSON.stringify([NULL]), '[null]')
    })

    test('large values', async t => {
      const pond = await openPond(t)
      const text = 'ä'.repeat(3_000_000)
      assert.equal(await pond.fetch('big', () => text), text)
      assert.equal(await pond.fetch('big', never), text)
      const bytes = Buffer.alloc(5_000_000, 7)
      assert.ok(bytes.equals(await pond.fetch('bytes', () => bytes)))
      await assert.rejects(pond.fetch('over', () => 'x'.repeat(17 * 1024 * 1024)), { name: 'InvalidValue', code: 'POND_EVALUE' })
      assert.equal((await pond.lookup('over')).state, 'miss')
    })

    test('absence is a state of its own, and may be an error', async t => {
      const pond = await openPond(t)
      assert.equal(await pond.fetch('ghost', () => undefined), null)
      assert.equal(await pond.fetch('ghost', never), null)
      assert.deepEqual(await pond.lookup('ghost'), { state: 'absent', value: null })
      assert.deepEqual(await pond.lookup('other'), { state: 'miss', value: undefined })
      await assert.rejects(pond.fetch('ghost', { absent: 'raise' }, never), error => error instanceof Absent && error.message.includes('ghost'))
      await assert.rejects(pond.fetch('ghost2', { absent: 'raise' }, () => null), Absent)
      const strict = pond.namespace('strict', { absent: 'raise' })
      await assert.rejects(strict.fetch('ghost', () => null), Absent)
      assert.equal(await strict.fetch('ghost', { absent: 'null' }, never), null)
    })

    test('1,000 callers of a cold key: one load, and all get the value', async t => {
      const pond = await openPond(t)
      let loads = 0
      const load = async () => {
        loads++
        await sleep(20)
        return { n: 1 }
      }
      const answers = await Promise.all(Array.from({ length: 1000 }, () => pond.fetch('cold', load)))
      assert.equal(loads, 1)
      assert.ok(answers.every(answer => answer.n === 1))
    })

    test("a loader's own error reaches everybody who waits, and is not cached", async t => {
      const pond = await openPond(t)
      for (const error of [new TypeError('boom'), 'a string', { plain: 'object' }, undefined, null, 42]) {
        let loads = 0
        const load = async () => {
          loads++
          await sleep(5)
          throw error
        }
        const results = await Promise.allSettled(Array.from({ length: 50 }, () => pond.fetch('fails', load)))
        assert.ok(results.every(({ status, reason }) => status === 'rejected' && reason === error))
        assert.equal(loads, 1)
        assert.equal((await pond.lookup('fails')).state, 'miss')
      }
      const thrown = new RangeError('at once')
      await assert.rejects(pond.fetch('fails', () => { throw thrown }), error => error === thrown)
      assert.equal(await pond.fetch('fails', () => 'fine'), 'fine')
    })

    test('a loader may give a plain value or any thenable', async t => {
      const pond = await openPond(t)
      assert.equal(await pond.fetch('plain', () => 1), 1)
      assert.equal(await pond.fetch('thenable', () => ({ then: resolve => resolve(2) })), 2)
      await assert.rejects(pond.fetch('bad-thenable', () => ({ then () { throw new Error('no') } })), { message: 'no' })
    })

    test('what cannot be stored is an error that names the path, and is not cached', async t => {
      const pond = await openPond(t)
      const load = async () => ({ user: { created: new Date() } })
      const results = await Promise.allSettled([pond.fetch('k', load), pond.fetch('k', load)])
      for (const { reason } of results) {
        assert.ok(reason instanceof InvalidValue)
        assert.match(reason.message, /^user\.created: Date/)
      }
      assert.equal((await pond.lookup('k')).state, 'miss')
    })

    test('encode and decode: the caller that loads gets the same as a hit', async t => {
      const pond = await openPond(t)
      const options = { encode: date => date.toISOString(), decode: text => new Date(text) }
      const date = new Date(0)
      const first = await pond.fetch('date', options, () => date)
      assert.ok(first instanceof Date && first !== date && first.getTime() === 0)
      assert.deepEqual(await pond.fetch('date', options, never), first)
      assert.deepEqual(await pond.lookup('date', options), { state: 'value', value: first, stale: false })
      assert.equal(await pond.fetch('date', never), '1970-01-01T00:00:00.000Z')
      const dates = pond.namespace('dates', options)
      assert.deepEqual(await dates.fetch('d', () => date), date)
      assert.equal(await dates.fetch('absent', () => null), null, 'an absence is not decoded')
      assert.equal(await dates.fetch('null', () => NULL), NULL, 'nor is the null that is data')
      const broken = new Error('cannot decode')
      await assert.rejects(pond.fetch('date', { decode () { throw broken } }, never), error => error === broken)
      await assert.rejects(pond.fetch('e', { encode () { throw broken } }, () => 1), error => error === broken)
    })

    test('shouldCache says no: handed out, not cached', async t => {
      const pond = await openPond(t)
      const options = { shouldCache: page => page.length > 0 }
      assert.deepEqual(await pond.fetch('page', options, () => []), [])
      assert.equal((await pond.lookup('page')).state, 'miss')
      assert.deepEqual(await pond.fetch('page', options, () => [1]), [1])
      assert.equal((await pond.lookup('page')).state, 'value')
      const broken = new Error('predicate')
      await assert.rejects(pond.fetch('x', { shouldCache () { throw broken } }, () => 1), error => error === broken)
    })

    test('ttl of the call, of the namespace, of the pond', async t => {
      const pond = await openPond(t, { ttl: '10m' })
      await pond.fetch('short', { ttl: 150 }, () => 1)
      await pond.fetch('long', () => 1)
      const brief = pond.namespace('brief', { ttl: '150ms', negativeTtl: '10m' })
      await brief.fetch('k', () => 1)
      await brief.fetch('ghost', () => null)
      await sleep(300)
      assert.equal((await pond.lookup('short')).state, 'miss')
      assert.equal((await pond.lookup('long')).state, 'value')
      assert.equal((await brief.lookup('k')).state, 'miss')
      assert.equal((await brief.lookup('ghost')).state, 'absent')
    })

    test('invalidate: one key, several, and none if one is bad', async t => {
      const pond = await openPond(t)
      for (const key of ['a', 'b', 'c']) await pond.fetch(key, () => key)
      await pond.invalidate('a')
      await pond.invalidate(['b', 'nothing'])
      assert.deepEqual(await Promise.all(['a', 'b', 'c'].map(async key => (await pond.lookup(key)).state)), ['miss', 'miss', 'value'])
      await assert.rejects(pond.invalidate(['c', '']), InvalidKey)
      await assert.rejects(pond.invalidate(['c', 7]), InvalidKey)
      assert.equal((await pond.lookup('c')).state, 'value')
      await pond.invalidate([])
    })

    test('an invalidation during a load: what was read before it is not cached', async t => {
      const pond = await openPond(t)
      let row = 'old'
      const reading = pond.fetch('row', async () => {
        const read = row
        await sleep(50)
        return read
      })
      await sleep(20)
      row = 'new'
      await pond.invalidate('row')
      await reading
      assert.equal(await pond.fetch('row', () => row), 'new')
    })

    test('a loader that asks for its own key is told so, also after an await and through others', async t => {
      const pond = await openPond(t)
      await assert.rejects(pond.fetch('self', () => pond.fetch('self', never)), DeadlockError)
      await assert.rejects(pond.fetch('self', async () => {
        await sleep(1)
        return pond.fetch('self', never)
      }), { name: 'DeadlockError', code: 'POND_EDEADLOCK', message: /"self"/ })
      const a = () => pond.fetch('a', async () => { await sleep(1); return b() })
      const b = () => pond.fetch('b', async () => { await sleep(1); return a() })
      await assert.rejects(a(), DeadlockError)
      assert.equal(await pond.fetch('self', async () => {
        const inner = await pond.fetch('inner', () => 1)
        return inner + await pond.namespace('elsewhere').fetch('self', () => 1)
      }), 2, 'other keys, and the same key of another namespace, are no deadlock')
    })

    test('work that a loader leaves behind may ask for the key later', async t => {
      const pond = await openPond(t)
      let later
      await pond.fetch('k', () => {
        later = sleep(30).then(() => pond.fetch('k', never))
        return 'value'
      })
      let release
      const other = pond.fetch('other', () => new Promise(resolve => { release = resolve })) // some load runs meanwhile
      assert.equal(await later, 'value')
      release(1)
      await other
    })

    test("a loader and decode run in the caller's asynchronous context", async t => {
      const pond = await openPond(t)
      const context = new AsyncLocalStorage()
      const seen = []
      const decode = value => {
        seen.push(context.getStore())
        return value
      }
      await Promise.all(['one', 'two'].map(name => context.run(name, async () => {
        await pond.fetch(name, { decode }, async () => {
          seen.push(context.getStore())
          await sleep(1)
          seen.push(context.getStore())
          return 1
        })
        assert.equal(context.getStore(), name)
      })))
      assert.deepEqual(seen.sort(), ['one', 'one', 'one', 'two', 'two', 'two'])
    })

    test('waitTimeout ends a wait, not the load', async t => {
      const pond = await openPond(t)
      let release
      const slow = pond.fetch('slow', () => new Promise(resolve => { release = resolve }))
      await sleep(20)
      await assert.rejects(pond.fetch('slow', { waitTimeout: 50 }, never), { name: 'TimeoutError', code: 'POND_ETIMEOUT', retriable: true })
      release('done')
      assert.equal(await slow, 'done')
    })

    test('wrong arguments are refused before anything is written', async t => {
      const pond = await openPond(t)
      for (const key of [undefined, null, 42, {}, ['a'], Symbol('k')]) {
        await assert.rejects(pond.fetch(key, never), InvalidKey)
        await assert.rejects(pond.lookup(key), InvalidKey)
        await assert.rejects(pond.explain(key), InvalidKey)
      }
      for (const key of ['', 'a\0b', 'x'.repeat(513), 'é'.repeat(257), 'x'.repeat(100_000), 'lone \ud800']) {
        await assert.rejects(pond.fetch(key, never), { name: 'InvalidKey', code: 'POND_EKEY' })
      }
      await assert.rejects(pond.fetch('k'), MisuseError)
      await assert.rejects(pond.fetch('k', { ttl: '5m' }), MisuseError)
      await assert.rejects(pond.fetch('k', never, { ttl: '5m' }), { name: 'MisuseError', message: /comes last/ })
      await assert.rejects(pond.fetch('k', 5, never), { name: 'OptionError' })
      await assert.rejects(pond.fetch('k', { decode: 'x' }, never), { name: 'OptionError', message: /decode/ })
      assert.equal(pond.stat('loads'), 0)
    })

    test('explain, stats and stat', async t => {
      const pond = await openPond(t)
      const { namespace } = { namespace: `fetch-${cache}-${names}` }
      await pond.fetch('k', () => 1)
      await pond.fetch('k', never)
      await pond.namespace('counted').fetch('k', () => 1)
      assert.equal((await pond.explain('k')).state, 'value')
      assert.equal((await pond.explain('none')).state, 'miss')
      assert.equal(pond.stat('hits'), 1)
      assert.equal(pond.stat('loads'), 2)
      assert.equal(pond.stat('loads', namespace), 1)
      assert.equal(pond.namespace('counted').stat('loads'), 1)
      assert.equal(pond.stats().namespaces[namespace].hits, 1)
      assert.throws(() => pond.stat(5), { name: 'OptionError' })
      const metrics = pond.metrics()
      assert.ok(metrics.includes(`\nmillpond_hits_total{namespace="${namespace}"} 1\n`), metrics)
      assert.ok(metrics.includes(`cache="${cache}"`), metrics)
    })

    test('close refuses new work, waits for what is under way, ends the rest', async t => {
      const pond = await openPond(t)
      const slow = pond.fetch('slow', async () => { await sleep(50); return 'in time' })
      await sleep(10)
      const closing = pond.close()
      await assert.rejects(pond.fetch('k', never), ClosedError)
      await assert.rejects(pond.lookup('k'), ClosedError)
      await assert.rejects(pond.invalidate('k'), ClosedError)
      assert.equal(await slow, 'in time')
      await closing
      await pond.close()
      await assert.rejects(pond.fetch('k', never), ClosedError)

      const other = await openPond(t)
      const hanging = other.fetch('hangs', () => new Promise(() => {}))
      await sleep(10)
      const ended = assert.rejects(hanging, ClosedError)
      await assert.rejects(other.close({ timeout: '30ms' }), TimeoutError)
      await ended
      await assert.rejects(other.close({ timeout: '10 parsecs' }), { name: 'OptionError' })
      await assert.rejects(other.close('30ms'), { name: 'OptionError', message: /write \{ timeout: '30s' \}/ })
      await assert.rejects(other.close({ timeOut: 30 }), { name: 'OptionError', message: /timeOut.*close\(\{ timeout \}\)/ })
    })

    test('a pond may be closed from a loader and from what waits for one', async t => {
      const pond = await openPond(t)
      let closing
      assert.equal(await pond.fetch('k', () => {
        closing = pond.close()
        return 1
      }), 1)
      await closing
      const other = await openPond(t)
      await Promise.all(Array.from({ length: 300 }, (_, i) => other.fetch(`k${i}`, () => i).then(() => other.close())))
    })
  })
}

test('a hit through Redis is one GET and no script', async t => {
  const pond = await open(redis.url, { namespace: 'wire' })
  t.after(() => pond.close())
  await pond.fetch('k', () => 1)
  await redis.command('CONFIG', 'RESETSTAT')
  for (let i = 0; i < 100; i++) await pond.fetch('k', never)
  const { get, ...others } = await redis.calls()
  assert.equal(get, 100)
  const scripts = Object.keys(others).filter(name => /eval/.test(name))
  assert.ok(scripts.length <= 1 && (others.evalsha ?? 0) <= 2, `the fence is checked once a second, nothing else: ${JSON.stringify(others)}`)
})
