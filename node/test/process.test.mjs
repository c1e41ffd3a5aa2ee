// Processes and Workers: they end when nothing is under way, and may be ended in the middle of anything.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { after, test } from 'node:test'
import { Worker } from 'node:worker_threads'
import { setTimeout as sleep } from 'node:timers/promises'
import { open } from 'millpond'
import { redisFor } from './redis.mjs'

const redis = await redisFor(after)
const caches = { memory: 'memory:process', redis: redis.url, 'a dead address': 'redis://127.0.0.1:1/0' }
const millpond = new URL('../lib/index.mjs', import.meta.url).href

/** Runs a module of this text; it has open, cache and sleep. */
function run (cache, text, ...flags) {
  const program = `
    import { open } from ${JSON.stringify(millpond)}
    import { setTimeout as sleep } from 'node:timers/promises'
    const cache = ${JSON.stringify(cache)}
    ${text}`
  return new Promise(resolve => {
    execFile(process.execPath, [...flags, '--input-type=module', '-e', program], { timeout: 20_000 }, (error, stdout, stderr) => {
      resolve({ code: error ? error.signal ?? error.code : 0, stdout, stderr })
    })
  })
}

for (const [name, cache] of Object.entries(caches)) {
  test(`${name}: a process ends when nothing is under way, though its ponds are open`, async () => {
    const started = performance.now()
    const { code, stdout, stderr } = await run(cache, `
      const ponds = await Promise.all([1, 2, 3].map(() => open(cache)))
      const answers = await Promise.all(ponds.map((pond, i) => pond.fetch('key' + i, async () => { await sleep(20); return i })))
      console.log(answers.join())`)
    assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: '0,1,2\n', stderr: '' })
    assert.ok(performance.now() - started < 10_000)
  })

  test(`${name}: what is under way keeps the process alive`, async () => {
    const { code, stdout } = await run(cache, `
      const pond = await open(cache, { namespace: 'alive' })
      pond.fetch('k' + Math.random(), () => new Promise(resolve => setTimeout(resolve, 100, 'late').unref())).then(console.log)
      setTimeout(() => {}, 150)`)
    assert.deepEqual({ code, stdout }, { code: 0, stdout: 'late\n' })
  })

  test(`${name}: process.exit in the middle of everything`, async () => {
    for (const when of ['process.exit(7)', 'setImmediate(() => process.exit(7))', 'await sleep(20); process.exit(7)',
      'await pond.fetch("hit", () => process.exit(7))', 'await pond.fetch("hit", () => 1); process.exit(7)']) {
      const { code, stderr } = await run(cache, `
        const pond = await open(cache, { store: 'sqlite:/dev/shm/millpond-exit-' + process.pid + '.db' })
        process.on('exit', () => { for (const rest of ['', '-wal', '-shm', '-pond']) { try { process.getBuiltinModule?.('fs').rmSync('/dev/shm/millpond-exit-' + process.pid + '.db' + rest, { force: true }) } catch {} } })
        const quiet = promise => { promise.catch(() => {}) }
        for (let i = 0; i < 50; i++) quiet(pond.fetch('never' + i, () => new Promise(() => {})))
        for (let i = 0; i < 50; i++) quiet(pond.fetch('fails' + i, async () => { await sleep(i); throw new Error('no') }))
        for (let i = 0; i < 50; i++) quiet(pond.store('films').get('x'))
        quiet(pond.invalidate(['a', 'b']))
        ${when}`)
      assert.deepEqual({ when, code, stderr }, { when, code: 7, stderr: '' })
    }
  })

  test(`${name}: an error that nobody catches ends the process as it always does`, async () => {
    const { code, stderr } = await run(cache, `
      const pond = await open(cache)
      pond.fetch('k' + Math.random(), async () => { throw new Error('nobody catches this') })`)
    assert.equal(code, 1)
    assert.match(stderr, /nobody catches this/)
  })

  test(`${name}: a Worker is terminated in the middle of everything`, async () => {
    const text = `
      import { parentPort } from 'node:worker_threads'
      import { open } from ${JSON.stringify(millpond)}
      const pond = await open(${JSON.stringify(cache)}, { namespace: 'workers' })
      const quiet = promise => promise.catch(() => {})
      for (let i = 0; i < 20; i++) quiet(pond.fetch('never' + i, () => new Promise(() => {})))
      for (let i = 0; i < 20; i++) quiet(pond.fetch('fails' + i, async () => { throw new Error('no') }))
      await pond.fetch('up', () => 1)
      parentPort.postMessage('up')
      for (;;) await Promise.all(Array.from({ length: 64 }, (_, i) => quiet(pond.fetch('hit' + i, () => i))))`
    for (let round = 0; round < 4; round++) {
      const workers = [1, 2, 3].map(() => new Worker(new URL(`data:text/javascript,${encodeURIComponent(text)}`)))
      await Promise.all(workers.map(worker => new Promise((resolve, reject) => {
        worker.once('message', resolve)
        worker.once('error', reject)
      })))
      await new Promise(resolve => setTimeout(resolve, round * 7))
      assert.deepEqual(await Promise.all(workers.map(worker => worker.terminate())), [1, 1, 1])
    }
  })
}

