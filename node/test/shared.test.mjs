// Processes and Workers over one SQLite database: what one changes the others see.
import assert from 'node:assert/strict'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { after, test } from 'node:test'
import { Worker } from 'node:worker_threads'
import { open } from 'millpond'

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'millpond-shared-'))
after(() => fs.rmSync(folder, { recursive: true }))
const millpond = new URL('../lib/index.mjs', import.meta.url).href
const program = path.join(folder, 'other.mjs')
fs.writeFileSync(program, `
  import { open } from ${JSON.stringify(millpond)}
  import { parentPort, workerData } from 'node:worker_threads'
  const store = workerData ?? process.argv[2]
  const send = message => parentPort ? parentPort.postMessage(message) : process.send(message)
  const pond = await open('memory:', { store, namespace: 'shared' })
  const films = pond.collection('films')
  ;(parentPort ?? process).on('message', async ([what, value]) => {
    try {
      if (what === 'update') send((await films.update('1', { n: value })).n)
      else if (what === 'get') send((await films.get('1')).n)
      else if (what === 'fetch') send(await pond.fetch('k', () => value))
      else if (what === 'invalidate') { await pond.invalidate(['k']); send('ok') }
      else { await pond.close(); (parentPort ?? process).removeAllListeners('message'); send('closed'); parentPort?.close(); process.disconnect?.() }
    } catch (error) { send(String(error)) }
  })
  send('ready')`)

async function prepare (name) {
  const store = 'sqlite:' + path.join(folder, name + '.db')
  const pond = await open('memory:', { store, namespace: 'shared' })
  await pond.store('films').create()
  await pond.store('films').put('1', { n: 0 })
  return { store, pond, films: pond.collection('films') }
}

function started (kind, store) {
  const other = kind === 'worker' ? new Worker(program, { workerData: store }) : fork(program, [store])
  const ask = async order => {
    const answer = once(other, 'message')
    if (order) kind === 'worker' ? other.postMessage(order) : other.send(order)
    const [message] = await answer
    return message
  }
  return { other, ask }
}

for (const kind of ['process', 'worker']) {
  test(`${kind}: each sees what the other changes`, async () => {
    const { store, pond, films } = await prepare(kind)
    const { other, ask } = started(kind, store)
    assert.equal(await ask(), 'ready')
    for (let row = 1; row <= 40; row++) {
      if (row % 2) assert.equal((await films.update('1', { n: row })).n, row)
      else assert.equal(await ask(['update', row]), row)
      assert.equal(await ask(['get']), row)
      assert.equal((await films.get('1')).n, row)
      assert.equal((await films.find('n=' + row)).total, 1)
    }
    assert.equal(await pond.fetch('k', () => 'old'), 'old')
    assert.equal(await ask(['fetch', 'old']), 'old')
    await pond.invalidate(['k'])
    assert.equal(await ask(['fetch', 'new']), 'new')
    await ask(['invalidate'])
    assert.equal(await pond.fetch('k', () => 'newer'), 'newer')
    const ended = once(other, 'exit')
    assert.equal(await ask(['close']), 'closed')
    assert.equal((await ended)[0], 0)
    await pond.close()
    assert.deepEqual(fs.readdirSync(folder).filter(name => name.startsWith(kind)), [kind + '.db'])
  })
}
