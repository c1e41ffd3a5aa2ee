// Readers and a writer of a collection that do not stop whatever happens to its store; see films_crowd.py.
//
//     node films_crowd.mjs STORE TIMEOUT_MS
import { once } from 'node:events'
import { setTimeout as rest } from 'node:timers/promises'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'

const folder = process.env.MILLPOND_NODE ?? new URL('../../../node', import.meta.url).pathname
const { open, StoreError } = await import(pathToFileURL(resolve(folder, 'lib/index.mjs')).href)
const [STORE, TIMEOUT] = [process.argv[2], Number(process.argv[3])]
const IDS = [...'01234567']

const newest = Object.fromEntries(IDS.map(id => [id, 0]))
const done = {}
const failed = {}
const wrong = []
const late = []
let pages = 0
let over = false

const FAILED = Symbol('failed')
const now = () => process.hrtime.bigint()

async function told (what, limit, call) {
  const deadline = now() + BigInt(limit) * 1_000_000n
  let answer
  let error
  try {
    answer = await call()
    done[what] = (done[what] ?? 0) + 1
  } catch (raised) {
    error = raised
    answer = FAILED
    failed[what] = (failed[what] ?? 0) + 1
    if (!(error instanceof StoreError) || !error.retriable) wrong.push(`${what}: ${error}`)
  }
  const end = now()
  if (end > deadline) late.push([Number(deadline), Number(end), `${what}: ${error}`])
  await rest(1)
  return answer
}

function check (what, doc, before) {
  if (!doc || Object.keys(doc).join() !== 'id,n,twice' || doc.twice !== 2 * doc.n || doc.n < (before[doc.id] ?? 0)) {
    wrong.push(`${what}: ${JSON.stringify(doc)} after ${JSON.stringify(before)}`)
  }
}

function checkPage (what, page, before) {
  if (page.data.map(doc => doc.id).join() !== IDS.slice(0, 5).join() || page.total !== 8 || page.page !== 1 || page.pages !== 2) {
    wrong.push(`${what}: ${JSON.stringify(page)}`)
  }
  for (const doc of page.data) check(what, doc, before)
}

const query = k => `n[gte]=${-1 - k}&sort=id&limit=5`

async function writes (films, store) {
  for (let n = 1; !over; n++) {
    const id = IDS[n % 8]
    await atLast('put', TIMEOUT, () => store.put(id, { n, twice: 2 * n }))
    await told('invalidate', TIMEOUT, () => films.invalidate(id))
    newest[id] = n
  }
}

async function gets (films) {
  for (let n = 0; !over; n++) {
    const before = { ...newest }
    const doc = await told('get', 2 * TIMEOUT, () => films.get(IDS[n % 8]))
    if (doc !== FAILED) check('get', doc, before)
  }
}

async function getManys (films) {
  while (!over) {
    const before = { ...newest }
    const docs = await told('get_many', 2 * TIMEOUT, () => films.getMany([...IDS, 'none']))
    if (docs === FAILED) continue
    for (const doc of docs.slice(0, 8)) check('get_many', doc, before)
    if (docs[8] !== null) wrong.push(`get_many: ${JSON.stringify(docs[8])}`)
  }
}

async function finds (films) {
  while (!over) {
    const before = { ...newest }
    const page = await told('find', 2 * TIMEOUT, () => films.find(query(pages)))
    if (page === FAILED) continue
    checkPage('find', page, before)
    const again = await told('find again', 2 * TIMEOUT, () => films.find(query(pages)))
    if (again !== FAILED) checkPage('find again', again, {})
    pages++
  }
}

async function atLast (what, limit, call) {
  for (;;) {
    const answer = await told(what, limit, call)
    if (answer !== FAILED) return answer
  }
}

async function left (films, store) {
  for (const id of IDS) {
    const found = JSON.stringify(await atLast('get', 2 * TIMEOUT, () => films.get(id)))
    const kept = JSON.stringify(await atLast('store get', TIMEOUT, () => store.get(id)))
    if (found !== kept) wrong.push(`left in the cache: ${found}, and in the store: ${kept}`)
  }
  for (let k = 0; k < pages; k++) checkPage('left in the cache', await atLast('find', 2 * TIMEOUT, () => films.find(query(k))), {})
}

const pond = await open('memory:', { store: STORE, storeTimeout: TIMEOUT, waitTimeout: 3 * TIMEOUT, loadTimeout: '2m', storeThreads: 16 })
const films = pond.collection('films')
const store = pond.store('films')
for (const id of IDS) {
  for (const end = Date.now() + 60_000;;) {
    try {
      await store.put(id, { n: 0, twice: 0 })
      await films.find('limit=5')
      break
    } catch (error) {
      if (Date.now() > end) throw error
    }
  }
}
const crowd = [writes, gets, getManys, finds].map(role => role(films, store))
console.log('{"ready": true}')
await once(process.stdin, 'data')
process.stdin.destroy()
over = true
await Promise.all(crowd)
await left(films, store)
console.log(JSON.stringify({ done, failed, wrong: wrong.slice(0, 20), late, pages, hits: await pond.stat('hits') }))
await pond.close()
