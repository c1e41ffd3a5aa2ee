import assert from 'node:assert/strict'
import { test } from 'node:test'
import { InvalidKey, MisuseError, OptionError, open } from 'millpond'

async function aPond (t, options) {
  const pond = await open('memory:', { namespace: `cached-${Math.random().toString(36).slice(2)}`, ...options })
  t.after(() => pond.close())
  return pond
}

test('a cached function loads once, and can be told to forget', async t => {
  const pond = await aPond(t)
  let calls = 0
  const price = pond.cached(async function price (sku, currency = 'EUR') {
    calls++
    return { sku, currency, cents: 199 }
  }, { key: 'price:{sku}:{1}', ttl: '1m' })
  assert.deepEqual(await price('a', 'EUR'), { sku: 'a', currency: 'EUR', cents: 199 })
  assert.deepEqual(await price('a', 'EUR'), { sku: 'a', currency: 'EUR', cents: 199 })
  await price('b', 'EUR')
  assert.equal(calls, 2)
  assert.equal(price.key('a', 'EUR'), 'price:a:EUR')
  assert.equal((await pond.lookup('price:a:EUR')).state, 'value')
  await price.invalidate('a', 'EUR')
  assert.equal((await pond.lookup('price:a:EUR')).state, 'miss')
  assert.equal((await pond.lookup('price:b:EUR')).state, 'value')
  assert.deepEqual([price.name, price.length], ['price', 1])
})

test('keys: positions, names, members, braces, functions', async t => {
  const pond = await aPond(t)
  const key = (fn, pattern, ...args) => pond.cached(fn, { key: pattern }).key(...args)
  assert.equal(key((a, b) => 0, '{0}-{1}-{a}', 1, true), '1-true-1')
  assert.equal(key(a => 0, 'x{a}', 10n), 'x10')
  assert.equal(key(async a => 0, 'x{a}', 'y'), 'xy')
  assert.equal(key(async (a /* , b */, c = (1, [2, 3]), { d } = {}) => 0, '{a}.{c}.{2.d}', 1, 2, { d: 3 }), '1.2.3')
  assert.equal(key({ method (user) {} }.method, '{user.id}/{{user}}', { id: 7 }), '7/{user}')
  assert.equal(key((...args) => 0, '{0}{1}', 'a', 'b'), 'ab')
  assert.equal(key((a, ...rest) => 0, '{a}{1}', 'a', 'b'), 'ab')
  assert.equal(key(Math.max, '{0}', 5), '5')
  assert.equal(key((a, b) => 0, (a, b) => `${b}:${a}`, 1, 2), '2:1')
})

test('keys that cannot be made', async t => {
  const pond = await aPond(t)
  const refused = (pattern, says) => assert.throws(() => pond.cached(function f (sku, id) {}, { key: pattern }), error => {
    assert.ok(error instanceof OptionError && error.message.includes(says), error.message)
    return true
  })
  refused('price:{nope}', 'there are sku, id')
  refused('price:{sku', 'lone {')
  refused('price:sku}', 'lone }')
  refused(undefined, 'needs one')
  refused(5, '5')
  assert.throws(() => pond.cached(5, { key: 'x' }), MisuseError)
  assert.throws(() => pond.cached(() => 1), OptionError)
  assert.throws(() => pond.cached(() => 1, { key: 'x', tttl: 1 }), OptionError)
  const f = pond.cached((sku, user) => 1, { key: '{sku}:{user.id}' })
  for (const args of [[], [null, { id: 1 }], [{}, { id: 1 }], [[1], { id: 1 }], ['a'], ['a', { id: NaN }], ['a', { id: Symbol('s') }]]) {
    await assert.rejects(f(...args), InvalidKey)
    await assert.rejects(f.invalidate(...args), InvalidKey)
    assert.throws(() => f.key(...args), InvalidKey)
  }
  await assert.rejects(pond.cached(() => 1, { key: () => 5 })(), InvalidKey)
})

test('methods keep their this, in the key too', async t => {
  const pond = await aPond(t)
  class Shop {
    constructor (name) { this.name = name }
    async stock (sku) { return `${this.name} has ${sku}` }
  }
  Shop.prototype.stock = pond.cached(Shop.prototype.stock, { key: '{this.name}:{sku}' })
  const [north, south] = [new Shop('north'), new Shop('south')]
  assert.equal(await north.stock('nails'), 'north has nails')
  assert.equal(await south.stock('nails'), 'south has nails')
  assert.equal(north.stock.key.call(north, 'nails'), 'north:nails')
  await north.stock.invalidate.call(north, 'nails')
  assert.equal((await pond.lookup('north:nails')).state, 'miss')
  assert.equal((await pond.lookup('south:nails')).state, 'value')
  assert.throws(() => north.stock.key('nails'), InvalidKey, 'a key with this in it needs one')
})

test('options: functions, absence, namespaces', async t => {
  const pond = await aPond(t)
  const day = pond.namespace('cached-days').cached(n => n < 0 ? null : new Date(n), {
    key: 'day:{n}', absent: 'raise', encode: date => date.getTime(), decode: ms => new Date(ms), shouldCache: date => date.getTime() > 0
  })
  assert.deepEqual(await day(5), new Date(5))
  assert.deepEqual(await day(5), new Date(5))
  await assert.rejects(day(-1), { name: 'Absent' })
  assert.deepEqual(await day(0), new Date(0))
  assert.equal((await pond.lookup('day:0', { namespace: 'cached-days' })).state, 'miss')
  await day.invalidate(5)
  assert.equal((await pond.lookup('day:5', { namespace: 'cached-days' })).state, 'miss')
})

test('what the function throws reaches the caller', async t => {
  const pond = await aPond(t)
  const error = new Error('mine')
  await assert.rejects(pond.cached(() => { throw error }, { key: 'k' })(), thrown => thrown === error)
})
