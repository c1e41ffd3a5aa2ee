// Tags and writes: what a write touches is out of reach when it has ended, and while it runs nothing is cached.
import assert from 'node:assert/strict'
import { after, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { CacheError, ClosedError, InvalidKey, InvalidValue, MisuseError, OptionError, TimeoutError, open } from 'millpond'
import { command, redisFor } from './redis.mjs'

const redis = await redisFor(after)
const never = () => assert.fail('this must not be called')

for (const [name, address] of [['memory', 'memory:writes'], ['redis', redis.url]]) {
  describe(name, () => {
    let names = 0
    const openPond = async (t, options) => {
      const pond = await open(address, { namespace: `writes-${name}-${++names}`, ...options })
      t.after(() => pond.close({ timeout: 0 }).catch(() => {}))
      return pond
    }

    test('a tag puts out of reach what has it, in one step', async t => {
      const pond = await openPond(t)
      let loads = 0
      const fetch = (key, tags) => pond.fetch(key, { tags }, () => ++loads)
      await Promise.all(Array.from({ length: 100 }, (_, i) => fetch(`user:${i}`, ['users', `user:${i}`])))
      assert.equal(loads, 100)
      await Promise.all(Array.from({ length: 100 }, (_, i) => fetch(`user:${i}`, [`user:${i}`, 'users', 'users'])))
      assert.equal(loads, 100, 'order and repetition say nothing')
      await pond.invalidate([], { tags: ['user:7'] })
      await Promise.all(Array.from({ length: 100 }, (_, i) => fetch(`user:${i}`, ['users', `user:${i}`])))
      assert.equal(loads, 101)
      await pond.invalidate([], { tags: ['users'] })
      assert.equal((await pond.lookup('user:1', { tags: ['users', 'user:1'] })).state, 'miss')
      await fetch('user:1', ['users', 'user:1'])
      assert.equal(loads, 102)
      assert.deepEqual(await pond.lookup('user:1', { tags: ['users', 'user:1'] }), { state: 'value', value: 102, stale: false })
    })

    test('more sets of tags than are kept', async t => {
      const pond = await openPond(t)
      for (let i = 0; i < 1200; i++) await pond.fetch(`k${i}`, { tags: [`t${i}`] }, () => i)
      assert.equal(await pond.fetch('k0', { tags: ['t0'] }, never), 0)
      assert.equal(await pond.fetch('k1199', { tags: ['t1199'] }, never), 1199)
    })

    test('cached functions have tags, fixed or of their arguments', async t => {
      const pond = await openPond(t)
      let calls = 0
      const fixed = pond.cached(id => `${id}:${++calls}`, { key: 'fixed:{0}', tags: ['all'] })
      const own = pond.cached(id => `${id}:${++calls}`, { key: 'own:{0}', tags: id => [`only-${id}`] })
      assert.deepEqual([await fixed(1), await fixed(1), await own(1), await own(2)], ['1:1', '1:1', '1:2', '2:3'])
      await pond.invalidate([], { tags: ['all', 'only-2'] })
      assert.deepEqual([await fixed(1), await own(1), await own(2)], ['1:4', '1:2', '2:5'])
      await fixed.invalidate(1)
      assert.deepEqual([await fixed(1), await own(1)], ['1:6', '1:2'])
      assert.throws(() => pond.cached(never, { key: 'k', tags: 'all' }), OptionError)
    })

    test('a write: readers meanwhile ask the store, and afterwards nobody sees the old value', async t => {
      const pond = await openPond(t)
      let row = 'old'
      const read = () => pond.fetch('row', { tags: ['rows'] }, () => row)
      const readPage = () => pond.fetch('page', { tags: ['rows'] }, () => `page of ${row}`)
      assert.deepEqual([await read(), await readPage()], ['old', 'page of old'])
      const answer = await pond.write(['row'], { tags: ['rows'] }, async () => {
        assert.equal(await read(), 'old')
        assert.equal(await readPage(), 'page of old')
        await sleep(5)
        row = 'new'
        return 'written'
      })
      assert.equal(answer, 'written')
      assert.deepEqual([await read(), await readPage()], ['new', 'page of new'])
    })

    test('what the writer says of a value is cached, if it wrote alone', async t => {
      const pond = await openPond(t)
      const encode = value => ({ wrapped: value })
      await pond.write('one', writing => writing.set('one', { n: 1 }))
      assert.deepEqual(await pond.fetch('one', never), { n: 1 })
      await pond.write(['one', 'two'], { encode }, writing => { writing.set('two', 2) })
      assert.deepEqual(await pond.lookup('two'), { state: 'value', value: { wrapped: 2 }, stale: false })
      assert.equal((await pond.lookup('one')).state, 'miss', 'nothing was said of it')
      await pond.write('one', writing => writing.set('one', null))
      assert.equal((await pond.lookup('one')).state, 'absent')
      let both = 0
      const meet = async () => { both++; while (both < 2) await sleep(1) }
      await Promise.all([1, 2].map(n => pond.write('contested', async writing => { await meet(); writing.set('contested', n) })))
      assert.equal((await pond.lookup('contested')).state, 'miss')
    })

    test('the writer\'s error is passed on as it is', async t => {
      const pond = await openPond(t, { intent: '5m' })
      const mine = Object.assign(new Error('duplicate'), { code: 11000 })
      const fails = () => { throw mine }
      const read = () => pond.fetch('k', () => 'row').then(() => pond.lookup('k')).then(({ state }) => state)
      await assert.rejects(pond.write('k', { notWritten: error => error.code === 11000 }, fails), error => error === mine)
      assert.equal(await read(), 'value')
      await assert.rejects(pond.write('k', async () => fails()), error => error === mine)
      assert.equal(await read(), 'miss', 'it may be written yet: the intent stands')
      await assert.rejects(pond.write('other', { notWritten: () => { throw new Error('no') } }, fails), error => error === mine)
    })

    test('what is wrong is said before anything is written', async t => {
      const pond = await openPond(t)
      await assert.rejects(pond.write([], never), MisuseError)
      await assert.rejects(pond.write('k'), MisuseError)
      await assert.rejects(pond.write(['k', ''], never), InvalidKey)
      await assert.rejects(pond.write('k'.repeat(513), never), InvalidKey)
      await assert.rejects(pond.write('k', { notWritten: 1 }, never), OptionError)
      await assert.rejects(pond.write('k', { tags: 'users' }, never), OptionError)
      await assert.rejects(pond.write('k', { tags: [1] }, never), InvalidKey)
      await assert.rejects(pond.write('k', { tags: ['a\0b'] }, never), InvalidKey)
      await assert.rejects(pond.write('k', { tags: Array.from({ length: 17 }, (_, i) => `t${i}`) }, never), OptionError)
      await assert.rejects(pond.fetch('k', { tags: [''] }, never), InvalidKey)
      await assert.rejects(pond.write('k', { ttk: 1 }, never), OptionError)
      await assert.rejects(pond.write('k', writing => writing.set('another', 1)), InvalidKey)
      await assert.rejects(pond.write('k', writing => writing.set('k', new Map())), InvalidValue)
      let kept
      await pond.write('k', writing => { kept = writing })
      assert.throws(() => kept.set('k', 1), MisuseError)
    })

    test('a close ends a write that does not end, and a closed pond takes none', async t => {
      const pond = await openPond(t)
      let finish
      const writing = pond.write('k', () => new Promise(resolve => { finish = resolve }))
      const caught = assert.rejects(writing, ClosedError)
      while (finish === undefined) await sleep(1)
      await assert.rejects(pond.close({ timeout: 50 }), TimeoutError)
      finish()
      await caught
      await assert.rejects(pond.write('k', never), ClosedError)
    })
  })
}

test('redis: strict writes fail before the store is touched, lenient ones are caught up on', async t => {
  const dead = await open('redis://127.0.0.1:1/0', { namespace: 'writes-dead' })
  t.after(() => dead.close({ timeout: 0 }).catch(() => {}))
  await assert.rejects(dead.write('k', never), error => error instanceof CacheError && error.retriable)
  assert.equal(await dead.write('k', { whenCacheDownWrite: 'lenient' }, () => 'written'), 'written')
})

test('redis: no command of an invalidation scans', async t => {
  const pond = await open(redis.url, { namespace: 'writes-scan' })
  t.after(() => pond.close())
  for (let i = 0; i < 50; i++) await pond.fetch(`k${i}`, { tags: ['all'] }, () => i)
  const commands = async () => (await command(redis.port, 'INFO', 'commandstats')).toString()
  await command(redis.port, 'CONFIG', 'RESETSTAT')
  await pond.write([], { tags: ['all'] }, () => {})
  assert.doesNotMatch(await commands(), /cmdstat_(keys|scan)/)
  assert.equal((await pond.lookup('k1', { tags: ['all'] })).state, 'miss')
})
