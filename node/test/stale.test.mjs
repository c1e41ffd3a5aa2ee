// Values past their time: the loader runs behind the answer.
import assert from 'node:assert/strict'
import { after, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { AsyncLocalStorage } from 'node:async_hooks'
import { open } from 'millpond'
import { redisFor } from './redis.mjs'

const redis = await redisFor(after)
const never = () => assert.fail('this loader must not be called')
let names = 0

async function until (condition) {
  for (let i = 0; !condition(); i++) {
    assert.ok(i < 500, 'it did not come')
    await sleep(10)
  }
}

for (const cache of ['memory', 'redis']) {
  const openPond = async (t, options) => {
    const pond = await open(cache === 'redis' ? redis.url : 'memory:', {
      namespace: `stale-${cache}-${++names}`, grace: '1h', staleIfError: '1h', ...options
    })
    t.after(() => pond.close({ timeout: 0 }).catch(() => {}))
    return pond
  }
  const putOld = async (pond, key, value) => {
    assert.deepEqual(await pond.fetch(key, { ttl: 40 }, () => value), value)
    await sleep(80)
  }

  describe(cache, () => {
    test('the caller has the old value at once, and the loader runs behind it', async t => {
      const pond = await openPond(t)
      await putOld(pond, 'k', { n: 1 })
      let let_
      let calls = 0
      const load = () => new Promise(resolve => {
        calls++
        let_ = () => resolve({ n: 2 })
      })
      assert.deepEqual(await pond.fetchEntry('k', load), { state: 'value', value: { n: 1 }, stale: true })
      await until(() => calls === 1)
      const others = await Promise.all(Array.from({ length: 20 }, () => pond.fetch('k', load)))
      assert.deepEqual(others, Array.from({ length: 20 }, () => ({ n: 1 })))
      assert.deepEqual(await pond.lookup('k'), { state: 'value', value: { n: 1 }, stale: true })
      let_()
      await until(() => pond.stat('fills') === 2)
      assert.deepEqual(await pond.fetchEntry('k', never), { state: 'value', value: { n: 2 }, stale: false })
      assert.equal(calls, 1)
      assert.equal(pond.stat('refreshes'), 1)
    })

    test('bytes are old, too', async t => {
      const pond = await openPond(t)
      await putOld(pond, 'k', Buffer.from([0, 255]))
      assert.deepEqual(await pond.fetchEntry('k', () => Buffer.from([1])), { state: 'value', value: Buffer.from([0, 255]), stale: true })
      await until(() => pond.stat('fills') === 2)
      assert.deepEqual(await pond.fetch('k', never), Buffer.from([1]))
    })

    test('the loader runs in the asynchronous context of its caller', async t => {
      const pond = await openPond(t)
      const context = new AsyncLocalStorage()
      await putOld(pond, 'k', 'old')
      const seen = []
      assert.equal(await context.run('mine', () => pond.fetch('k', () => { seen.push(context.getStore()); return 'new' })), 'old')
      await until(() => seen.length === 1)
      assert.deepEqual(seen, ['mine'])
    })

    test('a loader that fails behind the answer is counted, and rejects nothing', async t => {
      const pond = await openPond(t)
      const rejected = []
      const listener = reason => rejected.push(reason)
      process.on('unhandledRejection', listener)
      t.after(() => process.off('unhandledRejection', listener))
      await putOld(pond, 'k', 'old')
      assert.equal(await pond.fetch('k', async () => { throw new Error('the store is away') }), 'old')
      await until(() => pond.stat('failed_refreshes') === 1)
      assert.equal(await pond.fetch('k', never), 'old')
      await sleep(20)
      assert.deepEqual(rejected, [])
    })

    test('with staleIfError alone the caller waits for the load, and falls back', async t => {
      const pond = await openPond(t, { grace: 0 })
      await putOld(pond, 'k', 'old')
      const failing = async () => { throw new Error('the store is away') }
      await assert.rejects(pond.fetch('k', { allowStale: false }, failing), /the store is away/)
      assert.deepEqual(await pond.fetchEntry('k', failing), { state: 'value', value: 'old', stale: true })
      await pond.invalidate('k')
      await assert.rejects(pond.fetch('k', failing), /the store is away/)
    })

    test('what is given up is loaded by the next', async t => {
      const pond = await openPond(t)
      await putOld(pond, 'k', 'old')
      const controller = new AbortController()
      const first = pond.fetch('k', { signal: controller.signal }, never)
      controller.abort(new Error('away'))
      await assert.rejects(first, /away/)
      await sleep(20)
      let loaded = false
      for (let i = 0; !loaded && i < 100; i++) {
        assert.equal(await pond.fetch('k', () => { loaded = true; return 'new' }), 'old')
        await sleep(10)
      }
      assert.ok(loaded)
    })

    test('a pond is closed while a loader runs behind', async t => {
      const pond = await openPond(t)
      await putOld(pond, 'k', 'old')
      assert.equal(await pond.fetch('k', () => sleep(300, 'late')), 'old')
      await sleep(20)
      await pond.close()
      await sleep(400) // its answer goes nowhere
    })
  })
}
