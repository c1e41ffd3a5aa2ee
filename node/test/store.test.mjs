import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { after, test } from 'node:test'
import { InvalidKey, InvalidValue, OptionError, open } from 'millpond'

const folder = mkdtempSync(path.join(os.tmpdir(), 'millpond-'))
const pond = await open('memory:', { store: `sqlite:${folder}/store.db`, namespace: 'store' })
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
