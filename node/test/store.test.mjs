import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { after, test } from 'node:test'
import { InvalidKey, InvalidValue, OptionError, open } from 'millpond'

const folder = mkdtempSync(path.join(os.tmpdir(), 'millpond-'))
const pond = await open('memory:', { store: `sqlite:${folder}/store.db`, namespace: 'store', storeTimeout: '1m' })
after(async () => {
  await pond.close()
  rmSync(folder, { recursive: true })
})

test('documents by id', async () => {
  const films = pond.store('films')
  await films.create()
  await films.create()
  assert.equal(await films.get('0001'), null)
  await films.put('0001', { title: 'The Land Girls', imdb_rating: 6.1, gone: undefined })
  await films.put('0002', { id: '0002', title: 'Grüße 🐸', none: null })
  assert.deepEqual(await films.get('0001'), { id: '0001', title: 'The Land Girls', imdb_rating: 6.1 })
  assert.deepEqual(await films.getMany(['0002', 'none', '0001', '0002']), [
    { id: '0002', title: 'Grüße 🐸', none: null }, null, { id: '0001', title: 'The Land Girls', imdb_rating: 6.1 },
    { id: '0002', title: 'Grüße 🐸', none: null }])
  assert.deepEqual(await films.getMany([]), [])
  await films.put('0001', { title: 'Replaced' })
  assert.deepEqual(await films.get('0001'), { id: '0001', title: 'Replaced' })
  assert.equal(await films.delete('0001'), true)
  assert.equal(await films.delete('0001'), false)
})

/** What no Number holds comes as a BigInt and goes back as one; a Number of that size is a double, and stays one. */
async function exactIntegers (pond) {
  const rows = pond.store('integers')
  await rows.create()
  const document = {
    first: 9007199254740991,
    next: 9007199254740992n,
    below: -9007199254740993n,
    last: 9223372036854775807n,
    least: -9223372036854775808n,
    double: 1e17,
    huge: 1.5e300,
    half: 0.5,
    text: '9007199254740993, or "9007199254740993"',
    list: [1, 12345678901234567n, { deep: 76543210987654321n, '9007199254740993': 'name' }],
    when: new Date(0)
  }
  await rows.put('1', document)
  assert.deepStrictEqual(await rows.get('1'), { id: '1', ...document })
  await rows.put('2', { ...await rows.get('1'), id: '2' })
  assert.deepStrictEqual(await rows.getMany(['2', '1']), [{ id: '2', ...document }, { id: '1', ...document }])
  const films = pond.collection('integers')
  assert.deepStrictEqual(await films.get('1'), { id: '1', ...document })
  assert.deepStrictEqual(await films.get('1'), { id: '1', ...document }) // a hit
  assert.deepStrictEqual((await films.find({ last: 9223372036854775807n, fields: 'next,double', sort: 'id' })).data, [
    { id: '1', next: 9007199254740992n, double: 1e17 }, { id: '2', next: 9007199254740992n, double: 1e17 }])
  assert.equal((await films.find({ double: 1e17 })).total, 2)
  for (const value of [9007199254740992n, 12345n, 1e16, -1e21]) {
    await rows.put('3', { value })
    const { value: found } = await rows.get('3')
    assert.strictEqual(found, typeof value === 'bigint' && Number.isSafeInteger(Number(value)) ? Number(value) : value)
  }
  for (let digits = 14; digits < 40; digits++) { // wherever it stands in the text
    await rows.put('4', { pad: 'x'.repeat(digits), value: 10n ** 18n + BigInt(digits) })
    assert.strictEqual((await rows.get('4')).value, 10n ** 18n + BigInt(digits))
  }
}

test('integers that no Number holds', () => exactIntegers(pond))

test('integers that no Number holds, on MongoDB', async () => {
  const [host, options] = process.env.MILLPOND_TEST_MONGODB.split('/?')
  const other = await open('memory:', { store: `${host}/node_integers_${process.pid}?${options}`, namespace: 'integers' })
  try {
    await exactIntegers(other)
  } finally {
    await other.close()
  }
})

test('BigInts of a program that has taught them toJSON', async () => {
  BigInt.prototype.toJSON = function () { return String(this) } // eslint-disable-line no-extend-native
  try {
    const rows = pond.store('taught')
    await rows.create()
    await rows.put('1', { n: 9007199254740993n })
    assert.strictEqual((await rows.get('1')).n, 9007199254740993n)
  } finally {
    delete BigInt.prototype.toJSON
  }
})

test('many at once', async () => {
  const rows = pond.store('rows')
  await rows.create()
  await Promise.all(Array.from({ length: 300 }, (_, i) => rows.put(String(i), { i })))
  const found = await Promise.all(Array.from({ length: 300 }, (_, i) => rows.get(String(i))))
  assert.deepEqual(found.map(row => row.i), Array.from({ length: 300 }, (_, i) => i))
})

test('the cache in front of it', async () => {
  const users = pond.store('users')
  await users.create()
  await users.put('42', { name: 'Ada' })
  const load = () => users.get('42')
  assert.deepEqual(await pond.fetch('user:42', load), { id: '42', name: 'Ada' })
  await users.delete('42')
  assert.deepEqual(await pond.fetch('user:42', load), { id: '42', name: 'Ada' })
  await pond.invalidate('user:42')
  assert.equal(await pond.fetch('user:42', load), null)
})

test('bad input', async t => {
  const films = pond.store('films')
  await films.create()
  for (const id of [7, null, undefined, '', 'x\ud800']) {
    await assert.rejects(films.get(id), InvalidKey)
    await assert.rejects(films.put(id, {}), InvalidKey)
    await assert.rejects(films.delete(id), InvalidKey)
    await assert.rejects(films.getMany([id]), InvalidKey)
  }
  await assert.rejects(films.getMany('1'), InvalidKey)
  for (const document of [undefined, null, 5, 'text', [1], Buffer.alloc(1), new Date(), { at: new Date(NaN) }, { id: 'other' }]) {
    await assert.rejects(films.put('1', document), InvalidValue)
  }
  assert.equal(await films.get('1'), null)
  for (const name of [7, undefined, 'a\0b']) assert.throws(() => pond.store(name), OptionError)
  await assert.rejects(pond.store('a/b').create(), OptionError)
  const bare = await open('memory:')
  t.after(() => bare.close())
  await assert.rejects(bare.store('films').get('1'), { name: 'OptionError', message: /store/ })
})
