// Collections that are written behind: what is accepted, read, and taken to the store, on SQLite and MongoDB.
import assert from 'node:assert/strict'
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { after, describe, test } from 'node:test'
import { setTimeout as rest } from 'node:timers/promises'
import { Absent, DuplicateError, InvalidKey, InvalidValue, MisuseError, OptionError, OverloadError, TimeoutError, open } from 'millpond'
import { redisFor } from './redis.mjs'

const folder = mkdtempSync(path.join(os.tmpdir(), 'millpond-'))
const redis = await redisFor(after)
after(() => rmSync(folder, { recursive: true }))
const mongodb = process.env.MILLPOND_TEST_MONGODB
let names = 0

/** Where what was accepted waits: the cache, and what else its pond is opened with. */
const places = {
  Redis: () => [redis.url, {}],
  'a journal': name => [`memory:${name}`, { journal: `${folder}/${name}.journal` }]
}
const stores = {
  SQLite: name => `sqlite:${folder}/${name}.db`,
  MongoDB: () => mongodb.replace('/?', `/millpond_behind_node_${process.pid}?`)
}
for (const [kind, store] of Object.entries(stores)) {
 for (const [where, place] of Object.entries(places)) {
  describe(`written behind, on ${kind}, by way of ${where}`, { skip: kind === 'SQLite' || mongodb ? false : 'MILLPOND_TEST_MONGODB is not set' }, () => {
    async function filmsFor (t, options = {}) {
      const name = `behind${++names}`
      const [cache, more] = place(name)
      const pond = await open(cache, { store: store(name), namespace: name, commandTimeout: '5s', ...more, ...options })
      t.after(() => pond.close())
      const films = pond.collection(`films${names}`, { write: 'behind' })
      await films.prepare()
      return { pond, films, table: pond.store(`films${names}`) }
    }

    test('what is accepted is read and stored', async t => {
      const { films, table } = await filmsFor(t)
      assert.deepEqual(await films.create({ id: '1', title: 'Heat' }), { id: '1', title: 'Heat' })
      await assert.rejects(films.create({ id: '1' }), DuplicateError)
      assert.deepEqual(await films.update('1', { cast: { lead: 'Pacino' } }), { id: '1', title: 'Heat', cast: { lead: 'Pacino' } })
      assert.deepEqual(await films.get('1'), { id: '1', title: 'Heat', cast: { lead: 'Pacino' } })
      await films.flush()
      assert.deepEqual(await table.get('1'), { id: '1', title: 'Heat', cast: { lead: 'Pacino' } })
      assert.equal((await films.find({ title: 'Heat' })).total, 1)
      assert.deepEqual(await films.replace('1', { title: 'Ronin' }), { id: '1', title: 'Ronin' })
      await films.delete('1')
      assert.equal(await films.get('1'), null)
      await assert.rejects(films.update('1', { a: 1 }), Absent)
      await films.flush({ timeout: '10s' })
      assert.equal(await table.get('1'), null)
    })

    test('many at once, and one all the time', async t => {
      const { pond, films, table } = await filmsFor(t)
      await Promise.all(Array.from({ length: 1000 }, (_, n) => films.replace(`${n % 400}`, { n })))
      await Promise.all(Array.from({ length: 40 }, (_, n) => films.update('0', { [`f${n}`]: n })))
      assert.equal(Object.keys(await films.get('0')).length, 42)
      await films.flush()
      assert.equal(Object.keys(await table.get('0')).length, 42)
      assert.ok([399, 799].includes((await table.get('399')).n)) // they were under way at once: either may be the later one
      assert.deepEqual(await table.get('399'), await films.get('399'))
      assert.ok(pond.stat('flushed') < 1040)
    })

    test('a close waits for what was accepted', async t => {
      const { pond, films } = await filmsFor(t)
      const name = `behind${names}`
      for (let n = 0; n < 50; n++) await films.replace(`${n}`, { n })
      await pond.close()
      const other = await open(redis.url, { store: store(name), namespace: name, worker: false })
      t.after(() => other.close())
      assert.deepEqual(await other.store(`films${names}`).get('49'), { id: '49', n: 49 })
    })
  })
 }
}

/** A statement of somebody else's: what the store has against a document. */
function sqlite (file, statement) {
  const program = 'import sqlite3, sys; db = sqlite3.connect(sys.argv[1], timeout=5); db.execute(sys.argv[2]); db.commit()'
  execFileSync('python3', ['-c', program, file, statement])
}

