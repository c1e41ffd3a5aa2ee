// Collections: the shared vectors of queries, documents and pages through the cache, and what is refused.
import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import os from 'node:os'
import path from 'node:path'
import { after, describe, test } from 'node:test'
import { Absent, ClosedError, InvalidKey, InvalidQuery, InvalidValue, OptionError, open } from 'millpond'
import { redisFor } from './redis.mjs'

const require = createRequire(import.meta.url)
const { Core } = require('../lib/core.cjs')
const { View } = require('../lib/view.cjs')
const { fromStore } = require('../lib/documents.cjs')

const here = new URL('../../', import.meta.url)
const skip = existsSync(new URL('tests/spec/', here)) ? false : 'the shared cases are not in the package'
const read = name => skip ? '{"vectors":[],"collections":{"nasty":{"docs":[]}}}' : readFileSync(new URL(name, here), 'utf8')

const folder = mkdtempSync(path.join(os.tmpdir(), 'millpond-'))
const store = `sqlite:${folder}/films.db`
const redis = await redisFor(after)
after(() => rmSync(folder, { recursive: true }))

let names = 0
/** A pond of a test's own, over the one file. */
async function pondFor (t, cache = 'memory:', options = {}) {
  const pond = await open(cache, { store, namespace: `n${++names}`, ...options })
  t.after(() => pond.close())
  return pond
}

