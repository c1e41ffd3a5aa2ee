// Collections that are written behind: what is accepted, read, and taken to the store, on SQLite and MongoDB.
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { after, describe, test } from 'node:test'
import { Absent, DuplicateError, OptionError, OverloadError, TimeoutError, open } from 'millpond'
import { redisFor } from './redis.mjs'

const folder = mkdtempSync(path.join(os.tmpdir(), 'millpond-'))
const redis = await redisFor(after)
after(() => rmSync(folder, { recursive: true }))
const mongodb = process.env.MILLPOND_TEST_MONGODB
let names = 0

for (const [kind, store] of [['SQLite', name => `sqlite:${folder}/${name}.db`], ['MongoDB', () => mongodb.replace('/?', `/millpond_behind_node_${process.pid}?`)]]) {
  describe(`written behind, on ${kind}`, { skip: kind === 'SQLite' || mongodb ? false : 'MILLPOND_TEST_MONGODB is not set' }, () => {
    async function filmsFor (t, options = {}, more = {}) {
      const name = `behind${++names}`
      const pond = await open(redis.url, { store: store(name), namespace: name, commandTimeout: '5s', ...options })
      t.after(() => pond.close())
      const films = pond.collection(`films${names}`, { write: 'behind', ...more })
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

test('a full backlog', async t => {
  const pond = await open(redis.url, { store: `sqlite:${folder}/full.db`, namespace: 'full', worker: false })
  t.after(() => pond.close())
  const films = pond.collection('films', { write: 'behind', backlogMax: 16, backlogFull: 'fail' })
  await films.prepare()
  const outcomes = await Promise.allSettled(Array.from({ length: 100 }, (_, n) => films.replace(`${n}`, {})))
  const refused = outcomes.filter(({ reason }) => reason instanceof OverloadError)
  assert.equal(refused.length, 84)
  assert.match(refused[0].reason.message, /backlog_?max/i)
  await assert.rejects(films.flush({ timeout: 100 }), TimeoutError)
})

test('where it cannot be', async t => {
  const pond = await open('memory:', { store: `sqlite:${folder}/memory.db` })
  t.after(() => pond.close())
  assert.throws(() => pond.collection('films', { write: 'behind' }), OptionError)
})
