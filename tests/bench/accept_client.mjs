// Puts from Node, as accept_client.py has them: accept_client.mjs millpond|ioredis PORT FOLDER DOCUMENTS
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'

const [peer, port, place, file] = process.argv.slice(2)
const films = readFileSync(file, 'utf8').trimEnd().split('\n').map(line => ({ ...JSON.parse(line), id: undefined }))
const answer = message => process.stdout.write(JSON.stringify(message) + '\n')
const id = number => String(number).padStart(8, '0')
const BATCH = 16 // puts between two looks at the clock
let number = 0

async function ours () {
  const folder = process.env.MILLPOND_NODE ?? new URL('../../node', import.meta.url).pathname
  const millpond = await import(pathToFileURL(resolve(folder, 'lib/index.mjs')).href)
  const pond = await millpond.open(`redis://127.0.0.1:${port}/0`, { namespace: 'accept-node', store: `sqlite:${place}/accept-node.db`, worker: 'off', commandTimeout: '30s' })
  const docs = pond.collection('films', { write: 'behind', backlogMax: 100_000_000 })
  await docs.prepare()
  async function lane (end) {
    let count = 0
    for (; performance.now() < end; count += BATCH) {
      for (let i = 0; i < BATCH; i++) await docs.replace(id(number), films[number++ % films.length])
    }
    return count
  }
  const puts = async (depth, end) => (await Promise.all(Array.from({ length: depth }, () => lane(end)))).reduce((sum, count) => sum + count, 0)
  return { version: millpond.version, puts, close: () => pond.close() }
}

async function theirs () {
  const { Redis } = await import('ioredis')
  const { version } = JSON.parse(readFileSync(new URL('./node_modules/ioredis/package.json', import.meta.url)))
  const client = new Redis({ port: Number(port), host: '127.0.0.1', db: 2 })
  async function puts (depth, end) {
    let count = 0
    for (; performance.now() < end; count += depth) {
      const pipeline = client.pipeline()
      for (let i = 0; i < depth; i++) {
        pipeline.set(`film:${id(number)}`, JSON.stringify(films[number % films.length]))
        pipeline.xadd('films', '*', 'k', id(number++))
      }
      await pipeline.exec()
    }
    return count
  }
  return { version, puts, close: () => client.quit() }
}

const { version, puts, close } = await (peer === 'millpond' ? ours() : theirs())
answer({ ready: true, version })
for await (const line of createInterface({ input: process.stdin })) {
  const words = line.split(' ')
  if (words[0] !== 'run') break
  const start = performance.now()
  const used = process.cpuUsage()
  const ops = await puts(Number(words[1]), start + Number(words[2]) * 1000)
  const { user, system } = process.cpuUsage(used)
  answer({ ops, seconds: (performance.now() - start) / 1000, cpu: (user + system) / 1e6 })
}
await close()