/** Somebody else's transaction, until the returned function is called. */
async function lock (file) {
  const program = 'import sqlite3, sys; db = sqlite3.connect(sys.argv[1], timeout=5); db.execute("BEGIN IMMEDIATE"); print("locked", flush=True); sys.stdin.read()'
  const holder = spawn('python3', ['-c', program, file], { stdio: ['pipe', 'pipe', 'inherit'] })
  await once(holder.stdout, 'data')
  return () => {
    holder.stdin.end()
    return once(holder, 'exit')
  }
}

test('a close keeps its time, though a worker waits for a store that is locked', async t => {
  const file = `${folder}/locked.db`
  const options = { store: `sqlite:${file}`, namespace: 'locked', storeTimeout: '4s' }
  const pond = await open(redis.url, options)
  const films = pond.collection('films', { write: 'behind' })
  await films.prepare()
  await films.replace('1', { n: 1 })
  await films.flush()
  const unlock = await lock(file)
  await films.replace('1', { n: 2 })
  await rest(300)
  const began = Date.now()
  let turns = 0
  const ticking = setInterval(() => turns++, 20)
  await assert.rejects(pond.close({ timeout: '400ms' }), TimeoutError)
  clearInterval(ticking)
  assert.ok(Date.now() - began < 2000)
  assert.ok(turns >= 5, `${turns}: the loop goes on meanwhile`)
  await unlock()
  const other = await open(redis.url, options)
  t.after(() => other.close())
  const since = Date.now()
  await other.collection('films', { write: 'behind' }).flush() // it need not wait until the first one's time as a worker is over
  assert.ok(Date.now() - since < 8000)
  assert.deepEqual(await other.store('films').get('1'), { id: '1', n: 2 })
})

for (const [where, place] of Object.entries(places)) test(`increments, by way of ${where}`, async t => {
  const name = `increments${++names}`
  const [cache, more] = place(name)
  const pond = await open(cache, { store: `sqlite:${folder}/${name}.db`, namespace: name, ...more })
  t.after(() => pond.close())
  const films = pond.collection('films', { write: 'behind' })
  await films.prepare()
  await films.create({ id: '1', title: 'Heat' })
  await Promise.all(Array.from({ length: 200 }, () => films.increment('1', 'views')))
  assert.equal(await films.increment('1', 'likes', -2), undefined)
  await films.increment('1', 'likes', -1n)
  assert.deepEqual(await films.get('1'), { id: '1', title: 'Heat', views: 200, likes: -3 })
  await films.flush()
  assert.deepEqual(await pond.store('films').get('1'), { id: '1', title: 'Heat', views: 200, likes: -3 })
  for (const [field, by] of [['a.b', 1], ['', 1], [7, 1], ['n', 1.5], ['n', '1'], ['n', 2 ** 53], ['n', 2n ** 53n], ['n', -(2n ** 80n)]]) {
    await assert.rejects(films.increment('1', field, by), InvalidValue)
  }
  await assert.rejects(films.increment(1, 'n'), InvalidKey)
  for (const options of ['10s', null, { timeOut: '10s' }]) await assert.rejects(films.flush(options), OptionError)
  await films.increment('none', 'n')
  await films.flush()
  assert.equal(await films.get('none'), null)
  await assert.rejects(films.increment('none', 'n'), Absent)
  assert.equal((await pond.stats()).total.dropped_increments, 1)
  const [{ at_ms: at, ...dropped }] = Object.values((await pond.stats()).behind)[0].last_dropped
  assert.deepEqual(dropped, { document_id: 'none', field: 'n', by: 1, why: 'no such document' })
  assert.ok(Math.abs(Date.now() - at) < 60_000)
  await assert.rejects(pond.collection('books').increment('1', 'n'), OptionError)
})

