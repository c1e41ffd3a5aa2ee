// What is odd and possible in JavaScript: getters that call back, proxies, objects that change while they are read, whatever is thrown.
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { after, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { InvalidValue, open } from 'millpond'

const folder = mkdtempSync(path.join(os.tmpdir(), 'millpond-'))
after(() => rmSync(folder, { recursive: true }))
let names = 0

/** A pond of a test's own, and its films 1 and 2. */
async function pondFor (t) {
  const name = `odd${++names}`
  const pond = await open(`memory:${name}`, { store: `sqlite:${folder}/${name}.db` })
  t.after(() => pond.close({ timeout: 0 }).catch(() => {}))
  await pond.collection('films').prepare()
  for (const id of ['1', '2']) await pond.store('films').put(id, { n: Number(id) })
  return pond
}

function soon (promise) {
  let timer
  const late = new Promise((resolve, reject) => { timer = setTimeout(() => reject(new Error('no answer came')), 5000) })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}

const calls = {
  find: (pond, films, { query }) => films.find(query),
  'explain of a query': (pond, films, { query }) => films.explain(query),
  getMany: (pond, films, { ids }) => films.getMany(ids),
  'invalidate of documents': (pond, films, { ids }) => films.invalidate(ids),
  'getMany of the store': (pond, films, { ids }) => pond.store('films').getMany(ids),
  invalidate: (pond, films, { ids }) => pond.invalidate(ids),
  fetchMany: (pond, films, { ids }) => pond.fetchMany(ids, keys => keys.map(() => 1)),
  write: (pond, films, { ids }) => pond.write(ids, () => 1),
  setMany: (pond, films, { member }) => pond.setMany({ get a () { return member() } }),
  create: (pond, films, { member }) => films.create({ id: '3', get n () { return member() } }),
  update: (pond, films, { member }) => films.update('1', { get n () { return member() } }),
  put: (pond, films, { member }) => pond.store('films').put('3', { get n () { return member() } })
}
for (const [name, call] of Object.entries(calls)) {
  for (const when of [1, 2, 3]) {
    test(`${name}: what is handed over calls the pond when it is read (${when})`, async t => {
      const pond = await pondFor(t)
      const films = pond.collection('films')
      const inner = []
      let reads = 0
      const member = () => {
        if (++reads === when) inner.push(films.get('2'))
        return 1
      }
      const ids = ['1', '2']
      Object.defineProperty(ids, 0, { get: () => String(member()) })
      await soon(call(pond, films, { ids, member, query: { get n () { return member() } } }))
      for (const one of inner) assert.deepEqual(await soon(one), { id: '2', n: 2 })
    })
  }
}

test('arrays behind a Proxy, as reactive state has them', async t => {
  const pond = await pondFor(t)
  const films = pond.collection('films')
  const ids = new Proxy(['1', '2'], {})
  assert.equal((await films.getMany(ids)).length, 2)
  assert.equal((await pond.store('films').getMany(ids)).length, 2)
  await films.invalidate(ids)
  await pond.invalidate(ids, { tags: new Proxy(['t'], {}) })
  assert.equal((await films.find({ n: { in: new Proxy([1, 2], {}) } })).total, 2)
})

const strange = {
  'an object whose then throws': () => ({ get then () { throw new TypeError('mine') } }),
  'a promise whose constructor throws': () => Object.defineProperty(Promise.resolve(1), 'constructor', { get () { throw new TypeError('mine') } }),
  'a revoked proxy': () => {
    const { proxy, revoke } = Proxy.revocable({}, {})
    revoke()
    return proxy
  }
}
for (const [name, make] of Object.entries(strange)) {
  test(`a loader gives ${name}: it has failed, and the next one runs`, async t => {
    const pond = await pondFor(t)
    for (const load of [() => pond.fetch('k', make), () => pond.fetchMany(['k'], make)]) {
      await assert.rejects(soon(load()), TypeError)
      assert.equal(await soon(pond.fetch('other', () => 1)), 1)
    }
    assert.equal(await soon(pond.fetch('k', () => 1)), 1)
  })
}

test('a value whose toJSON gives something else the second time', async t => {
  const pond = await pondFor(t)
  for (const later of [undefined, () => {}, Symbol('x')]) {
    const make = () => {
      let asked = 0
      return { toJSON: () => ++asked > 1 ? later : {} }
    }
    await assert.rejects(soon(pond.fetch('k', make)), InvalidValue)
    await assert.rejects(soon(pond.fetch('k', async () => make())), InvalidValue)
    await assert.rejects(soon(pond.fetchMany(['k'], async () => [make()])), InvalidValue)
    await assert.rejects(soon(pond.setMany({ k: make() })), InvalidValue)
    await assert.rejects(soon(pond.write('k', writing => writing.set('k', make()))), InvalidValue)
    await assert.rejects(soon(pond.collection('films').create(make())), InvalidValue)
  }
  assert.equal(await soon(pond.fetch('k', () => 1)), 1)
})

const thrown = [undefined, null, 0n, '', '\ud800', Symbol('x'), [], [-1, 'x'], Object.create(null), () => {},
  { get message () { throw new Error('not this one') } }, new Proxy({}, { get () { throw new Error('not this one') } })]
test('whatever is thrown is what comes', async t => {
  const pond = await pondFor(t)
  for (const error of thrown) {
    const fail = () => { throw error }
    const later = async () => { throw error }
    const films = pond.collection('films', { validate: later })
    for (const call of [() => pond.fetch('k', fail), () => pond.fetch('k', later), () => pond.fetchMany(['k'], later),
      () => pond.write('k', later), () => films.update('1', { n: 1 })]) {
      const outcome = await soon(call().then(() => assert.fail('it did not fail'), reason => ({ reason })))
      assert.ok(outcome.reason === error)
    }
  }
})

test('whatever an onChange throws, the change has been made', async t => {
  const pond = await pondFor(t)
  const warnings = []
  const warn = warning => warnings.push(warning.message)
  process.on('warning', warn)
  t.after(() => process.off('warning', warn))
  for (const error of thrown) {
    const films = pond.collection('films', { onChange () { throw error } })
    assert.deepEqual(await soon(films.update('1', { n: 3 })), { id: '1', n: 3 })
  }
  await sleep(1)
  assert.equal(warnings.length, thrown.length)
})
