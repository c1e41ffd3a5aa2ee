// The usual way from Redis to MongoDB: a job a document, an updateOne a job. bullmq_client.mjs PORT URI DATABASE DOCUMENTS
// Reads `run CONCURRENCY COUNT` lines. So many jobs wait already when the clock starts; it stops when the last has been completed.
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { Queue, Worker } from 'bullmq'
import { MongoClient } from 'mongodb'

const [port, uri, database, file] = process.argv.slice(2)
const films = readFileSync(file, 'utf8').trimEnd().split('\n').map(line => ({ ...JSON.parse(line), id: undefined }))
const answer = message => process.stdout.write(JSON.stringify(message) + '\n')
const connection = { host: '127.0.0.1', port: Number(port), maxRetriesPerRequest: null }
const client = await new MongoClient(uri, { ignoreUndefined: true, writeConcern: { w: 'majority' } }).connect()
const docs = client.db(database).collection('jobs')
const { version } = JSON.parse(readFileSync(new URL('./node_modules/bullmq/package.json', import.meta.url)))
let runs = 0

async function run (concurrency, count) {
  const name = `films${++runs}`
  const queue = new Queue(name, { connection, defaultJobOptions: { removeOnComplete: true } })
  await queue.addBulk(Array.from({ length: count }, (_, i) => ({ name: 'put', data: { id: `${runs}.${i}`, film: films[i % films.length] } })))
  const start = performance.now()
  const used = process.cpuUsage()
  let left = count
  let worker
  await new Promise((resolve, reject) => {
    worker = new Worker(name, async ({ data }) => { await docs.updateOne({ _id: data.id }, { $set: data.film }, { upsert: true }) }, { connection, concurrency })
    worker.on('completed', () => { if (--left === 0) resolve() })
    worker.on('failed', (job, error) => reject(error))
  })
  const seconds = (performance.now() - start) / 1000
  const { user, system } = process.cpuUsage(used)
  await worker.close()
  await queue.obliterate({ force: true })
  await queue.close()
  return { ops: count, seconds, cpu: (user + system) / 1e6 }
}

answer({ ready: true, version })
for await (const line of createInterface({ input: process.stdin })) {
  const words = line.split(' ')
  if (words[0] !== 'run') break
  answer(await run(Number(words[1]), Number(words[2])))
}
await client.close()
