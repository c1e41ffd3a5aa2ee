// create, replace, update and delete: the store and the cache, what is refused, validations, several writers.
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { after, describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { Absent, ClosedError, DuplicateError, InvalidKey, InvalidValue, OptionError, TimeoutError, ValidationError, open } from 'millpond'
import { redisFor } from './redis.mjs'

const folder = mkdtempSync(path.join(os.tmpdir(), 'millpond-'))
const redis = await redisFor(after)
after(() => rmSync(folder, { recursive: true }))

const HEAT = { title: 'Heat', year: 1995 }
let names = 0

for (const [kind, cache] of [['memory', () => 'memory:'], ['redis', () => redis.url]]) {
  describe(`changes on ${kind}`, () => {
    /** A pond over a file of its own, with one film in it. */
    async function pondFor (t, options = {}) {
      const name = `changes${++names}`
      const pond = await open(cache(), { store: `sqlite:${folder}/${name}.db`, namespace: name, ...options })
      t.after(() => pond.close().catch(() => {})) // one test closes it in the midst of something
      await pond.collection('films').prepare()
      await pond.store('films').put('1', HEAT)
      return pond
    }

    test('the store and the cache', async t => {
      const pond = await pondFor(t)
      const films = pond.collection('films')
      assert.equal((await films.get('1')).year, 1995)
      const loads = pond.stat('loads')
      assert.deepEqual(await films.replace('1', { title: 'Heat', year: 1996 }), { id: '1', title: 'Heat', year: 1996 })
      assert.deepEqual(await films.update('1', { year: null, cast: { lead: 'Pacino' } }), { id: '1', title: 'Heat', cast: { lead: 'Pacino' } })
      assert.deepEqual(await films.create({ id: '2', title: 'Ronin' }), { id: '2', title: 'Ronin' })
      assert.deepEqual(await films.get('1'), { id: '1', title: 'Heat', cast: { lead: 'Pacino' } })
      assert.deepEqual(await films.get('2'), { id: '2', title: 'Ronin' })
      assert.equal(await films.delete('2'), undefined)
      assert.equal(await films.get('2'), null)
      assert.equal(pond.stat('loads'), loads) // all of it was cached by the writes
      assert.deepEqual(await pond.store('films').get('1'), { id: '1', title: 'Heat', cast: { lead: 'Pacino' } })
      assert.equal(await pond.store('films').get('2'), null)
    })

    test('aside', async t => {
      const pond = await pondFor(t)
      const films = pond.collection('films', { write: 'aside' })
      await films.get('1')
      const loads = pond.stat('loads')
      await films.update('1', { year: 1996 })
      assert.equal((await films.get('1')).year, 1996)
      assert.equal(pond.stat('loads'), loads + 1)
      assert.throws(() => pond.collection('films', { write: 'sideways' }), OptionError)
    })

    test('every page goes', async t => {
      const films = (await pondFor(t)).collection('films')
      assert.equal((await films.find('sort=title')).total, 1)
      await films.create({ id: '2', title: 'Ronin' })
      assert.equal((await films.find('sort=title')).total, 2)
      await films.update('2', { title: 'Alien' })
      assert.equal((await films.find('sort=title')).data[0].title, 'Alien')
      await films.delete('2')
      assert.equal((await films.find('sort=title')).total, 1)
    })

    test('what is refused', async t => {
      const films = (await pondFor(t)).collection('films')
      for (const change of [() => films.replace('9', {}), () => films.update('9', {}), () => films.delete('9')]) {
        await assert.rejects(change(), error => error instanceof Absent && error.message.includes('films "9"'))
      }
      await assert.rejects(films.create({ id: '1' }), error => error instanceof DuplicateError && error.message.includes('films "1"'))
      await assert.rejects(films.replace('1', { id: '2' }), InvalidValue)
      await assert.rejects(films.create({ id: 7 }), InvalidValue)
      await assert.rejects(films.create(), InvalidValue)
      await assert.rejects(films.create(['no']), InvalidValue)
      await assert.rejects(films.update('1', { when: () => {} }), error => error instanceof InvalidValue && error.message.includes('when'))
      await assert.rejects(films.delete(''), InvalidKey)
      await assert.rejects(films.delete(7), InvalidKey)
      assert.deepEqual(await films.get('1'), { id: '1', ...HEAT })
    })

    test('ids are made', async t => {
      const films = (await pondFor(t)).collection('films')
      const made = await films.create({ title: 'Tenet' })
      assert.match(made.id, /^[0-9a-f]{24}$/)
      assert.ok(Math.abs(parseInt(made.id.slice(0, 8), 16) - Date.now() / 1000) < 100)
      assert.deepEqual(await films.get(made.id), made)
      assert.notEqual((await films.create({ title: 'Tenet' })).id, made.id)
    })

    for (const asynchronous of [false, true]) {
      test(`${asynchronous ? 'an async' : 'a'} validation sees the whole document`, async t => {
        const pond = await pondFor(t)
        const seen = []
        const judge = document => {
          seen.push(document)
          if (!('year' in document)) throw new RangeError('a year is missing')
          return document.year > 1900
        }
        const validate = asynchronous ? async document => { await delay(1); return judge(document) } : judge
        const films = pond.collection('films', { validate })
        await films.get('1')
        const page = await films.find()
        const loads = pond.stat('loads')
        await assert.rejects(films.update('1', { year: null }), RangeError)
        assert.deepEqual(seen, [{ id: '1', title: 'Heat' }])
        await assert.rejects(films.replace('1', { year: 1 }), ValidationError)
        await assert.rejects(films.create({ id: '2', year: 1 }), error => error instanceof ValidationError && error.message.includes(validate.name))
        assert.deepEqual(await films.get('1'), { id: '1', ...HEAT })
        assert.deepEqual(await films.find(), page)
        assert.equal(pond.stat('loads'), loads) // neither store nor cache was touched
        assert.equal(await pond.store('films').get('2'), null)
        assert.equal((await films.update('1', { year: 1996 })).year, 1996)
        assert.deepEqual(seen.at(-1), { id: '1', title: 'Heat', year: 1996 })
        const count = seen.length
        await films.delete('1') // nothing to be judged
        assert.equal(seen.length, count)
        assert.throws(() => pond.collection('films', { validate: 7 }), OptionError)
      })
    }

    test('onChange', async t => {
      const told = []
      const warnings = []
      const warn = warning => warnings.push(warning.message)
      process.on('warning', warn)
      t.after(() => process.off('warning', warn))
      const films = (await pondFor(t)).collection('films', {
        onChange: async event => {
          await delay(1)
          told.push(event)
          if (event.event === 'deleted') throw new Error('nobody is to be told')
        }
      })
      const made = await films.create({ id: '2', title: 'Ronin' })
      await films.update('2', { year: 1998 })
      await films.delete('2')
      await assert.rejects(films.delete('2'), Absent)
      assert.deepEqual(told, [
        { event: 'created', collection: 'films', id: '2', document: made },
        { event: 'updated', collection: 'films', id: '2', document: { ...made, year: 1998 } },
        { event: 'deleted', collection: 'films', id: '2', document: null }
      ])
      await delay(1)
      assert.ok(warnings.some(message => message.includes('nobody is to be told')))
    })

    test('an update that was overtaken is judged anew', async t => {
      const pond = await pondFor(t)
      const others = pond.collection('films')
      const seen = []
      const films = pond.collection('films', {
        async validate (document) {
          seen.push(document)
          if (seen.length === 1) await others.update('1', { other: true })
        }
      })
      const made = await films.update('1', { year: 1996 })
      assert.deepEqual(made, { id: '1', title: 'Heat', year: 1996, other: true })
      assert.deepEqual(seen, [{ id: '1', title: 'Heat', year: 1996 }, made])
      assert.deepEqual(await films.get('1'), made)
    })

    test('Dates and BigInts', async t => {
      const films = (await pondFor(t)).collection('films')
      const when = new Date('2020-01-02T03:04:05Z')
      const made = await films.create({ id: 'd', when, n: 2n ** 62n })
      assert.deepEqual(made, { id: 'd', when, n: 2n ** 62n })
      assert.deepEqual(await films.get('d'), made)
      await films.update('d', { n: 2n ** 53n + 1n })
      assert.equal((await films.get('d')).n, 2n ** 53n + 1n)
    })

    test('no update is lost', async t => {
      const pond = await pondFor(t)
      const films = pond.collection('films', { validate: () => {} })
      const plain = pond.collection('films')
      await films.replace('1', {})
      await Promise.all(Array.from({ length: 8 }, async (_, me) => {
        for (let i = 1; i <= 20; i++) await (me % 2 ? films : plain).update('1', { [`n${me}`]: i })
      }))
      const expected = Object.fromEntries([['id', '1'], ...Array.from({ length: 8 }, (_, me) => [`n${me}`, 20])])
      assert.deepEqual(await films.get('1'), expected)
      assert.deepEqual(await pond.store('films').get('1'), expected)
    })

    test('a pond that closes while a document is judged', async t => {
      const pond = await pondFor(t)
      let began
      const waiting = new Promise(resolve => { began = resolve })
      const films = pond.collection('films', { validate: () => { began(); return delay(100) } })
      const change = films.update('1', { year: 1 })
      await waiting
      const closing = assert.rejects(pond.close({ timeout: '10ms' }), TimeoutError)
      await assert.rejects(change, ClosedError)
      await closing
    })
  })
}

describe('changes on MongoDB', { skip: process.env.MILLPOND_TEST_MONGODB ? false : 'MILLPOND_TEST_MONGODB is not set' }, () => {
  test('the same', async t => {
    const pond = await open(redis.url, {
      store: process.env.MILLPOND_TEST_MONGODB.replace('/?', `/millpond_changes_${process.pid}?`), namespace: `changes${++names}`
    })
    t.after(() => pond.close())
    const films = pond.collection(`films${names}`)
    await films.prepare()
    const made = await films.create({ title: 'Heat', cast: ['Pacino'] })
    assert.match(made.id, /^[0-9a-f]{24}$/)
    assert.deepEqual((await films.find()).data, [made])
    await assert.rejects(films.create(made), DuplicateError)
    assert.deepEqual(await films.update(made.id, { cast: null, year: 1995 }), { id: made.id, title: 'Heat', year: 1995 })
    assert.deepEqual(await films.get(made.id), { id: made.id, title: 'Heat', year: 1995 })
    await films.delete(made.id)
    assert.equal(await films.get(made.id), null)
    await assert.rejects(films.update(made.id, {}), Absent)
  })
})
