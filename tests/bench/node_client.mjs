// A Node client of the benchmark. Reads `run CONCURRENCY SECONDS` lines, answers each with one JSON line.
//
//   node node_client.mjs millpond|ioredis|ioredis-auto PORT DOCUMENTS
//
// DOCUMENTS is a file with one JSON document a line. ioredis-auto is ioredis with enableAutoPipelining.
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { pathToFileURL } from 'node:url'
import { resolve } from 'node:path'

const [peer, port, file] = process.argv.slice(2)
const documents = readFileSync(file, 'utf8').trimEnd().split('\n')
const key = row => `film:${String(row).padStart(4, '0')}`
const answer = message => process.stdout.write(JSON.stringify(message) + '\n')
const BATCH = 16 // operations between two looks at the clock

function mustHit () {
  throw new Error('the benchmark measures hits, and this was a miss')
}

/* -> { version, get(key) -> promise of the decoded document, close() } */
async function getter () {
  if (peer === 'millpond') {
    const folder = process.env.MILLPOND_NODE ?? new URL('../../node', import.meta.url).pathname
    const millpond = await import(pathToFileURL(resolve(folder, 'lib/index.mjs')).href)
    const pond = await millpond.open(`redis://127.0.0.1:${port}/0`, { namespace: 'bench', ttl: '1h' })
    for (const [row, document] of documents.entries()) await pond.fetch(key(row), () => JSON.parse(document))
    return { version: millpond.version, get: name => pond.fetch(name, mustHit), close: () => pond.close() }
  }
  const { Redis } = await import('ioredis')
  const { version } = JSON.parse(readFileSync(new URL('./node_modules/ioredis/package.json', import.meta.url)))
  const client = new Redis({ port: Number(port), host: '127.0.0.1', db: 3, enableAutoPipelining: peer === 'ioredis-auto' })
  for (const [row, document] of documents.entries()) await client.set(key(row), document, 'EX', 3600)
  return { version, get: async name => JSON.parse(await client.get(name)), close: () => client.quit() }
}

async function round (get, concurrency, seconds) {
  const start = performance.now()
  const used = process.cpuUsage()
  const end = start + seconds * 1000
  async function reader (number) {
    let count = 0
    let document
    for (let row = number * 7 % documents.length; ; row = (row + 1) % documents.length) {
      document = await get(key(row))
      if (++count % BATCH === 0 && performance.now() >= end) break
    }
    if (!('title' in document)) throw new Error('not a film')
    return count
  }
  const counts = await Promise.all(Array.from({ length: concurrency }, (_, number) => reader(number)))
  const { user, system } = process.cpuUsage(used)
  return {
    ops: counts.reduce((sum, count) => sum + count, 0),
    seconds: (performance.now() - start) / 1000,
    cpu: (user + system) / 1e6
  }
}

const { version, get, close } = await getter()
answer({ ready: true, version })
for await (const line of createInterface({ input: process.stdin })) {
  const words = line.split(' ')
  if (words[0] !== 'run') break
  answer(await round(get, Number(words[1]), Number(words[2])))
}
await close()
