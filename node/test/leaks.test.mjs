// Ponds opened and closed a thousand times: descriptors, threads and memory are what they were.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { after, test } from 'node:test'
import { promisify } from 'node:util'
import { redisFor } from './redis.mjs'

const redis = await redisFor(after)
const millpond = new URL('../lib/index.mjs', import.meta.url).href
const CYCLES = 1000
const WARM_UP = 1000
const ROUNDS = 4 // a leak grows in each of them; what V8 and malloc keep for later does not

async function cycles (cache, store, inside) {
  const program = `
    import fs from 'node:fs'
    import { open } from ${JSON.stringify(millpond)}
    const count = folder => fs.readdirSync('/proc/self/' + folder).length
    const now = async () => { for (let i = 0; i < 5; i++) { gc(); await new Promise(resolve => setTimeout(resolve, 20)) } return { fds: count('fd'), threads: count('task'), rss: Math.round(process.memoryUsage.rss() / 1024) } }
    const options = ${JSON.stringify({ namespace: 'leaks', ...store })}
    const load = async () => 'value'
    async function cycle (i) {
      const pond = await open(${JSON.stringify(cache)}, options)
      ${inside}
      await pond.close()
    }
    for (let i = 0; i < ${WARM_UP}; i++) await cycle(i)
    const rounds = [await now()]
    for (let round = 0; round < ${ROUNDS}; round++) {
      for (let i = 0; i < ${CYCLES}; i++) await cycle(i)
      rounds.push(await now())
    }
    console.log(JSON.stringify(rounds))`
  const { stdout, stderr } = await promisify(execFile)(process.execPath, ['--expose-gc', '--input-type=module', '-e', program], { timeout: 240_000 })
  assert.equal(stderr, '')
  return JSON.parse(stdout)
}

for (const [name, cache, store, inside] of [
  ['memory', 'memory:leaks', {}, "await pond.fetch('k', load)"],
  ['redis', redis.url, {}, "await pond.fetch('k' + i, load)"],
  ['memory and sqlite', 'memory:leaks', { store: 'sqlite:/dev/shm/millpond-leaks.db' }, "await pond.store('films').create(); await pond.collection('films').get('x')"],
  ['redis, closed in mid-load', redis.url, {},
    "pond.fetch('never' + i, () => new Promise(() => {})).catch(() => {}); await pond.close({ timeout: 0 }).catch(() => {}); return"]
]) {
  test(`${name}: ${ROUNDS} x ${CYCLES} times open and close`, async t => {
    const rounds = await cycles(cache, store, inside)
    const [before] = rounds
    const then = rounds.at(-1)
    const grew = rounds.slice(1).map(({ rss }, i) => rss - rounds[i].rss)
    t.diagnostic(`${name}: fds ${before.fds} -> ${then.fds}, threads ${before.threads} -> ${then.threads}, RSS ${before.rss} KiB, and then ${grew.join(', ')}`)
    assert.ok(then.fds <= before.fds, `${before.fds} descriptors became ${then.fds}`)
    assert.ok(then.threads <= before.threads, `${before.threads} threads became ${then.threads}`)
    // A pond that stayed would be some ten KiB each time.
    assert.ok(Math.min(...grew) < 4 * CYCLES, `${grew.join(', ')} KiB more in each round of ${CYCLES}`)
  })
}
