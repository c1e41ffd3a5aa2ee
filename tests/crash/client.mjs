// A client of the crash campaign, as client.py has it: client.mjs NAME=VALUE...
import { appendFileSync, openSync } from 'node:fs'
import { setTimeout as rest } from 'node:timers/promises'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'

const folder = process.env.MILLPOND_NODE ?? new URL('../../node', import.meta.url).pathname
const { open } = await import(pathToFileURL(resolve(folder, 'lib/index.mjs')).href)

const OPS = ['replace', 'replace', 'replace', 'update', 'create', 'delete']
const INCREMENTS = 0.2 // of all
const REFUSED = ['POND_EABSENT', 'POND_EDUPLICATE']

const words = Object.fromEntries(process.argv.slice(2).map(word => [word.slice(0, word.indexOf('=')), word.slice(word.indexOf('=') + 1)]))
const camel = name => name.replace(/_(.)/g, (_, letter) => letter.toUpperCase())
const options = Object.fromEntries(Object.entries(words).filter(([name]) => name.startsWith('opt.')).map(([name, value]) => [camel(name.slice(4)), value]))
const log = openSync(words.log, 'a', 0o600)
const say = (...said) => appendFileSync(log, said.join(' ') + '\n')
const now = () => process.hrtime.bigint()
const chosen = list => list[Math.floor(Math.random() * list.length)]
let over = false
const ended = new Promise(resolve => process.stdin.on('end', resolve).resume()).then(() => { over = true })

const pond = await open(words.cache, options)
const docs = pond.collection('docs', { write: 'behind' })
for (;;) {
  try {
    await docs.prepare()
    break
  } catch {
    await rest(100)
  }
}

function change (op, id, number) {
  switch (op) {
    case 'create': return docs.create({ id, v: number })
    case 'replace': return docs.replace(id, { v: number })
    case 'update': return docs.update(id, { v: number })
    case 'delete': return docs.delete(id)
    case 'increment': return docs.increment(id, 'n')
  }
}

async function lane (lane) {
  const name = `${words.number}.${lane}`
  const own = Array.from({ length: Number(words.own) }, (_, i) => `own.${name}.${i}`)
  const shared = Array.from({ length: Number(words.shared) }, (_, i) => `shared.${i}`)
  const counters = Array.from({ length: Number(words.counters) }, (_, i) => `counter.${i}`)
  for (let seq = 1; !over; seq++) {
    const number = Number(words.number) * 1_000_000 + lane * 100_000 + seq
    const counts = Math.random() < INCREMENTS
    const [id, op] = counts ? [chosen(counters), 'increment'] : [chosen(Math.random() < 0.6 ? own : shared), chosen(OPS)]
    let outcome = 'done'
    say('S', `${name}.${seq}`, now(), id, op, number)
    try {
      await change(op, id, number)
    } catch (error) {
      outcome = `${REFUSED.includes(error.code) ? 'refused' : 'unknown'} ${error.code ?? error.name}`
    }
    say('E', `${name}.${seq}`, now(), outcome)
    await rest(outcome === 'done' ? Math.random() * 4 : 20)
  }
}

say('R')
await Promise.all(Array.from({ length: Number(words.lanes) }, (_, number) => lane(number)))
await ended // without lanes it only works
say('X')
await pond.close({ timeout: '30s' })