/** JSON whose integers that no double holds are BigInts. */
function parseExactly (text) {
  const marked = text.replaceAll(/"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*/g, part => /^-?\d{16,}$/.test(part) ? `{"an integer":"${part}"}` : part)
  return JSON.parse(marked, (_, value) => value?.['an integer'] === undefined ? value : BigInt(value['an integer']))
}

function writeExactly (value) {
  if (typeof value === 'bigint') return String(value)
  if (Array.isArray(value)) return `[${value.map(writeExactly)}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  return `{${Object.entries(value).map(([name, member]) => `${JSON.stringify(name)}:${writeExactly(member)}`)}}`
}

/** Writes documents as JSON texts, which may hold what no value of JavaScript is. */
async function fill (collection, documents, where = store) {
  const core = new Core(['cache', 'memory:', 'store', where, 'store_timeout', '1m']) // thousands of writes wait for each other
  const view = new View(core)
  try {
    await view.start((native, number) => native.create(collection, number))
    await Promise.all(documents.map(([id, text]) => view.start((native, number) => native.put(collection, id, text, number))))
  } finally {
    core.native.close()
  }
}

function refused (reason, says = '') {
  return error => {
    assert.ok(error instanceof InvalidQuery, error.stack)
    assert.equal(error.reason, reason, error.message)
    assert.equal(error.code, 'POND_EQUERY')
    assert.equal(error.retriable, false)
    assert.ok(error.message.includes(says), error.message)
    return true
  }
}

describe('canonical.json', { skip }, async () => {
  const { config, vectors } = parseExactly(read('tests/spec/canonical.json'))
  for (const [i, { in: query, canonical, sha256, error }] of vectors.entries()) {
    test(`${i}: ${writeExactly(query).slice(0, 80)}`, async t => {
      const pond = await pondFor(t)
      const things = pond.collection('things', {
        searchFields: config.search_fields, defaultLimit: config.default_limit, maxLimit: config.max_limit
      })
      await things.prepare()
      if (error !== undefined) return assert.rejects(things.explain(query), refused(error))
      const explained = await things.explain(query)
      assert.equal(explained.canonical, canonical)
      assert.equal(explained.key, sha256)
      assert.match(explained.total_key, /^[0-9a-f]{64}$/)
      assert.equal(explained.cached.state, 'miss')
    })
  }
})

/** The address of a database of our own, if there is a MongoDB to test with. */
function mongodb () {
  const address = process.env.MILLPOND_TEST_MONGODB // mongodb://host:port/?replicaSet=...
  return address?.replace('/?', `/millpond_node_${process.pid}?`)
}

for (const [name, where] of [['SQLite', store], ['MongoDB', mongodb()]]) {
  describe(`find.json on ${name}`, { skip: skip || (where ? false : 'MILLPOND_TEST_MONGODB is not set') }, () => findVectors(where))
}

async function findVectors (where) {
  if (skip || !where) return
  const { collections, vectors } = parseExactly(read('tests/spec/find.json'))
  const pond = await open('memory:', { store: where })
  after(() => pond.close())
  const films = skip ? [] : JSON.parse(read('examples/demo/data/movies.json'))
  await fill('films', films.map((film, i) => [String(i).padStart(4, '0'), JSON.stringify(film)]), where)
  await fill('nasty', collections.nasty.docs.map(({ id, ...doc }) => [id, writeExactly(doc)]), where)
  const found = { films: pond.collection('films'), nasty: pond.collection('nasty') }
  for (const [i, { collection, query, error, ids, data, ...expected }] of vectors.entries()) {
    test(`${i}: ${writeExactly(query).slice(0, 80)}`, async () => {
      if (error !== undefined) return assert.rejects(found[collection].find(query), refused(error))
      const page = await found[collection].find(query)
      assert.deepEqual(page.data.map(row => row.id), ids)
      for (const [name, value] of Object.entries(expected)) assert.equal(page[name], value, name)
      if (data !== undefined) assert.deepEqual(page.data, fromStore(writeExactly(data)))
      assert.deepEqual(await found[collection].find(query), page, 'the cached page')
    })
  }
}

describe('queries', async () => {
  await fill('shop', Array.from({ length: 60 }, (_, i) => [String(i).padStart(2, '0'),
    JSON.stringify({ n: i, kind: i % 3 ? 'shoe' : 'hat', zip: String(i), name: `Red ${i}`, made: { $date: { $numberLong: String(i * 1000) } } })]))

  test('the same question in every form', async t => {
    const pond = await pondFor(t)
    const shop = pond.collection('shop', { searchFields: 'name' })
    const bare = Object.assign(Object.create(null), { kind: 'shoe', 'n[gte]': '10', sort: '-n', limit: '5', page: '2' })
    const forms = ['kind=shoe&n[gte]=10&sort=-n&limit=5&page=2', '?page=2&limit=5&sort=-n&n%5Bgte%5D=10&kind=shoe',
      new URLSearchParams({ kind: 'shoe', 'n[gte]': 10, sort: '-n', limit: 5, page: 2 }),
      new URL('http://x/films?kind=shoe&n[gte]=10&sort=-n&limit=5&page=2').searchParams,
      { kind: 'shoe', n: { gte: '10' }, sort: '-n', limit: '5', page: '2' }, bare,
      { kind: ['shoe'], n: { gte: 10 }, sort: ['-n'], limit: 5, page: 2n, search: undefined, fields: undefined },
      { where: { kind: { eq: 'shoe' }, n: { gte: 10n } }, sort: '-n', limit: 5, page: 2 },
      new (class Wanted { kind = 'shoe'; n = { gte: 10 }; sort = '-n'; limit = 5; page = 2 })()]
    const { key } = await shop.explain(forms[0])
    for (const form of forms) {
      assert.equal((await shop.explain(form)).key, key)
      const page = await shop.find(form)
      assert.deepEqual(page.data.map(row => row.n), [52, 50, 49, 47, 46])
      assert.deepEqual({ ...page, data: 0 }, { data: 0, total: 34, page: 2, pages: 7, limit: 5 })
    }
    assert.deepEqual([pond.stat('loads'), pond.stat('hits')], [2, forms.length - 1], 'a page and its total')
    assert.equal((await shop.find()).total, 60)
    assert.deepEqual(await shop.find({}), await shop.find(''))
  })

  test('typed values', async t => {
    const pond = await pondFor(t)
    const shop = pond.collection('shop')
    const canonical = async query => JSON.parse((await shop.explain(query)).canonical.slice(2)).filter
    assert.deepEqual(await canonical({ a: true, b: null, c: 1.5, d: [1, 'x', false] }),
      { a: { eq: true }, b: { eq: null }, c: { eq: 1.5 }, d: { in: ['x', 1, false] } })
    assert.equal((await shop.explain({ a: 9007199254740993n })).canonical, 'q1{"filter":{"a":{"eq":9007199254740993}},"limit":20,"page":1,"sort":["id"]}')
    assert.deepEqual(await canonical({ at: { gte: new Date(5) } }), await canonical('at[gte]=1970-01-01T00:00:00.005Z'))
    const oid = { toJSON: Object.getPrototypeOf }
    assert.deepEqual(await canonical({ a: new (class Id { toJSON () { return '507f1f77bcf86cd799439011' } })() }), { a: { eq: '507f1f77bcf86cd799439011' } })
    await assert.rejects(shop.find({ a: oid }), refused('bad_value', 'a.toJSON'))
    const { data } = await shop.find({ made: { lt: new Date(3000) } })
    assert.deepEqual(data.map(row => row.made), [new Date(0), new Date(1000), new Date(2000)])
    assert.equal((await shop.find({ made: new Date(7000) })).data[0].n, 7)
    const inherited = Object.create({ kind: 'hat' }, { hidden: { value: 1 } })
    inherited.n = { lt: 3 }
    assert.deepEqual(await canonical(inherited), { n: { lt: 3 } })
  })

  test('what no query can hold names its path', async t => {
    const shop = (await pondFor(t)).collection('shop')
    for (const [query, reason, says] of [
      [{ a: new Map([[1, 2]]) }, 'bad_value', 'a: Map'], [{ a: { in: [1, () => 1] } }, 'bad_value', 'a.in[1]: a function'],
      [{ a: Symbol('x') }, 'bad_value', 'a: a symbol'], [{ 'b c': new Set() }, 'bad_value', '["b c"]: Set'],
      [{ a: { gte: NaN } }, 'bad_number', 'a.gte: NaN'], [{ a: [1, -Infinity] }, 'bad_number', 'a[1]: -Infinity'],
      [{ a: [1, undefined] }, 'bad_value', 'a[1]: undefined'], [{ a: new Date(NaN) }, 'bad_value', 'a: an invalid Date'],
      [{ a: new Date(8.64e15) }, 'bad_value', 'year 275760'], [{ a: Buffer.from('x') }, 'bad_value', 'a: Buffer'],
      [{ a: 'x\ud800' }, 'bad_encoding', 'a: text'], [{ ['\udc00']: 1 }, 'bad_encoding', 'surrogate'], ['a=\ud800', 'bad_encoding', 'surrogate'],
      [{ a: /x/ }, 'bad_value', 'a: RegExp'], [{ a: new Proxy(new Map(), {}) }, 'bad_value', 'a: Map'],
      [new Map([['a', 1]]), 'bad_value', 'the query: Map'], [new URL('http://x/?a=1'), 'bad_value', 'searchParams'], [new Headers(), 'bad_value', 'Headers'],
      [null, 'bad_value', 'null'], [7, 'bad_value', 'number'], [[['a', 1]], 'bad_value', ''], [() => ({}), 'bad_value', 'function'],
      [{ a: Promise.resolve(1) }, 'bad_value', 'a: Promise'], [{ a: new String('x') }, 'bad_value', 'a: boxed']
    ]) {
      await assert.rejects(shop.find(query), refused(reason, says))
      await assert.rejects(shop.explain(query), refused(reason, says))
    }
  })

  test('hostile queries are refused at once, before any store is asked, or mean what they say', async t => {
    const pond = await pondFor(t)
    const shop = pond.collection('shop', { filterable: ['n', 'name', 'made'], searchFields: ['name'], maxLimit: 100 })
    const deep = JSON.parse('{"n":'.repeat(1000) + '1' + '}'.repeat(1000))
    const lists = JSON.parse('{"n":' + '['.repeat(1000) + ']'.repeat(1000) + '}')
    const circle = { n: {} }
    circle.n.gte = circle
    const tree = { n: {} } // two branches at each of its levels
    tree.n.gte = tree.n.lte = tree
    const bomb = {}
    for (let i = 0; i < 10_000; i++) bomb[`n[${i}]`] = String(i)
    const hostile = [
      ['n[$where]=1', 'bad_operator'], ['n[regex]=.*', 'bad_operator'], [{ n: { $gt: '' } }, 'bad_operator'], ['$where=1', 'bad_field'],
      [{ $or: [{ n: 1 }] }, /bad_/], [{ 'n.$gt': 1 }, 'bad_field'], ['kind=x', 'bad_field'], ['_mpv=1', 'bad_field'], ['sort=_mpv', 'bad_field'],
      [Array.from({ length: 10_000 }, (_, i) => `n=${i}`).join('&'), 'too_long'], [bomb, /too_long|bad_/], [{ n: Array(1e6).fill(1) }, 'too_long'],
      [`n${'[n]'.repeat(1000)}=1`, /bad_operator|too_long/], [deep, 'bad_operator'], [lists, 'bad_value'], [circle, 'bad_operator'], [tree, 'bad_operator'],
      [`n[gte]=${'9'.repeat(400)}`, 'bad_number'], [{ n: { gte: 10n ** 400n } }, 'bad_number'], ['n[gte]=1e999', 'bad_number'],
      ['name=%ff%fe', 'bad_encoding'], ['name=%zz', 'bad_encoding'], ['name=%00', 'bad_encoding'], ['name=\0', 'bad_encoding'],
      ['limit=1000000000', 'bad_page'], [{ limit: 1e9 }, 'bad_page'], ['page=1000000000', 'bad_page'], ['page=-1', 'bad_page'], ['limit=0', 'bad_page'],
      ['limit=1&limit=2', 'duplicate'], ['n[gte]=1&n[gte]=2', 'duplicate'],
      [`name=${'x'.repeat(2000)}`, 'too_long'], ['x'.repeat(5e7), 'too_long'], [{ name: 'x'.repeat(5e7) }, 'too_long'], [{ ['x'.repeat(5e7)]: 1 }, 'too_long'],
      [`search=${'a '.repeat(100)}`, null], [`search=${Array.from({ length: 40 }, (_, i) => `t${i}`).join('+')}`, 'too_long'],
      ['search=.*%2B(a%2B)%2B$[^]\\', null], ["name=';DROP+TABLE+shop;--", null], ['name="', null], [{ name: "' OR 1=1 --" }, null], ['search=%25_', null]
    ]
    const loads = pond.stat('loads')
    for (const [query, reason] of hostile) {
      const began = process.cpuUsage()
      if (reason === null) {
        assert.equal((await shop.find(query)).total, 0)
        continue
      }
      await assert.rejects(shop.find(query), error => {
        const text = typeof query === 'string' ? query.slice(0, 60) : Object.keys(query)[0].slice(0, 60)
        assert.ok(error instanceof InvalidQuery, `${text}: ${error.stack}`)
        assert.match(error.reason, new RegExp(`^(?:${reason.source ?? `${reason}$`})`), `${text}: ${error.message}`)
        assert.ok(error.message.length < 400, error.message)
        return true
      })
      const { user, system } = process.cpuUsage(began)
      const took = (user + system) / 1000 // of work: the machine may be busy with something else
      assert.ok(took < 500, `${took} ms`)
    }
    assert.equal(pond.stat('loads') - loads, hostile.filter(([, reason]) => reason === null).length, 'the refused have loaded nothing')
    assert.equal((await shop.find('n[gte]=0')).total, 60, 'nothing was dropped')
    assert.deepEqual(await shop.find(JSON.parse('{"__proto__": {"gte": 1}}')).catch(error => error.reason), 'bad_field')
  })
})

describe('pages', () => {
  for (const cache of ['memory', 'redis']) {
    test(`one load however many ask: ${cache}`, async t => {
      const url = cache === 'redis' ? redis.url : 'memory:'
      const pond = await pondFor(t, url)
      const namespace = `n${names}`
      const name = `pages_${cache}`
      const rows = pond.collection(name)
      await pond.store(name).create()
      await pond.store(name).put('1', { n: 1 })
      const pages = await Promise.all(Array.from({ length: 500 }, (_, i) => rows.find(i % 2 ? 'n=1' : { n: 1 })))
      for (const page of pages) assert.deepEqual(page, { data: [{ id: '1', n: 1 }], total: 1, page: 1, pages: 1, limit: 20 })
      assert.equal(pond.stat('loads'), 1, 'a page that shows all that there is knows the total')
      pages[0].data[0].n = 2
      assert.equal(pages[2].data[0].n, 1, 'each has a page of its own')
      // another page of the same query shares the total
      await rows.find('n=1&page=2')
      assert.equal(pond.stat('loads'), 3)
      // cached: what was written past the cache is not seen
      await pond.store(name).put('2', { n: 1 })
      assert.equal((await rows.find('n=1')).total, 1)
      const { cached } = await rows.explain('n=1')
      assert.equal(cached.state, 'value')
      assert.ok(cached.ttl_ms > 500_000 && cached.ttl_ms <= 600_000, `${cached.ttl_ms}`)
      if (cache === 'redis') {
        const other = await open(url, { store, namespace })
        t.after(() => other.close())
        assert.equal((await other.collection(name).find('n=1')).total, 1)
        assert.equal(other.stat('loads'), 0, 'the other pond found it in the cache')
      }
    })
  }

  test('pages without a document are not cached, unless that is asked for', async t => {
    const pond = await pondFor(t)
    await pond.store('empty').create()
    for (const [cacheEmpty, total] of [[undefined, 1], [true, 0]]) {
      const rows = pond.collection('empty', { cacheEmpty, namespace: `e${cacheEmpty}`, findTtl: '1m' })
      assert.deepEqual(await rows.find('x=1'), { data: [], total: 0, page: 1, pages: 0, limit: 20 })
      assert.equal((await rows.explain('x=1')).cached.state, cacheEmpty ? 'value' : 'miss')
      await pond.store('empty').put('1', { x: 1 })
      assert.equal((await rows.find('x=1')).data.length, total)
      await pond.store('empty').delete('1')
    }
  })

  test('times, indexes, bounds', async t => {
    const pond = await pondFor(t)
    const rows = pond.collection('indexed', { indexes: ['rating', '-year'], searchTtl: '2h', findTtl: 5000, sortable: ['rating'], searchable: ['t'], filterable: [], defaultLimit: 3, maxLimit: '5' })
    await rows.prepare()
    await rows.prepare()
    await pond.store('indexed').put('1', { rating: 5, t: 'a' })
    const explained = await rows.explain('sort=rating')
    assert.ok(typeof explained.index === 'string' && explained.index.includes('rating'), explained.index)
    assert.match(explained.statement, /indexed/)
    assert.equal((await rows.find()).limit, 3)
    await rows.find('search=a')
    assert.ok((await rows.explain('search=a')).cached.ttl_ms > 3_600_000)
    assert.ok((await rows.explain('')).cached.ttl_ms <= 5000)
    for (const query of ['sort=year', 'rating=5', 'search=x&search_in=y']) await assert.rejects(rows.find(query), refused('bad_field'))
    await assert.rejects(rows.find('limit=6'), refused('bad_page'))
  })
})

describe('documents', () => {
  test('through the cache', async t => {
    const pond = await pondFor(t)
    const past = pond.store('users')
    const users = pond.collection('users', { ttl: '1m', negativeTtl: '30s' })
    await users.prepare()
    await past.put('1', { name: 'Ada' })
    assert.deepEqual(await users.get('1'), { id: '1', name: 'Ada' })
    assert.equal(await users.get('2'), null)
    await past.put('1', { name: 'Grace' })
    await past.put('2', { name: 'Joan' })
    assert.deepEqual(await users.getMany(['1', '2', '3', '1']), [{ id: '1', name: 'Ada' }, null, null, { id: '1', name: 'Ada' }])
    await users.invalidate('1')
    await users.invalidate(['2'])
    assert.deepEqual(await users.getMany(['1', '2', '3']), [{ id: '1', name: 'Grace' }, { id: '2', name: 'Joan' }, null])
    assert.deepEqual(await users.getMany([]), [])
    assert.equal(await users.get('3', { absent: 'null' }), null)
    await assert.rejects(users.get('3', { absent: 'raise' }), error => error instanceof Absent && error.message.includes('"3"'))
    await assert.rejects(pond.collection('users', { absent: 'raise' }).get('3'), Absent)
    const many = await Promise.all(Array.from({ length: 300 }, () => users.get('2')))
    assert.equal(new Set(many).size, 300)
    for (const id of [7, null, undefined, '', 'x\ud800']) {
      await assert.rejects(users.get(id), InvalidKey)
      await assert.rejects(users.getMany([id]), InvalidKey)
      await assert.rejects(users.invalidate(id), InvalidKey)
    }
    await assert.rejects(users.getMany('1'), InvalidKey)
    for (const options of [7, null, { ttl: '5m' }, { absent: 'no' }]) await assert.rejects(users.get('1', options), OptionError)
  })

  test('a namespace\'s options are its collections\'', async t => {
    const pond = await pondFor(t)
    await pond.store('places').create()
    const inner = pond.namespace('inner', { ttl: '2m', absent: 'raise' }).collection('places')
    await assert.rejects(inner.get('1'), Absent)
    assert.equal(pond.stat('loads'), 1)
    assert.equal((await inner.explain('')).namespace, 'inner/places?')
    assert.equal((await pond.namespace('inner').namespace('other').collection('places', { namespace: 'third' }).explain('')).namespace, 'third/places?')
  })

  test('dates', async t => {
    const pond = await pondFor(t)
    const past = pond.store('dates')
    const rows = pond.collection('dates')
    await rows.prepare()
    const document = {
      at: new Date(1577836800123), before: new Date(-1), list: [new Date(0), { in: new Date(8.64e15) }], own: { toJSON: () => ({ at: new Date(1) }) },
      direct: { toJSON: () => new Date(2) }, word: '"$date"'
    }
    const expected = { id: '1', ...document, own: { at: new Date(1) }, direct: new Date(2) }
    await past.put('1', document)
    assert.deepEqual(await past.get('1'), expected)
    assert.deepEqual(await rows.get('1'), expected)
    assert.deepEqual((await past.getMany(['1']))[0], expected)
    assert.deepEqual((await rows.find({ 'at[lte]': new Date(1577836800123) })).data, [expected])
    // what no Date can hold, and what is not quite the form, stays as it is
    const strange = {
      far: { $date: { $numberLong: '8640000000000001' } }, text: { $date: '2020-01-01T00:00:00Z' }, more: { $date: { $numberLong: '1' }, x: 1 },
      inner: { $date: { $numberLong: '1', x: 1 } }, number: { $date: { $numberLong: 1 } }, none: { $date: null }, oid: { $oid: '507f1f77bcf86cd799439011' },
      near: [{ $date: { $numberLong: '-8640000000000000' } }]
    }
    assert.deepEqual(fromStore(JSON.stringify(strange)), { ...strange, near: [new Date(-8.64e15)] })
    await assert.rejects(past.put('2', { a: [new Date(NaN)] }), error => error instanceof InvalidValue && error.message.includes('a[0]'))
    await assert.rejects(past.put('2', new Date()), InvalidValue)
    await assert.rejects(pond.fetch('k', () => ({ at: new Date(0) })), InvalidValue)
    const polluting = fromStore('{"a":{"$date":{"$numberLong":"1"}},"__proto__":{"b":{"$date":{"$numberLong":"1"}}}}')
    assert.equal(Object.getPrototypeOf(polluting), Object.prototype)
    assert.deepEqual(Object.keys(polluting), ['a', '__proto__'])
  })
})

test('MongoDB: what is plain here, and what stays Extended JSON', { skip: mongodb() ? false : 'MILLPOND_TEST_MONGODB is not set' }, async t => {
  const pond = await pondFor(t, 'memory:', { store: mongodb() })
  const past = pond.store('kinds')
  const rows = pond.collection('kinds', { indexes: ['at', '-n'] })
  await rows.prepare()
  const document = {
    n: 1, half: 0.5, text: 'ü', none: null, yes: true, list: [1, 'a', { at: new Date(3) }], at: new Date(1577836800000), own: { $oid: '507f1f77bcf86cd799439011' },
    price: { $numberDecimal: '0.10' }, far: { $date: { $numberLong: '9000000000000000' } }, bytes: { $binary: { base64: 'AAE=', subType: '00' } }
  }
  await past.put('507f1f77bcf86cd799439012', document)
  const expected = { id: '507f1f77bcf86cd799439012', ...document }
  assert.deepEqual(await past.get(expected.id), expected)
  assert.deepEqual(await rows.get(expected.id), expected)
  for (const query of [{ at: new Date(1577836800000) }, 'at=2020-01-01', { own: '507f1f77bcf86cd799439011' }, { 'list.at': { lt: new Date(4) } }, { id: expected.id }]) {
    assert.deepEqual((await rows.find(query)).data, [expected])
  }
  assert.ok((await rows.explain('at[gt]=2019-01-01&sort=at')).index)
  await assert.rejects(past.put('2', { own: { $oid: 'no' } }), InvalidValue)
  assert.equal(await past.delete(expected.id), true)
})

test('options', async t => {
  const pond = await pondFor(t)
  for (const [options, says] of [
    [{ filterabl: [] }, 'did you mean filterable'], [{ memoryMax: 1 }, 'memoryMax'], [{ encode: x => x }, 'encode'], [{ shouldCache: () => true }, 'shouldCache'],
    [{ maxLimit: 'x' }, 'maxLimit'], [{ maxLimit: 1.5 }, 'maxLimit'], [{ maxLimit: 0 }, 'maxLimit'], [{ defaultLimit: 200 }, 'defaultLimit'], [{ filterable: [1] }, 'filterable'],
    [{ filterable: 7 }, 'filterable'], [{ sortable: ['a,b'] }, 'sortable'], [{ searchable: ['$a'] }, 'searchable'], [{ searchFields: [''] }, 'searchFields'],
    [{ indexes: ['$x'] }, 'indexes'], [{ findTtl: 'soon' }, 'findTtl'], [{ cacheEmpty: 1 }, 'cacheEmpty'], [{ absent: 'no' }, 'absent'], [{ namespace: 'x/y' }, 'namespace'],
    [7, 'options'], [null, 'options']
  ]) {
    assert.throws(() => pond.collection('films', options), error => {
      assert.ok(error instanceof OptionError, error.stack)
      assert.ok(error.message.includes(says), error.message)
      return true
    })
  }
  for (const name of [7, undefined, 'a\0b', 'a/b', '', '\ud800']) assert.throws(() => pond.collection(name), OptionError)
  assert.throws(() => pond.namespace('n', { maxLimit: 5 }), { name: 'OptionError', message: /collection\(\)/ })
  await assert.rejects(open('memory:', { indexes: ['a'] }), { name: 'OptionError', message: /collection\(\)/ })
  await pond.store('none').create()
  for (const none of [[], '']) {
    const rows = pond.collection('none', { filterable: none, sortable: none, searchable: none, searchFields: none, indexes: none })
    for (const query of ['a=1', 'sort=a', 'search=x&search_in=a', 'search=x']) await assert.rejects(rows.find(query), refused('bad_field'))
    assert.equal((await rows.find('sort=-id')).total, 0)
  }
  assert.equal((await pond.collection('none', { filterable: null, maxLimit: undefined, indexes: '*' && null }).find('a=1')).total, 0)
})

test('ends: no store, a closed pond, collections that nobody holds', async () => {
  const bare = await open('memory:')
  assert.throws(() => bare.collection('films'), { name: 'OptionError', message: /store/ })
  await bare.close()
  const pond = await open('memory:', { store, namespace: 'ends' })
  const rows = pond.collection('ends')
  await rows.prepare()
  for (let i = 0; i < 2000; i++) pond.collection('ends', { ttl: i + 1 })
  const under = Promise.allSettled(Array.from({ length: 50 }, (_, i) => pond.collection('ends').find({ n: i })))
  globalThis.gc?.()
  assert.deepEqual(new Set((await under).map(({ status }) => status)), new Set(['fulfilled']))
  const last = Promise.all(Array.from({ length: 50 }, (_, i) => rows.find({ n: { gt: i } })))
  await pond.close()
  assert.equal((await last).length, 50, 'what was under way has ended well')
  await assert.rejects(rows.get('1'), ClosedError)
  await assert.rejects(rows.find({}), ClosedError)
  await assert.rejects(rows.explain({}), ClosedError)
  await assert.rejects(rows.prepare(), ClosedError)
  assert.throws(() => pond.collection('films'), ClosedError)
})
