// fetchMany, setMany, warm and long invalidations.
import assert from 'node:assert/strict'
import { after, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Absent, CacheError, ClosedError, DeadlockError, InvalidKey, InvalidValue, MisuseError, NULL, OptionError, TimeoutError, open } from 'millpond'
import { redisFor } from './redis.mjs'

const redis = await redisFor(after)
const never = keys => assert.fail(`this must not be called: ${keys}`)

/** A loader of many that gives what it has, and remembers what it was asked for. */
function loaderOf (values) {
  const load = async keys => {
    load.asked.push(keys)
    await sleep(1)
    return new Map(keys.filter(key => values === undefined || key in values).map(key => [key, values === undefined ? `value of ${key}` : values[key]]))
  }
  load.asked = []
  return load
}

for (const [name, address] of [['memory', 'memory:bulk'], ['redis', redis.url]]) {
  describe(name, () => {
    let names = 0
    const openPond = async (t, options) => {
      const pond = await open(address, { namespace: `bulk-${name}-${++names}`, ...options })
      t.after(() => pond.close({ timeout: 0 }).catch(() => {}))
      return pond
    }

    test('the missing are loaded together', async t => {
      const pond = await openPond(t)
      await pond.fetch('a', () => 'there')
      await pond.fetch('c', () => 'there')
      const load = loaderOf()
      assert.deepEqual(await pond.fetchMany(['a', 'b', 'c', 'd'], load), ['there', 'value of b', 'there', 'value of d'])
      assert.deepEqual(load.asked, [['b', 'd']])
      assert.deepEqual(await pond.fetchMany(['d', 'a'], never), ['value of d', 'there'])
      assert.deepEqual(await pond.fetchMany('b', never), ['value of b'])
      assert.equal(pond.stat('loads'), 4)
    })

    test('what is left out is not there', async t => {
      const pond = await openPond(t)
      const load = loaderOf({ a: { n: 1 }, c: NULL, d: Buffer.from([0, 255]), more: 1 })
      assert.deepEqual(await pond.fetchMany(['a', 'b', 'c', 'd'], load), [{ n: 1 }, null, NULL, Buffer.from([0, 255])])
      assert.deepEqual(await pond.fetchMany(['b', 'd'], never), [null, Buffer.from([0, 255])])
      assert.equal((await pond.lookup('b')).state, 'absent')
      await assert.rejects(pond.fetchMany(['a', 'b'], { absent: 'raise' }, never), Absent)
    })

    test('what a loader may give', async t => {
      const pond = await openPond(t)
      const keys = ['a', 'b']
      for (const given of [new Map([['b', 2], ['a', 1]]), { b: 2, a: 1, c: 3 }, [1, 2], Object.assign(Object.create(null), { a: 1, b: 2 })]) {
        await pond.invalidate(keys)
        assert.deepEqual(await pond.fetchMany(keys, () => given), [1, 2])
      }
      for (const given of [[1], [1, 2, 3], null, undefined, 7, 'ab', Buffer.from('ab')]) {
        await pond.invalidate(keys)
        await assert.rejects(pond.fetchMany(keys, () => given), MisuseError)
        assert.equal((await pond.lookup('a')).state, 'miss')
      }
      assert.deepEqual(await pond.fetchMany(['toString'], () => ({})), [null], 'what an object inherits is not its own')
    })

    test('a key may be there twice, and none at all', async t => {
      const pond = await openPond(t)
      const load = loaderOf()
      assert.deepEqual(await pond.fetchMany(['a', 'b', 'a'], load), ['value of a', 'value of b', 'value of a'])
      assert.deepEqual(load.asked, [['a', 'b']])
      assert.deepEqual(await pond.fetchMany([], never), [])
      await pond.setMany({})
      assert.equal(await pond.warm([], never), 0)
    })

    test('a loader that fails', async t => {
      const pond = await openPond(t)
      await pond.fetch('a', () => 'there')
      const mine = new Error('no such shard')
      await assert.rejects(pond.fetchMany(['a', 'b'], () => { throw mine }), error => error === mine)
      await assert.rejects(pond.fetchMany(['a', 'b'], async () => { throw mine }), error => error === mine)
      assert.equal((await pond.lookup('a')).value, 'there')
      await assert.rejects(pond.fetchMany(['b', 'c'], () => ({ b: 1, c: new Map() })), InvalidValue)
      await assert.rejects(pond.fetchMany(['b', 'c'], () => [1, Buffer.alloc(17 << 20)]), InvalidValue)
      assert.equal((await pond.lookup('c')).state, 'miss')
    })

    test('values come and go as in a fetch', async t => {
      const pond = await openPond(t)
      const load = loaderOf({ a: 1, b: 2 })
      const options = { encode: value => `<${value}>`, decode: text => Number(text.slice(1, -1)), shouldCache: value => value !== 2, tags: ['t'], ttl: '1m' }
      assert.deepEqual(await pond.fetchMany(['a', 'b'], options, load), [1, 2])
      assert.deepEqual(await pond.lookup('a', { tags: ['t'] }), { state: 'value', value: '<1>', stale: false })
      assert.equal((await pond.lookup('b', { tags: ['t'] })).state, 'miss')
      await pond.invalidate([], { tags: ['t'] })
      assert.deepEqual(await pond.fetchMany(['a', 'b'], options, load), [1, 2])
      assert.deepEqual(load.asked, [['a', 'b'], ['a', 'b']])
    })

    test('what is wrong is said before anything happens', async t => {
      const pond = await openPond(t)
      await assert.rejects(pond.fetchMany(['a', ''], never), InvalidKey)
      await assert.rejects(pond.fetchMany(['a', 1], never), InvalidKey)
      await assert.rejects(pond.fetchMany(['a']), MisuseError)
      await assert.rejects(pond.fetchMany(['a'], { tags: 't' }, never), OptionError)
      await assert.rejects(pond.fetchMany(['a'], { ttk: 1 }, never), OptionError)
      await assert.rejects(pond.fetchMany(['a'], { batch: 1 }, never), OptionError)
      await assert.rejects(pond.setMany({ a: 1, '': 2 }), InvalidKey)
      await assert.rejects(pond.setMany({ a: 1, b: new Map() }), InvalidValue)
      await assert.rejects(pond.setMany([['a']]), MisuseError)
      await assert.rejects(pond.setMany([[1, 2]]), InvalidKey)
      await assert.rejects(pond.setMany(7), MisuseError)
      await assert.rejects(pond.setMany({ a: 1, b: Buffer.alloc(17 << 20) }), InvalidValue)
      await assert.rejects(pond.warm('abc', never), MisuseError)
      await assert.rejects(pond.warm(['a'], { batch: 0 }, never), OptionError)
      await assert.rejects(pond.warm(['a'], { parallel: 1.5 }, never), OptionError)
      await assert.rejects(pond.warm(['a'], { progress: 1 }, never), OptionError)
      await assert.rejects(pond.warm(['a']), MisuseError)
      await assert.rejects(pond.warm(['a', 1], never), InvalidKey)
      assert.equal((await pond.lookup('a')).state, 'miss')
    })

    test('a loader that asks for what it loads', async t => {
      const pond = await openPond(t)
      const values = await pond.fetchMany(['a', 'b'], async () => {
        await assert.rejects(pond.fetch('b', never), DeadlockError)
        await assert.rejects(pond.fetchMany(['x', 'b'], never), DeadlockError)
        return [1, await pond.fetch('inner', () => 2)]
      })
      assert.deepEqual(values, [1, 2])
    })

    test('a long list', async t => {
      const pond = await openPond(t, { commandTimeout: '10s' })
      const keys = Array.from({ length: 5000 }, (_, i) => `k${i}`)
      const load = loaderOf()
      assert.deepEqual(await pond.fetchMany(keys, load), keys.map(key => `value of ${key}`))
      assert.deepEqual(load.asked.map(part => part.length), [2048, 2048, 904])
      await pond.fetchMany(keys, never)
      await pond.invalidate(keys)
      assert.equal((await pond.lookup('k4999')).state, 'miss')
      await pond.setMany(keys.map(key => [key, { of: key }]))
      assert.deepEqual(await pond.fetchMany(keys.toReversed?.() ?? [...keys].reverse(), never), [...keys].reverse().map(of => ({ of })))
    })

    test('values are set', async t => {
      const pond = await openPond(t)
      await pond.setMany({ a: 1, b: 'text', c: null, d: Buffer.from([0]), e: NULL, f: '' })
      assert.deepEqual(await pond.fetchMany(['a', 'b', 'c', 'd', 'e', 'f'], never), [1, 'text', null, Buffer.from([0]), NULL, ''])
      await pond.setMany(new Map([['a', 2]]), { encode: value => `<${value}>`, ttl: '1m' })
      assert.equal((await pond.lookup('a')).value, '<2>')
      await pond.write('a', () => pond.setMany({ a: 'beside' }))
      assert.equal((await pond.lookup('a')).state, 'miss')
    })

    test('a warming that fails closes what its keys come from, as for await does', async t => {
      const pond = await openPond(t)
      for (const parallel of [1, 3]) {
        const closed = []
        function * lazy () { try { for (let i = 0; ; i++) yield `${parallel} ${i}` } finally { closed.push('lazy') } }
        async function * cursor () { try { yield * lazy() } finally { closed.push('cursor') } }
        const fail = () => { throw new RangeError('mine') }
        await assert.rejects(pond.warm(lazy(), { batch: 2, parallel }, fail), RangeError)
        await assert.rejects(pond.warm(cursor(), { batch: 2, parallel }, fail), RangeError)
        await assert.rejects(pond.warm(cursor(), { progress: fail }, keys => keys.map(() => 1)), RangeError)
        assert.deepEqual(closed, ['lazy', 'lazy', 'cursor', 'lazy', 'cursor'])
        const grumbling = { [Symbol.iterator]: () => ({ next: () => ({ value: 'k' }), return () { throw new Error('not this one') } }) }
        await assert.rejects(pond.warm(grumbling, { batch: 2, parallel }, fail), RangeError)
      }
      async function * stuck () {
        yield 'k'
        await new Promise(() => {})
      }
      await assert.rejects(pond.warm(stuck(), { batch: 1, parallel: 2 }, async () => {
        await sleep(5)
        throw new RangeError('mine')
      }), RangeError)
    })

    test('a long warming keeps its tags, however many others come and go meanwhile', async t => {
      const pond = await openPond(t)
      async function * keys () {
        yield 'first'
        for (let i = 0; i < 600; i++) await pond.fetch(`f${i}`, { tags: [`of ${i}`] }, () => 1)
        yield 'last'
      }
      await pond.warm(keys(), { tags: ['t'], batch: 1 }, some => some.map(() => 1))
      const states = () => Promise.all(['first', 'last'].map(async key => (await pond.lookup(key, { tags: ['t'] })).state))
      assert.deepEqual(await states(), ['value', 'value'])
      await pond.invalidate([], { tags: ['t'] })
      assert.deepEqual(await states(), ['miss', 'miss'])
    })

    test('the cache is warmed', async t => {
      const pond = await openPond(t)
      const keys = prefix => Array.from({ length: 100 }, (_, i) => `${prefix}${i}`)
      for (let i = 0; i < 100; i += 10) await pond.fetch(`k${i}`, () => 'there')
      let load = loaderOf()
      let reports = []
      assert.equal(await pond.warm(keys('k'), { batch: 30, progress: done => reports.push(done) }, load), 100)
      assert.deepEqual(reports, [30, 60, 90, 100])
      assert.deepEqual(load.asked.map(part => part.length), [27, 27, 27, 9])
      assert.equal(await pond.warm(keys('k'), never), 100)
      load = loaderOf()
      reports = []
      async function * lazily () { yield * keys('m') }
      assert.equal(await pond.warm(lazily(), { batch: 7, parallel: 4, progress: done => reports.push(done) }, load), 100)
      assert.equal(reports.length, 15)
      assert.equal(load.asked.flat().length, 100)
      assert.equal((await pond.lookup('m99')).value, 'value of m99')
      load = loaderOf()
      const stop = new Error('enough')
      await assert.rejects(pond.warm(keys('n'), { batch: 10, progress: done => { if (done >= 20) throw stop } }, load), error => error === stop)
      assert.equal(load.asked.flat().length, 20)
      await assert.rejects(pond.warm(keys('o'), { batch: 10, parallel: 3 }, () => { throw stop }), error => error === stop)
    })

    test('what others load is waited for', async t => {
      const pond = await openPond(t)
      let go
      const other = pond.fetch('b', () => new Promise(resolve => { go = () => resolve('by another') }))
      while (go === undefined) await sleep(1)
      const values = await pond.fetchMany(['a', 'b', 'c'], keys => {
        assert.deepEqual(keys, ['a', 'c'])
        go()
        return keys
      })
      assert.deepEqual(values, ['a', 'by another', 'c'])
      assert.equal(await other, 'by another')
    })

    test('one load a key, however many ask', async t => {
      const pond = await openPond(t)
      const load = loaderOf()
      await Promise.all(Array.from({ length: 8 }, (_, i) => pond.fetchMany(Array.from({ length: 20 }, (_, n) => `k${i + n}`), load)))
      assert.equal(load.asked.flat().length, 27)
    })

    test('a loader that takes too long does not hold its caller', async t => {
      const pond = await openPond(t)
      let finish
      const load = () => new Promise(resolve => { finish = resolve })
      await assert.rejects(pond.fetchMany(['a', 'b'], { loadTimeout: 50 }, load), TimeoutError)
      finish([1, 2])
      await pond.lookup('another')
      assert.equal((await pond.lookup('a')).state, 'miss', 'its answer goes nowhere')
    })

    test('a caller that goes away', async t => {
      const pond = await openPond(t)
      const controller = new AbortController()
      let finish
      const load = () => new Promise(resolve => { finish = resolve })
      const gone = assert.rejects(pond.fetchMany(['c', 'd'], { signal: controller.signal }, load), /gone/)
      while (finish === undefined) await sleep(1)
      controller.abort(new Error('gone'))
      await gone
      finish([1, 2])
      while ((await pond.lookup('c')).state === 'miss') await sleep(1)
      assert.equal((await pond.lookup('c')).value, 1, 'the loader went on')
      await assert.rejects(pond.fetchMany(['e'], { signal: controller.signal }, never), /gone/)
    })

    test('a close while it loads', async t => {
      const pond = await openPond(t)
      let finish
      const loading = assert.rejects(pond.fetchMany(['a', 'b'], () => new Promise(resolve => { finish = resolve })), ClosedError)
      while (finish === undefined) await sleep(1)
      await assert.rejects(pond.close({ timeout: 20 }), TimeoutError)
      finish([1, 2])
      await loading
      await assert.rejects(pond.fetchMany(['a'], never), ClosedError)
      await assert.rejects(pond.warm(['a'], never), ClosedError)
    })
  })
}

test('without a cache all are loaded together', async t => {
  const pond = await open('redis://127.0.0.1:1/0', { namespace: 'bulk-away' })
  t.after(() => pond.close({ timeout: 0 }).catch(() => {}))
  const load = loaderOf()
  assert.deepEqual(await pond.fetchMany(['a', 'b'], load), ['value of a', 'value of b'])
  assert.deepEqual(load.asked, [['a', 'b']])
  await assert.rejects(pond.setMany({ a: 1 }), CacheError)
})