for (const [where, place] of Object.entries(places)) test(`dead letters, by way of ${where}`, async t => {
  const name = `dead${++names}`, file = `${folder}/${name}.db`
  const [cache, more] = place(name)
  const pond = await open(cache, { store: `sqlite:${file}`, namespace: name, ...more })
  t.after(() => pond.close())
  const films = pond.collection('films', { write: 'behind' })
  await films.prepare()
  const letters = films.deadLetters
  assert.deepEqual(await letters.list(), { letters: [], total: 0, next: null })
  sqlite(file, "CREATE TRIGGER picky BEFORE INSERT ON films WHEN new.id LIKE 'bad%' BEGIN SELECT RAISE(ABORT, 'we do not want it'); END")
  const before = Date.now()
  for (let n = 0; n < 3; n++) await films.replace(`bad${n}`, { n })
  await films.replace('good', { n: 1 })
  let found
  for (;;) {
    found = await letters.list({ limit: 2 })
    if (found.total === 3) break
    assert.ok(Date.now() - before < 20000)
    await rest(20)
  }
  const { letters: others, next } = await letters.list({ after: found.next })
  assert.equal(next, null)
  const all = []
  for await (const letter of letters) all.push(letter)
  assert.deepEqual(all, [...found.letters, ...others])
  assert.deepEqual(all.map(letter => letter.document).sort((a, b) => a.n - b.n), [0, 1, 2].map(n => ({ id: `bad${n}`, n })))
  const [first, second, third] = all
  assert.equal(first.state, 'document')
  assert.match(first.error, /we do not want it/)
  assert.ok(first.at instanceof Date && Math.abs(first.at - Date.now()) < 30000)
  assert.deepEqual(await letters.get(first.id), first)
  assert.equal(await films.get(first.documentId), null)
  await letters.drop(first.id)
  for (const method of ['drop', 'get', 'retry']) await assert.rejects(letters[method](first.id), Absent)
  sqlite(file, 'DROP TRIGGER picky')
  await letters.retry(second.id)
  assert.deepEqual(await films.get(second.documentId), second.document)
  await films.flush()
  assert.deepEqual(await pond.store('films').get(second.documentId), second.document)
  await films.replace(third.documentId, { n: 'newer' })
  await assert.rejects(letters.retry(third.id), DuplicateError)
  assert.equal((await letters.list()).total, 1)
  await assert.rejects(letters.get('7'), InvalidKey)
  await assert.rejects(letters.get(7), InvalidKey)
  await assert.rejects(letters.list({ limit: 0 }), MisuseError)
  await assert.rejects(letters.list({ limit: 1.5 }), OptionError)
  await assert.rejects(letters.list({ most: 1 }), OptionError)
  await assert.rejects(pond.collection('books').deadLetters.list(), MisuseError)
})

for (const [where, place] of Object.entries(places)) test(`a full backlog, by way of ${where}`, async t => {
  const name = `full${++names}`
  const [cache, more] = place(name)
  const pond = await open(cache, { store: `sqlite:${folder}/${name}.db`, namespace: name, worker: false, ...more })
  t.after(() => pond.close())
  const films = pond.collection('films', { write: 'behind', backlogMax: 16, backlogFull: 'fail' })
  await films.prepare()
  const outcomes = await Promise.allSettled(Array.from({ length: 100 }, (_, n) => films.replace(`${n}`, {})))
  const refused = outcomes.filter(({ reason }) => reason instanceof OverloadError)
  assert.equal(refused.length, 84)
  assert.match(refused[0].reason.message, /backlog_?max/i)
  await assert.rejects(films.flush({ timeout: 100 }), TimeoutError)
})

const accepts = `
import { open } from 'millpond'
const pond = await open('memory:', { store: 'sqlite:' + process.env.FILE, worker: false })
const films = pond.collection('films', { write: 'behind', ack: process.env.ACK })
await films.prepare()
for (let n = 0; n < 100; n++) {
  await films.replace(String(n), { n })
  await films.increment('all', 'n')
}
process.stdout.write('accepted\\n', () => process.kill(process.pid, 'SIGKILL'))
`
for (const ack of ['memory', 'fsync']) {
  test(`a journal survives its process, ${ack}`, async t => {
    const file = `${folder}/survives-${ack}.db`
    const before = await open('memory:survives', { store: `sqlite:${file}` })
    await before.store('films').create()
    await before.store('films').put('all', { n: 1 })
    await before.close()
    const done = spawnSync(process.execPath, ['--input-type=module', '-e', accepts], { cwd: new URL('.', import.meta.url), encoding: 'utf8', env: { ...process.env, FILE: file, ACK: ack }, timeout: 60000 })
    assert.deepEqual([done.stdout, done.signal], ['accepted\n', 'SIGKILL'], done.stderr)
    const pond = await open('memory:survives', { store: `sqlite:${file}` })
    t.after(() => pond.close())
    const films = pond.collection('films', { write: 'behind' })
    assert.deepEqual(await films.get('7'), { id: '7', n: 7 })
    assert.deepEqual(await films.get('all'), { id: 'all', n: 101 })
    await films.flush({ timeout: '20s' })
    assert.deepEqual(await pond.store('films').get('all'), { id: 'all', n: 101 })
  })
}

test('where it cannot be', async t => {
  const pond = await open('memory:', { store: 'sqlite::memory:' })
  t.after(() => pond.close())
  assert.throws(() => pond.collection('films', { write: 'behind' }), OptionError)
})
