// rediss://: who is believed and who is refused, OpenSSL beside Node's own, and passwords that nothing shows.
import assert from 'node:assert/strict'
import { execFile, execFileSync } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import path from 'node:path'
import { after, afterEach, test } from 'node:test'
import tls from 'node:tls'
import { fileURLToPath } from 'node:url'
import { inspect } from 'node:util'
import { Worker } from 'node:worker_threads'
import { CacheError, OptionError, UrlError, open } from 'millpond'
import { redisFor } from './redis.mjs'

const redis = await redisFor(after, { tls: true })
const tlsCa = redis.certificate('ca.pem')
const millpond = new URL('../lib/index.mjs', import.meta.url).href
const SECRET = 'hunter2-geheim'

afterEach(() => redis.secure())

/** What a lookup says; and stats() says it too. */
async function refusal (options) {
  const pond = await open(redis.secureUrl, options)
  try {
    const error = await pond.lookup('k').then(() => assert.fail('it was believed'), error => error)
    assert.ok(error instanceof CacheError, error)
    assert.equal(await pond.fetch('k', () => 'loaded'), 'loaded')
    assert.ok(error.message.includes((await pond.stats()).redis.problem))
    return error.message
  } finally {
    await pond.close()
  }
}

async function believed (options, url = redis.secureUrl) {
  const pond = await open(url, options)
  assert.equal((await pond.lookup('nothing')).state, 'miss')
  await pond.close()
}

test('the right one is believed', async t => {
  const pond = await open(redis.secureUrl, { namespace: 'right', tlsCa })
  t.after(() => pond.close())
  const long = 'x'.repeat(3_000_000)
  assert.deepEqual(await pond.fetch('k', () => ({ a: 1 })), { a: 1 })
  assert.equal(await pond.fetch('long', () => long), long)
  assert.equal((await pond.lookup('long')).value, long)
  const many = await Promise.all(Array.from({ length: 500 }, (_, i) => pond.fetch(`k${i % 7}`, () => i % 7)))
  assert.deepEqual(many, many.map((_, i) => i % 7))
  await believed({ tlsCa }, redis.secureUrl.replace('127.0.0.1', 'localhost'))
})

test('the wrong ones are refused', async () => {
  assert.match(await refusal({}), /from no authority that this machine knows/)
  assert.match(await refusal({ tlsCa: redis.certificate('other.pem') }), /other\.pem/)
  assert.match(await refusal({ tlsCa, tlsServerName: 'cache.example' }), /is for localhost, 127\.0\.0\.1, ::1, not for cache\.example/)
  await redis.secure({ shows: 'elsewhere.pem' })
  assert.match(await refusal({ tlsCa }), /is for cache\.example, 192\.0\.2\.1, not for 127\.0\.0\.1/)
  await redis.secure({ shows: 'expired.pem' })
  assert.match(await refusal({ tlsCa }), /expired \(20\d\d-\d\d-\d\d \d\d:\d\d UTC\): have it renewed/)
  await believed({ tlsVerify: false })
})

test('a client shows its own', async () => {
  await redis.secure({ demands: true })
  assert.match(await refusal({ tlsCa }), /set tls_cert and tls_key/)
  const stranger = { tlsCert: redis.certificate('stranger.pem'), tlsKey: redis.certificate('client.key') }
  assert.match(await refusal({ tlsCa, ...stranger }), /it refused the client certificate in .*stranger\.pem/)
  await believed({ tlsCa, tlsCert: redis.certificate('client.pem'), tlsKey: redis.certificate('client.key') })
  await believed({ tlsCa, tlsCert: redis.certificate('both.pem') })
})

test('bad files are refused at open', async () => {
  const refused = (options, says) => assert.rejects(open(redis.secureUrl, options), error => error instanceof OptionError && error.message.includes(says))
  await refused({ tlsCa: '/no/such/ca.pem' }, '/no/such/ca.pem cannot be read')
  await refused({ tlsCert: redis.certificate('client.pem'), tlsKey: redis.certificate('encrypted.key') }, 'is encrypted')
  await refused({ tlsKey: redis.certificate('client.key') }, 'a key needs its certificate')
  await assert.rejects(open(redis.url, { tlsCa }), { name: 'OptionError', message: /write rediss:/ })
})

test('nothing shows a password', async () => {
  const said = []
  const hear = value => said.push(inspect(value, { depth: 9, showHidden: true }), String(value?.message ?? value), String(value?.stack ?? ''))
  await redis.command('ACL', 'SETUSER', 'shop', 'on', `>${SECRET}`, '~*', '+@all')
  for (const [password, works] of [[SECRET, true], [SECRET + 'x', false]]) {
    const at = secret => redis.secureUrl.replace('//', `//shop:${secret}@`)
    for (const [url, options] of [[redis.secureUrl, { username: 'shop', password }], [at(password), {}], [at(`%68${password.slice(1)}`), {}]]) {
      const pond = await open(url, { store: 'sqlite::memory:', tlsCa, ...options })
      for (const call of [() => pond.lookup('k'), () => pond.explain('k'), () => pond.invalidate('k'), () => pond.stats(), () => pond.metrics()]) {
        hear(await Promise.resolve().then(call).catch(error => error))
      }
      const answer = await pond.lookup('k').catch(error => error)
      if (works) assert.equal(answer.state, 'miss')
      else assert.match(answer.message, /check username and password/)
      for (const object of [pond, pond.namespace('n'), pond.collection('films'), pond.store('films')]) hear(object)
      said.push(JSON.stringify(pond), `${pond}`)
      await pond.close()
    }
  }
  for (const url of [`rediss://shop:${SECRET}@h:x/0`, `rediss://shop:${SECRET}/@h`, `rediss://shop:${SECRET}`, `shop:${SECRET}@h`, `rediss://shop:${SECRET}%@h`]) {
    const error = await open(url).catch(error => error)
    assert.ok(error instanceof UrlError, error)
    hear(error)
  }
  await redis.command('ACL', 'DELUSER', 'shop')
  const heard = said.join('\n')
  assert.ok(heard.length > 2000)
  assert.doesNotMatch(heard, /unter2|geheim/)
})

