// AbortSignal: who goes away stops waiting, and nobody else is hurt.
import assert from 'node:assert/strict'
import { setMaxListeners } from 'node:events'
import { after, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { open, OptionError } from 'millpond'
import { redisFor } from './redis.mjs'

const redis = await redisFor(after)
const never = () => assert.fail('this loader must not be called')

for (const [name, address] of [['memory', 'memory:abort'], ['redis', redis.url]]) {
  describe(name, () => {
    let names = 0
    const openPond = async t => {
      const pond = await open(address, { namespace: `abort-${++names}` })
      t.after(() => pond.close({ timeout: 0 }).catch(() => {}))
      return pond
    }

    test('a signal that is aborted already starts nothing', async t => {
      const pond = await openPond(t)
      await assert.rejects(pond.fetch('k', { signal: AbortSignal.abort() }, never), { name: 'AbortError' })
      await assert.rejects(pond.fetch('k', { signal: AbortSignal.abort(new Error('mine')) }, never), { message: 'mine' })
      assert.equal((await pond.lookup('k')).state, 'miss')
    })

    test('the loader of an aborted fetch goes on, and its value is cached', async t => {
      const pond = await openPond(t)
      const aborter = new AbortController()
      let finish
      const fetching = pond.fetch('k', { ttl: '1m', signal: aborter.signal }, () => new Promise(resolve => { finish = resolve }))
      while (finish === undefined) await sleep(1)
      aborter.abort()
      await assert.rejects(fetching, { name: 'AbortError' })
      const other = pond.fetch('k', never)
      finish('late')
      // Redis: who joined during the load shares it, because its fill is accepted
      assert.equal(await other, 'late')
      assert.equal(pond.stat('loads'), 1)
    })

    test('who waits for another stops waiting, the others go on', async t => {
      const pond = await openPond(t)
      let finish
      const first = pond.fetch('k', () => new Promise(resolve => { finish = resolve }))
      const waiting = Array.from({ length: 50 }, (_, i) => {
        const aborter = new AbortController()
        return { aborter, answer: pond.fetch('k', { signal: aborter.signal }, never), aborted: i % 2 === 0 }
      })
      while (finish === undefined) await sleep(1)
      for (const { aborter, aborted } of waiting) if (aborted) aborter.abort()
      finish(1)
      const answers = await Promise.allSettled(waiting.map(({ answer }) => answer))
      assert.deepEqual(answers.map(({ status }) => status === 'rejected'), waiting.map(({ aborted }) => aborted))
      assert.ok(answers.every(({ value, reason }) => value === 1 || reason.name === 'AbortError'))
      assert.equal(await first, 1)
    })

    test('who is asked to load when it is gone already passes the load on', async t => {
      const pond = await openPond(t)
      const aborter = new AbortController()
      const gone = pond.fetch('k', { signal: aborter.signal }, never)
      const stays = pond.fetch('k', () => 'loaded')
      aborter.abort()
      await assert.rejects(gone, { name: 'AbortError' })
      assert.equal(await stays, 'loaded')
    })

    test('200 fetches aborted in mid-load leave nothing behind', async t => {
      const pond = await openPond(t)
      const aborter = new AbortController()
      setMaxListeners(200, aborter.signal)
      let running = 0
      let finish
      const finished = new Promise(resolve => { finish = resolve })
      const load = () => { running++; return finished }
      const all = Promise.allSettled(Array.from({ length: 200 }, (_, i) => pond.fetch(`k${i}`, { signal: aborter.signal }, load)))
      while (running < 200) await sleep(5)
      aborter.abort()
      assert.ok((await all).every(({ reason }) => reason?.name === 'AbortError'))
      finish('value')
      await pond.close() // waits for the loads, and finds nothing that it must end
    })
  })
}

test('a signal hears nothing more once its fetch has ended', async t => {
  const pond = await open('memory:abort-heard')
  t.after(() => pond.close())
  const { signal } = new AbortController()
  let listening = 0
  const counted = {
    get aborted () { return signal.aborted },
    throwIfAborted () { signal.throwIfAborted() },
    addEventListener (...args) { listening++; signal.addEventListener(...args) },
    removeEventListener (...args) { listening--; signal.removeEventListener(...args) }
  }
  for (let i = 0; i < 100; i++) await pond.fetch('k', { signal: counted }, () => i)
  await assert.rejects(pond.fetch('fails', { signal: counted }, () => { throw new Error('no') }), { message: 'no' })
  assert.equal(listening, 0)
})

test('anything else is no signal, and only fetch takes one', async t => {
  const pond = await open('memory:abort-types')
  t.after(() => pond.close())
  for (const signal of [1, 'abort', {}, () => {}]) {
    await assert.rejects(pond.fetch('k', { signal }, never), error => error instanceof OptionError && /^signal: .* is not an AbortSignal$/.test(error.message))
  }
  const { signal } = new AbortController()
  await assert.rejects(open('memory:', { signal }), OptionError)
  assert.throws(() => pond.namespace('n', { signal }), OptionError)
  assert.throws(() => pond.cached(() => 1, { key: 'k', signal }), OptionError)
})
