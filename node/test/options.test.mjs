import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { OptionError, UrlError, open } from 'millpond'

const refused = (options, ...says) => assert.rejects(open('memory:', options), error => {
  assert.ok(error instanceof OptionError, error)
  for (const part of says) assert.ok(error.message.includes(part), `${error.message} lacks ${part}`)
  return true
})

describe('open', () => {
  test('an unknown option is named as it was written, with the nearest one', async () => {
    await refused({ tttl: '5m' }, '"tttl"', 'did you mean ttl?')
    await refused({ negative_ttl: '5m' }, '"negative_ttl"', 'negativeTtl')
    await refused({ negativeTTL: '5m' }, '"negativeTTL"', 'negativeTtl')
    await refused({ should_cache: () => true }, '"should_cache"', 'shouldCache')
    await refused({ color: 'red' }, '"color"')
  })

  test('a bad value is named as it was written', async () => {
    await refused({ negativeTtl: '10 parsecs' }, 'negativeTtl', '10 parsecs')
    await refused({ negativeTtl: -1 }, 'negativeTtl', '-1')
    await refused({ ttl: 0 }, 'ttl')
    await refused({ ttl: 1.5 }, 'ttl', '1.5', 'whole')
    await refused({ ttl: NaN }, 'ttl', 'NaN')
    await refused({ ttl: {} }, 'ttl', 'an object')
    await refused({ ttl: true }, 'ttl', 'true')
    await refused({ ttl: () => 5 }, 'ttl')
    await refused({ memoryMax: '1' }, 'memoryMax')
    await refused({ fence: 1 }, 'fence')
    await refused({ fence: 'maybe' }, 'fence', 'maybe')
    await refused({ whenCacheDown: 'panic' }, 'whenCacheDown', 'panic')
    await refused({ namespace: 'a:b' }, 'namespace', 'a:b')
    await refused({ namespace: 'a\0b' }, 'namespace', 'U+0000')
    await refused({ namespace: 'a\ud800' }, 'namespace')
    await refused({ namespace: 7 }, 'namespace')
    await refused({ absent: 'throw' }, 'absent', 'throw')
    await refused({ shouldCache: true }, 'shouldCache')
    await refused({ cache: 'memory:' }, 'first argument')
    await refused('memory:', 'options')
    await refused([], 'options')
    await refused(null, 'options')
  })

  test('numbers, texts and switches', async () => {
    const pond = await open('memory:options', { ttl: 60_000, negativeTtl: '30s', memoryMax: 2 ** 28, maxValue: '1MiB', fence: false, storeThreads: 2, lease: undefined, password: null })
    await pond.close()
    await (await open()).close()
  })

  test('a bad address', async () => {
    await assert.rejects(open('memcached://127.0.0.1'), error => error instanceof UrlError && error.message.includes('memcached'))
    await assert.rejects(open(''), OptionError)
    await assert.rejects(open(42), OptionError)
    await assert.rejects(open({ store: 'sqlite:x' }), OptionError)
    await assert.rejects(open('memory:\0x'), OptionError)
    await assert.rejects(open('redis://user:s3cr3t@127.0.0.1:70000/0'), error => error instanceof UrlError && !error.message.includes('s3cr3t'))
    await assert.rejects(open('memory:', { store: 'oracle://x' }), UrlError)
  })
})

describe('options of a call', () => {
  test('are checked like those of open', async t => {
    const pond = await open('memory:', { namespace: 'options-call' })
    t.after(() => pond.close())
    const no = () => assert.fail('the loader ran')
    await assert.rejects(pond.fetch('k', { ttl: '10 parsecs' }, no), { name: 'OptionError', message: /ttl.*10 parsecs/ })
    await assert.rejects(pond.fetch('k', { color: 'red' }, no), { name: 'OptionError', message: /color/ })
    await assert.rejects(pond.fetch('k', { memoryMax: '1GiB' }, no), { name: 'OptionError', message: /memoryMax is an option of open/ })
    await assert.rejects(pond.fetch('k', { namespace: 'a:b' }, no), { name: 'OptionError', message: /a:b/ })
    await assert.rejects(pond.lookup('k', { ttl: 'x' }), OptionError)
    await assert.rejects(pond.invalidate('k', { ttl: 'x' }), OptionError)
    assert.throws(() => pond.namespace('a:b'), OptionError)
    assert.throws(() => pond.namespace(), OptionError)
    assert.equal(pond.stat('misses'), 0)
  })

  test('the same options, in whatever object and order, make one policy; another value makes another', async t => {
    const pond = await open('memory:', { namespace: 'options-same' })
    t.after(() => pond.close())
    const state = async key => (await pond.lookup(key)).state
    const changing = { ttl: '1h', negativeTtl: 1 }
    await pond.fetch('a', changing, () => 1)
    changing.ttl = 1
    await pond.fetch('b', changing, () => 1)
    changing.negativeTtl = '1h'
    await pond.fetch('c', changing, () => null)
    await new Promise(resolve => setTimeout(resolve, 50))
    assert.deepEqual(await Promise.all(['a', 'b', 'c'].map(state)), ['value', 'miss', 'absent'])
  })

  test('options without end do not pile up', async t => {
    const pond = await open('memory:', { namespace: 'options-many' })
    t.after(() => pond.close())
    for (let i = 1; i <= 3000; i++) assert.equal(await pond.fetch(`k${i}`, { ttl: 1000 + i }, () => i), i)
    globalThis.gc?.()
    await new Promise(resolve => setTimeout(resolve, 10))
    assert.equal(await pond.fetch('k', { ttl: 1001 }, () => 1), 1)
  })

  test('a namespace has options of its own, and those of the call win', async t => {
    const pond = await open('memory:', { namespace: 'options-ns', absent: 'raise' })
    t.after(() => pond.close())
    const view = pond.namespace('options-view', { absent: 'null' }).namespace('options-view-2')
    assert.equal(await view.fetch('k', () => null), null)
    await assert.rejects(view.fetch('k', { absent: 'raise' }, () => null), { name: 'Absent' })
    await assert.rejects(pond.fetch('k', () => null), { name: 'Absent' })
    assert.equal((await pond.lookup('k', { namespace: 'options-view-2' })).state, 'absent')
    assert.equal((await pond.lookup('k', { namespace: 'options-view' })).state, 'miss')
  })
})