async function nodeSpeaksTls (ca) {
  const socket = tls.connect({ host: '127.0.0.1', port: redis.tlsPort, ca: fs.readFileSync(ca) })
  try {
    await once(socket, 'secureConnect')
    socket.write('PING\r\n')
    const [data] = await once(socket, 'data')
    return data.toString() === '+PONG\r\n'
  } finally {
    socket.destroy()
  }
}

test("beside Node's own OpenSSL", async t => {
  assert.ok(await nodeSpeaksTls(tlsCa))
  const pond = await open(redis.secureUrl, { namespace: 'beside', tlsCa })
  t.after(() => pond.close())
  assert.equal(await pond.fetch('k', () => nodeSpeaksTls(tlsCa)), true)
  await Promise.all(Array.from({ length: 4 }, async (_, n) => {
    for (let i = 0; i < 30; i++) {
      const [node, ours] = await Promise.all([nodeSpeaksTls(tlsCa), pond.fetch(`${n}-${i}`, () => i)])
      assert.deepEqual([node, ours], [true, i])
      if (i % 10 === 0) await assert.rejects(nodeSpeaksTls(redis.certificate('other.pem')), { code: /SELF_SIGNED_CERT_IN_CHAIN/ })
    }
  }))
  assert.equal(pond.stat('cache_errors'), 0)
  await pond.close()
  assert.ok(await nodeSpeaksTls(tlsCa))
})

test('no OpenSSL but our own', () => {
  const addon = path.join(path.dirname(fileURLToPath(import.meta.url)), '..', 'build', 'millpond.node')
  const symbols = execFileSync('nm', ['-D', addon], { encoding: 'utf8' }).trim().split('\n').map(line => line.trim().split(/\s+/))
  const names = symbols.map(words => words.at(-1).replace(/@.*/, ''))
  assert.deepEqual(names.filter((_, i) => 'TDBRV'.includes(symbols[i].at(-2))).sort(), ['napi_register_module_v1', 'node_api_module_get_api_version_v1'])
  assert.deepEqual(names.filter(name => /^_?(SSL|TLS|X509|EVP|CRYPTO|OPENSSL|OSSL|BIO|ERR|PEM|ASN1|RAND|EC|RSA)_/.test(name)), [])
  const needed = execFileSync('readelf', ['-d', addon], { encoding: 'utf8' })
  assert.doesNotMatch(needed, /libssl|libcrypto/)
  assert.match(needed, /NODELETE/) // a Worker's end unloads an addon, but not the threads that OpenSSL left a mark in
})

test('Workers come and go, in the middle of it too', async () => {
  const program = `
    import { parentPort } from 'node:worker_threads'
    import { open } from ${JSON.stringify(millpond)}
    const pond = await open(${JSON.stringify(redis.secureUrl)}, { namespace: 'workers', tlsCa: ${JSON.stringify(tlsCa)} })
    for (let i = 0; i < 20; i++) await pond.fetch('k' + i, () => i)
    pond.fetch('never', () => new Promise(() => {})).catch(() => {})
    parentPort.postMessage(await pond.fetch('k3', () => 'loaded'))
    setInterval(() => pond.fetch('k' + Math.random(), () => 1), 1)`
  for (let round = 0; round < 6; round++) {
    await Promise.all(Array.from({ length: 3 }, async () => {
      const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(program)}`))
      const [answer] = await once(worker, 'message')
      assert.equal(answer, 3)
      await worker.terminate()
    }))
  }
  assert.ok(await nodeSpeaksTls(tlsCa))
  await believed({ tlsCa })
})

for (const end of ['process.exit(0)', '', 'pond.close({ timeout: 20 }).catch(() => {})', 'process.kill(process.pid, "SIGTERM")']) {
  test(`a process ends with TLS under way: ${end || 'by itself'}`, async () => {
    const program = `
      import tls from 'node:tls'
      import { open } from ${JSON.stringify(millpond)}
      process.on('exit', () => tls.createSecureContext())
      const pond = await open(${JSON.stringify(redis.secureUrl)}, { tlsCa: ${JSON.stringify(tlsCa)} })
      await pond.fetch('k', () => 1)
      ${end ? "pond.fetch('slow', () => new Promise(() => {})).catch(() => {})" : ''}
      await new Promise(resolve => setTimeout(resolve, 20))
      ${end}`
    for (let round = 0; round < 3; round++) {
      const [code, signal, errors] = await new Promise(resolve => {
        const child = execFile(process.execPath, ['--input-type=module', '-e', program], { timeout: 20_000 }, (error, stdout, stderr) => resolve([child.exitCode, child.signalCode, stderr]))
      })
      assert.deepEqual([code, signal, errors], end.includes('kill') ? [null, 'SIGTERM', ''] : [0, null, ''])
    }
  })
}