test('a Worker that ends by itself leaves nothing behind', async () => {
  const text = `
    import { open } from ${JSON.stringify(millpond)}
    const pond = await open('memory:process')
    await pond.fetch('k', () => 1)`
  const codes = await Promise.all(Array.from({ length: 4 }, () => new Promise((resolve, reject) => {
    new Worker(new URL(`data:text/javascript,${encodeURIComponent(text)}`)).once('exit', resolve).once('error', reject)
  })))
  assert.deepEqual(codes, [0, 0, 0, 0])
})

test('Workers of one process share a memory: cache and its loads', async () => {
  const text = `
    import { parentPort, workerData } from 'node:worker_threads'
    import { open } from ${JSON.stringify(millpond)}
    const pond = await open('memory:shared', { namespace: 'shared' })
    parentPort.postMessage('ready')
    parentPort.once('message', async () => {
      let loads = 0
      const load = async () => { loads++; await new Promise(resolve => setTimeout(resolve, 200)); return { from: workerData } }
      const answers = await Promise.all(Array.from({ length: 100 }, () => pond.fetch('cold', load)))
      const same = answers.every(answer => answer.from === answers[0].from)
      parentPort.postMessage({ loads, from: answers[0].from, same })
      await pond.close()
    })`
  const workers = Array.from({ length: 4 }, (_, workerData) => new Worker(new URL(`data:text/javascript,${encodeURIComponent(text)}`), { workerData }))
  const next = () => Promise.all(workers.map(worker => new Promise((resolve, reject) => {
    worker.once('message', resolve)
    worker.once('error', reject)
  })))
  await next()
  const reports = next()
  for (const worker of workers) worker.postMessage('go')
  const all = await reports
  assert.equal(all.reduce((sum, { loads }) => sum + loads, 0), 1)
  assert.equal(new Set(all.map(({ from }) => from)).size, 1)
  assert.ok(all.every(({ same }) => same))
})

test('ponds that nobody closed are collected', async () => {
  const { code, stdout, stderr } = await run('memory:', `
    import fs from 'node:fs'
    const open_ = () => fs.readdirSync('/proc/self/fd').length
    const before = open_()
    for (let i = 0; i < 200; i++) await (await open('memory:gc')).fetch('k' + i, { ttl: 1000 + i }, () => i)
    for (let i = 0; i < 20 && open_() > before + 40; i++) { gc(); await sleep(20) }
    console.log(open_() <= before + 40)`, '--expose-gc')
  assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: 'true\n', stderr: '' })
})

test('a process that publishes its statistics is seen by others, is gone when it closes, and ends by itself', async t => {
  const pond = await open(redis.url, { namespace: 'watching' })
  t.after(() => pond.close())
  const rows = async () => (await pond.processes()).filter(({ namespaces }) => namespaces.published)
  const { code, stdout, stderr } = await run(redis.url, `
    const pond = await open(cache, { namespace: 'published', publishStats: '50ms' })
    await pond.fetch('k' + Math.random(), () => 1)
    for (;;) {
      const row = (await pond.processes()).find(({ pid }) => pid === process.pid)
      if (row?.total.loads === 1) { console.log(row.namespaces.published.loads, row.every_ms); break }
      await sleep(10)
    }`)
  assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: '1 50\n', stderr: '' })
  const closed = await run(redis.url, `
    const pond = await open(cache, { namespace: 'published', publishStats: '10m' })
    await pond.fetch('k', () => 1)
    while (!(await pond.processes()).some(({ pid }) => pid === process.pid)) await sleep(10)
    await pond.close()`)
  assert.equal(closed.code, 0, closed.stderr)
  for (let i = 0; i < 100 && (await rows()).length > 0; i++) await sleep(20)
  assert.deepEqual(await rows(), [])
})
