// The same in Node; see dying.py.
//
//     dying.mjs writer CACHE NAMESPACE STORE        dying.mjs node CACHE NAMESPACE STORE LOG CALLERS
import { once } from 'node:events'
import { appendFileSync, openSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { setTimeout as rest } from 'node:timers/promises'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'

const folder = process.env.MILLPOND_NODE ?? new URL('../../../node', import.meta.url).pathname
const { open } = await import(pathToFileURL(resolve(folder, 'lib/index.mjs')).href)
const [role, cache, namespace, store, logName, callers] = process.argv.slice(2)
const [KEY, LOAD_MS, INTENT] = ['k', 20, '1500ms']
const now = () => process.hrtime.bigint()

if (role === 'writer') {
  const pond = await open(cache, { namespace, intent: INTENT })
  await pond.write(KEY, async () => {
    console.log('{"began": true}')
    await once(process.stdin, 'data')
    writeFileSync(store + '.new', '2')
    renameSync(store + '.new', store)
    writeFileSync(1, `{"committed": ${now()}}\n`)
    process.kill(process.pid, 'SIGKILL')
    await rest(60_000)
  })
}

const log = openSync(logName, 'a', 0o600)
const say = what => appendFileSync(log, `${what} ${process.pid} ${now()}\n`)
const last = {}
const errors = []
let reads = 0
let over = false
process.stdin.on('end', () => { over = true }).resume()

async function load () {
  say('start')
  const value = Number(readFileSync(store, 'ascii'))
  await rest(LOAD_MS)
  say('end')
  return value
}

async function caller (pond) {
  while (!over) {
    const began = Number(now())
    try {
      const value = await pond.fetch(KEY, load)
      reads++
      last[value] = Math.max(last[value] ?? 0, began)
    } catch (error) {
      errors.push(String(error))
    }
    await rest(20)
  }
}

const pond = await open(cache, { namespace })
await Promise.all(Array.from({ length: Number(callers) }, () => caller(pond)))
await pond.close()
console.log(JSON.stringify({ reads, last, errors: errors.slice(0, 5) }))
