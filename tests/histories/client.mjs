// A client of the histories, as client.py has it: client.mjs NAME=VALUE...
import { appendFileSync, openSync } from 'node:fs'
import { setTimeout as rest } from 'node:timers/promises'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'

const folder = process.env.MILLPOND_NODE ?? new URL('../../node', import.meta.url).pathname
const { open } = await import(pathToFileURL(resolve(folder, 'lib/index.mjs')).href)

const words = Object.fromEntries(process.argv.slice(2).map(word => [word.slice(0, word.indexOf('=')), word.slice(word.indexOf('=') + 1)]))
const camel = name => name.replace(/_(.)/g, (_, letter) => letter.toUpperCase())
const options = Object.fromEntries(Object.entries(words).filter(([name]) => name.startsWith('opt.')).map(([name, value]) => [camel(name.slice(4)), value]))
const changes = ['create', 'replace', 'replace', 'update', 'update', 'delete']
const PATHS = { through: changes, aside: changes, write: ['put', 'put', 'put', 'remove'] }
const KNOWN = { POND_EABSENT: 'absent', POND_EDUPLICATE: 'duplicate', POND_ECACHE: 'failed', POND_EOVERLOAD: 'failed' }
const PHASE_NS = 40_000_000n // every third of them is one of writes, for all clients at the same time

const log = openSync(words.log, 'a', 0o600)
const say = (...said) => appendFileSync(log, said.join(' ') + '\n')
const now = () => process.hrtime.bigint()
const chosen = list => list[Math.floor(Math.random() * list.length)]
let over = false
process.stdin.on('end', () => { over = true }).resume()

const pond = await open(words.cache, options)
const collections = { through: pond.collection('through', { write: 'through' }), aside: pond.collection('aside', { write: 'aside' }) }
const store = pond.store('write')

function call (path, op, id, number) {
  if (path !== 'write') {
    const films = collections[path]
    switch (op) {
      case 'get': return films.get(id)
      case 'create': return films.create({ id, v: number })
      case 'replace': return films.replace(id, { v: number })
      case 'update': return films.update(id, { w: number })
      case 'delete': return films.delete(id)
    }
  }
  if (op === 'get') {
    return pond.fetch(id, async () => {
      const found = await store.get(id)
      await rest(Math.random() * 3) // what is read grows old on its way into the cache
      return found
    })
  }
  const document = op === 'put' ? { v: number } : null
  return pond.write(id, writing => {
    if (number % 2 === 0) writing.set(id, document)
    return document === null ? store.delete(id) : store.put(id, document)
  })
}

function answerOf (op, given) {
  if (['put', 'delete', 'remove'].includes(op)) return 'done'
  return given == null ? 'absent' : `document ${given.v}` + (given.w === undefined ? '' : `/${given.w}`)
}

async function lane (number) {
  for (let seq = 1; !over; seq++) {
    const name = `${words.number}.${number}.${seq}`
    const [path, id] = chosen(words.keys.split(',')).split('/')
    const writes = now() / PHASE_NS % 3n === 0n ? 0.3 : 0.01
    const op = Math.random() < writes ? chosen(PATHS[path]) : 'get'
    const value = Number(words.number) * 1_000_000 + number * 100_000 + seq
    let answer
    say('S', name, now(), `${path}/${id}`, op, value)
    try {
      answer = answerOf(op, await call(path, op, id, value))
    } catch (error) {
      answer = `${KNOWN[error.code] ?? 'unknown'} ${error.code ?? error.name}`
    }
    say('E', name, now(), answer)
    await rest(Math.random() * 2)
  }
}

await Promise.all(Array.from({ length: Number(words.lanes) }, (_, number) => lane(number)))
say('C', pond.stat('hits'), pond.stat('loads'))
setTimeout(() => console.error('what a close waits for:', JSON.stringify(pond.stats())), 5000).unref()
await pond.close()
