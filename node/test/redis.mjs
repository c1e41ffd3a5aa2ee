// A redis-server of a test's own, and a few words of its protocol.
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

const [FIRST, LAST] = (process.env.MILLPOND_REDIS_PORTS ?? '7650-7699').split('-').map(Number)

/** One command; strings, numbers, null and arrays come back, an error is thrown. */
export async function command (port, ...words) {
  const socket = net.connect(port, '127.0.0.1')
  try {
    await once(socket, 'connect')
    const parts = words.map(word => Buffer.from(String(word)))
    socket.write(Buffer.concat([Buffer.from(`*${parts.length}\r\n`),
      ...parts.flatMap(part => [Buffer.from(`$${part.length}\r\n`), part, Buffer.from('\r\n')])]))
    let data = Buffer.alloc(0)
    for await (const chunk of socket) {
      data = Buffer.concat([data, chunk])
      const reply = parse(data, 0)
      if (reply) {
        if (reply.value instanceof Error) throw reply.value
        return reply.value
      }
    }
    throw new Error('the connection ended')
  } finally {
    socket.destroy()
  }
}

/** { value, end }, or undefined if the reply is not whole yet. */
function parse (data, at) {
  const line = data.indexOf('\r\n', at)
  if (line < 0) return undefined
  const text = data.toString('utf8', at + 1, line)
  const end = line + 2
  switch (String.fromCharCode(data[at])) {
    case '+': return { value: text, end }
    case '-': return { value: new Error(text), end }
    case ':': return { value: Number(text), end }
    case '$': {
      const length = Number(text)
      if (length < 0) return { value: null, end }
      if (data.length < end + length + 2) return undefined
      return { value: data.subarray(end, end + length), end: end + length + 2 }
    }
    case '*': {
      const value = []
      let next = end
      for (let i = 0; i < Number(text); i++) {
        const row = parse(data, next)
        if (row === undefined) return undefined
        value.push(row.value)
        next = row.end
      }
      return { value, end: next }
    }
  }
  throw new Error(`not a reply: ${text}`)
}

const maker = new URL('../../tests/servers/certificates.py', import.meta.url).pathname

export class Redis {
  #process
  #tls

  /** With `tls` it has a second port, `secureUrl`, and certificates of its own (tests/servers/certificates.py). */
  constructor ({ tls = false } = {}) {
    this.#tls = tls
    if (!tls) return
    this.folder = fs.mkdtempSync(path.join(os.tmpdir(), 'millpond-tls-'))
    execFileSync('python3', [maker, this.folder])
  }

  get secureUrl () {
    return `rediss://127.0.0.1:${this.tlsPort}/0`
  }

  certificate (name) {
    return path.join(this.folder, name)
  }

  /** What the server does with its new connections. */
  async secure ({ shows = 'server.pem', demands = false } = {}) {
    await this.command('CONFIG', 'SET', 'tls-cert-file', this.certificate(shows))
    await this.command('CONFIG', 'SET', 'tls-auth-clients', demands ? 'yes' : 'no')
  }

  get url () {
    return `redis://127.0.0.1:${this.port}/0`
  }

  command (...words) {
    return command(this.port, ...words)
  }

  /** How often the server has run a command, by name. */
  async calls () {
    const lines = (await this.command('INFO', 'commandstats')).toString().matchAll(/^cmdstat_([^:]+):calls=(\d+)/gm)
    return Object.fromEntries(Array.from(lines, ([, name, count]) => [name, Number(count)]))
  }

  /** On any free port of ours, or on the one that it had. */
  async start () {
    const count = LAST - FIRST
    const ports = this.port ? [this.port] : Array.from({ length: count }, (_, i) => FIRST + (i + process.pid * 7) % count)
    for (const port of ports) {
      if (await this.#startOn(port)) return this
    }
    throw new Error(`no redis-server came up on ports ${FIRST}-${LAST}`)
  }

  async #startOn (port) {
    const words = ['--port', port, '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no']
    if (this.#tls) {
      this.tlsPort = port + 1
      words.push('--tls-port', this.tlsPort, '--tls-auth-clients', 'no', '--tls-ca-cert-file', this.certificate('ca.pem'),
        '--tls-cert-file', this.certificate('server.pem'), '--tls-key-file', this.certificate('server.key'))
    }
    const child = spawn(process.env.MILLPOND_TEST_REDIS_SERVER ?? 'redis-server', words, { stdio: ['ignore', 'pipe', 'inherit'] })
    let log = ''
    child.stdout.on('data', text => { log += text })
    const ended = new Promise((resolve, reject) => {
      child.once('exit', resolve)
      child.once('error', reject)
    })
    while (!log.includes('Ready to accept connections')) {
      if (await Promise.race([ended.then(() => true), sleep(10, false)])) return false // somebody else's port
    }
    child.stdout.unref?.()
    child.unref()
    this.#process = child
    this.port = port
    return true
  }

  async stop () {
    const child = this.#process
    if (this.folder) fs.rmSync(this.folder, { recursive: true, force: true })
    if (!child || child.exitCode !== null || child.signalCode !== null) return
    child.kill('SIGKILL')
    await once(child, 'exit')
  }
}

/** Starts a server for a test file and stops it after the file's last test. */
export async function redisFor (after, options) {
  const redis = await new Redis(options).start()
  after(() => redis.stop())
  return redis
}
