// The Node side of the cross-language tests: commands on stdin, JSON lines on stdout; see ../README.md.
import { closeSync, openSync, writeSync } from 'node:fs'
import { resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'

const folder = process.env.MILLPOND_NODE ?? new URL('../../../node', import.meta.url).pathname
const millpond = await import(pathToFileURL(resolve(folder, 'lib/index.mjs')).href)

const SHOWN = 4096 // a longer payload is answered by its length and checksum
const monotonicNs = () => process.hrtime.bigint()
const camel = name => name.replace(/_([a-z])/g, (_, letter) => letter.toUpperCase())

class Boom extends Error {}

// ---- command lines --------------------------------------------------------------------------------------------------

/* Bytes as a string; one that is not UTF-8 becomes a lone surrogate, as Python's surrogateescape makes it. */
function decode (bytes) {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    return Array.from(bytes, byte => String.fromCharCode(byte < 0x80 ? byte : 0xdc00 + byte)).join('')
  }
}

function percentDecode (word) {
  const out = []
  for (let i = 0; i < word.length; i++) {
    if (word[i] === '%') {
      out.push(parseInt(word.slice(i + 1, i + 3), 16))
      i += 2
    } else {
      out.push(word.charCodeAt(i))
    }
  }
  return Buffer.from(out)
}

class Command {
  constructor (line) {
    const [verb, ...words] = line.split(' ').filter(word => word !== '')
    this.verb = verb
    this.words = words.map(word => {
      const at = word.indexOf('=')
      return [word.slice(0, at), percentDecode(word.slice(at + 1))]
    })
  }

  bytes (name, otherwise = Buffer.alloc(0)) {
    return this.words.find(([word]) => word === name)?.[1] ?? otherwise
  }

  text (name, otherwise = '') {
    return decode(this.bytes(name, Buffer.from(otherwise)))
  }

  number (name, otherwise = 0) {
    return Number(this.text(name, String(otherwise)))
  }

  all (name) {
    return this.words.filter(([word]) => word === name).map(([, value]) => decode(value))
  }

  options (prefix) {
    return Object.fromEntries(this.words.filter(([word]) => word.startsWith(prefix))
      .map(([word, value]) => [camel(word.slice(prefix.length)), decode(value)]))
  }
}

// ---- loaders --------------------------------------------------------------------------------------------------------

/* Loader results that cannot be stored, or not as they are. */
function special (name) {
  const now = new Date(Date.UTC(2024, 1, 29))
  const circular = { a: 1 }
  circular.self = circular
  const makers = {
    undefined: () => undefined,
    'undefined-inside': () => ({ a: 1, b: undefined }),
    function: () => special,
    symbol: () => Symbol('x'),
    set: () => new Set([1, 2]),
    'text-not-utf8': () => 'abc\udcff',
    'surrogate-inside': () => ({ user: { name: 'abc\udcff' } }),
    'bigint-inside': () => ({ user: { votes: 1n } }),
    'date-inside': () => ({ user: { id: 1, created: now } }),
    'date-in-array': () => ({ users: [{ id: 1 }, { id: 2, created: now }] }),
    'bytes-inside': () => ({ user: { photo: Buffer.from([0]) } }),
    'nan-inside': () => ({ user: { score: NaN } }),
    'infinity-inside': () => ({ user: { score: Infinity } }),
    circular: () => circular
  }
  if (!(name in makers)) throw new Error(`no special value ${name} in Node`)
  return makers[name]()
}

function valueOf (kind, data) {
  switch (kind) {
    case 'json': return JSON.parse(data.toString('utf8'))
    case 'text': return data.toString('utf8')
    case 'bytes': return data
    case 'null': return millpond.NULL
    case 'absent': return null
    default: throw new Error(`no value of kind ${kind}`)
  }
}

/* What the words of a command make; `called` says whether it ran. */
class Loader {
  constructor (command) {
    this.kind = command.text('load', 'never')
    const times = command.number('times', 1)
    this.data = times === 1 ? command.bytes('data') : Buffer.concat(Array(times).fill(command.bytes('data')))
    this.delay = command.number('delay')
    this.cached = command.text('cache', 'yes') !== 'no'
    this.called = false
  }

  async load () {
    if (this.delay > 0) await sleep(this.delay)
    this.called = true
    switch (this.kind) {
      case 'fail': throw new Boom(this.data.toString('utf8'))
      case 'special': return special(this.data.toString('utf8'))
      case 'never': throw new Error('this loader must not be called')
      default: return valueOf(this.kind, this.data)
    }
  }
}

// ---- answers --------------------------------------------------------------------------------------------------------

function codeOf (error) {
  if (error instanceof Boom) return 'POND_ELOADER'
  return error instanceof millpond.PondError ? error.code : `${error?.constructor?.name}, which is no PondError`
}

function errorAnswer (error) {
  return { ok: false, code: codeOf(error), retriable: Boolean(error?.retriable), message: String(error?.message ?? error), class: error?.constructor?.name }
}

function adler32 (bytes) {
  let a = 1
  let b = 0
  for (const byte of bytes) {
    a = (a + byte) % 65521
    b = (b + a) % 65521
  }
  return b * 65536 + a
}

function valueAnswer (state, value) {
  if (state !== 'value') return { state }
  if (value === millpond.NULL) value = null
  const type = value instanceof Uint8Array ? 'bytes' : typeof value === 'string' ? 'text' : 'json'
  const payload = type === 'bytes' ? Buffer.from(value) : type === 'text' ? Buffer.from(value, 'utf8') : Buffer.alloc(0)
  if (payload.length > SHOWN) return { state, type, len: payload.length, adler: adler32(payload) }
  return { state, type, data: type === 'bytes' ? payload.toString('hex') : value }
}

// ---- many callers at once -------------------------------------------------------------------------------------------
// Loads are counted by what their loaders write, not by the library's own statistics.

class Crowd {
  constructor (pond, policy, command) {
    Object.assign(this, { pond, policy, command, answers: 0, loads: 0, wrong: 0, absent: 0, lateErrors: 0 })
    this.callers = command.number('callers', 1)
    this.delay = command.number('delay')
    this.last = 0n
    this.longest = 0n
    this.errors = {}
    this.firstError = ''
    this.began = monotonicNs()
    this.late = null
    this.each = command.text('each') === 'yes' ? [] : null
    const path = command.text('log')
    this.log = path ? openSync(path, 'a', 0o600) : null
  }

  write (what) {
    if (this.log !== null) writeSync(this.log, `${what} ${process.pid} ${monotonicNs()}\n`)
  }

  async one (key, load, check) {
    const began = monotonicNs()
    let failed = null
    try {
      check(await this.pond.fetch(key, this.policy, load))
    } catch (error) {
      failed = error
    }
    const now = monotonicNs()
    this.answers++
    this.each?.push(Number(now))
    if (now > this.last) this.last = now
    if (now - began > this.longest) this.longest = now - began
    if (failed !== null) {
      const code = codeOf(failed)
      this.errors[code] = (this.errors[code] ?? 0) + 1
      if (this.late !== null && now > this.late) this.lateErrors++
      this.firstError ||= `${failed.constructor?.name}: ${failed.message}`
    }
    return failed === null
  }

  report () {
    if (this.log !== null) closeSync(this.log)
    return {
      ...(this.each && { answered_ns: this.each }),
      answers: this.answers,
      loads: this.loads,
      wrong: this.wrong,
      absent: this.absent,
      late_errors: this.lateErrors,
      last_ns: Number(this.last),
      longest_ms: Number(this.longest) / 1e6,
      took_ms: Number(monotonicNs() - this.began) / 1e6,
      errors: this.errors,
      first_error: this.firstError
    }
  }

  /* One cold key. */
  async crowd () {
    const key = this.command.text('key')
    const wait = this.command.number('at') - Date.now()
    const load = async () => {
      this.loads++
      this.write('start')
      await sleep(this.delay)
      this.write('end')
      return { crowd: true }
    }
    if (wait > 0) await sleep(wait)
    await Promise.all(Array.from({ length: this.callers }, () =>
      this.one(key, load, value => { if (value?.crowd !== true) this.wrong++ })))
    return this.report()
  }

  /* Many keys, several rounds. */
  async sweep () {
    const prefix = this.command.text('key')
    const ids = this.command.number('ids', 1)
    const total = ids * this.command.number('rounds', 1)
    const batch = this.command.number('batch', 1)
    const value = this.command.text('load') === 'absent' ? null : { crowd: true }
    const load = () => {
      this.loads++
      this.write('start')
      return value
    }
    for (let first = 0; first < total; first += batch) {
      await Promise.all(Array.from({ length: Math.min(batch, total - first) }, (_, i) =>
        this.one(`${prefix}${(first + i) % ids}`, load, got => { if (got === null || got === undefined) this.absent++ })))
    }
    return this.report()
  }

  /* A load for a while. */
  async storm () {
    const keys = this.command.number('keys', 100)
    const end = this.began + BigInt(this.command.number('ms', 1000)) * 1000000n
    this.late = end - BigInt(this.command.number('calm', 1000)) * 1000000n
    const caller = async () => {
      for (let n = 0; monotonicNs() < end; n = (n + 1) % keys) {
        const load = () => {
          this.loads++
          return { n }
        }
        if (!await this.one(`storm:${n}`, load, value => { if (value?.n !== n) this.wrong++ })) await sleep(1)
      }
    }
    await Promise.all(Array.from({ length: this.callers }, caller))
    return this.report()
  }
}

// ---- the commands ---------------------------------------------------------------------------------------------------

const ponds = new Map()

function pondOf (command) {
  const pond = ponds.get(command.text('pond', 'p'))
  const { namespace } = command.options('with.')
  return namespace === undefined ? pond : pond.namespace(namespace)
}

function policyOf (command) {
  const { namespace, ...policy } = command.options('with.')
  const tags = command.all('tag')
  return tags.length === 0 ? policy : { ...policy, tags }
}

/* What the words set=, kind= and data= say, as pairs. */
function setsOf (command) {
  const kinds = command.all('kind')
  const data = command.words.filter(([word]) => word === 'data').map(([, value]) => value)
  return command.all('set').map((key, i) => [key, valueOf(kinds[i], data[i])])
}

function manyLoader (command, asked) {
  return async keys => {
    asked.push(keys)
    if (command.text('fail')) throw new Boom(command.text('fail'))
    return new Map(setsOf(command).filter(([key]) => keys.includes(key)))
  }
}

const storeOf = command => pondOf(command).store(command.text('collection'))

function collectionOf (command) {
  const options = command.text('reject') ? { ...policyOf(command), validate: () => false } : policyOf(command)
  return pondOf(command).collection(command.text('collection'), options)
}

const commands = {
  async open (command) {
    const { cache = 'memory:', ...options } = command.options('opt.')
    ponds.set(command.text('pond', 'p'), await millpond.open(cache, options))
  },
  async close (command) {
    const name = command.text('pond', 'p')
    const pond = ponds.get(name)
    ponds.delete(name)
    await pond.close()
  },
  async fetch (command) {
    const loader = new Loader(command)
    const policy = policyOf(command)
    let key = command.text('key')
    let load = () => loader.load()
    if (!loader.cached) policy.shouldCache = () => false
    if (loader.kind === 'special' && loader.data.toString() === 'key-is-a-number') key = 42
    if (loader.kind === 'special' && loader.data.toString() === 'no-loader') load = undefined
    if (command.text('entry', 'no') === 'yes') {
      const { state, value, stale = false } = await pondOf(command).fetchEntry(key, policy, load)
      return { ...valueAnswer(state, value), stale, loaded: loader.called }
    }
    const value = await pondOf(command).fetch(key, policy, load)
    return { ...valueAnswer(value === null || value === undefined ? 'absent' : 'value', value), loaded: loader.called }
  },
  async lookup (command) {
    const { state, value, stale = false } = await pondOf(command).lookup(command.text('key'), policyOf(command))
    return { ...valueAnswer(state, value), stale }
  },
  async invalidate (command) {
    await pondOf(command).invalidate(command.all('key'), policyOf(command))
  },
  async write (command) {
    const options = command.text('sure') ? { ...policyOf(command), notWritten: error => error instanceof Boom } : policyOf(command)
    await pondOf(command).write(command.all('key'), options, async writing => {
      for (const [key, value] of setsOf(command)) writing.set(key, value)
      if (command.text('fail')) throw new Boom(command.text('fail'))
    })
  },
  async fetch_many (command) {
    const asked = []
    const values = await pondOf(command).fetchMany(command.all('key'), policyOf(command), manyLoader(command, asked))
    // What JSON cannot hold is looked up by its key.
    return { list: values.map(value => value instanceof Uint8Array || value === millpond.NULL ? null : value), asked }
  },
  async warm (command) {
    const asked = []
    const options = { ...policyOf(command), batch: command.number('batch', 500) }
    await pondOf(command).warm(command.all('key'), options, manyLoader(command, asked))
    return { asked }
  },
  async set_many (command) {
    await pondOf(command).setMany(setsOf(command), policyOf(command))
  },
  /* Many keys of one prefix, by one fetchMany. */
  async bulk (command) {
    const asked = []
    const keys = Array.from({ length: command.number('ids', 1) }, (_, number) => `${command.text('key')}${number}`)
    const values = await pondOf(command).fetchMany(keys, policyOf(command), keys => {
      asked.push(keys.length)
      return keys.map(key => ({ of: key }))
    })
    return { values: values.length, wrong: values.filter((value, i) => value?.of !== keys[i]).length, asked }
  },
  async explain (command) {
    return { info: await pondOf(command).explain(command.text('key'), policyOf(command)) }
  },
  async stat (command) {
    return { count: pondOf(command).stat(command.text('counter'), command.text('namespace') || undefined) }
  },
  async stats (command) {
    return { info: pondOf(command).stats() }
  },
  async metrics (command) {
    const labels = `{namespace="${command.text('namespace')}"}`
    const samples = pondOf(command).metrics().split('\n').filter(line => line.includes(labels)).map(line => line.split(labels))
    return { info: Object.fromEntries(samples.map(([name, number]) => [name, Number(number)])) }
  },
  async sleep (command) {
    await sleep(command.number('ms'))
  },
  async create (command) {
    await storeOf(command).create()
  },
  async put (command) {
    await storeOf(command).put(command.text('id'), JSON.parse(command.text('doc')))
  },
  async get (command) {
    const value = await storeOf(command).get(command.text('id'))
    return valueAnswer(value === null || value === undefined ? 'absent' : 'value', value)
  },
  async get_many (command) {
    return { list: await storeOf(command).getMany(command.all('id')) }
  },
  async delete (command) {
    return { existed: await storeOf(command).delete(command.text('id')) }
  },
  async change (command) {
    const films = collectionOf(command)
    const document = JSON.parse(command.text('doc', 'null'))
    const [id] = command.all('id')
    const calls = {
      create: () => films.create(id === undefined ? document : { id, ...document }),
      replace: () => films.replace(id, document),
      update: () => films.update(id, document),
      delete: () => films.delete(id)
    }
    const made = await calls[command.text('kind')]()
    return valueAnswer(made === undefined ? 'absent' : 'value', made)
  },
  async increment (command) {
    await collectionOf(command).increment(command.text('id'), command.text('field'), Number(command.text('by')))
    return valueAnswer('absent', undefined)
  },
  async document (command) {
    const value = await collectionOf(command).get(command.text('id'))
    return valueAnswer(value === null ? 'absent' : 'value', value)
  },
  async page (command) {
    return valueAnswer('value', await collectionOf(command).find(command.text('query')))
  },
  async dead (command) {
    const { deadLetters } = collectionOf(command)
    const [letter = ''] = command.all('id')
    const [most] = command.all('most')
    const acts = {
      list: () => deadLetters.list({ after: letter || undefined, limit: most === undefined ? undefined : Number(most) }),
      show: () => deadLetters.get(letter),
      retry: () => deadLetters.retry(letter),
      drop: () => deadLetters.drop(letter)
    }
    const found = await acts[command.text('act')]()
    return valueAnswer(found === undefined ? 'absent' : 'value', found)
  },
  crowd: command => new Crowd(pondOf(command), policyOf(command), command).crowd(),
  sweep: command => new Crowd(pondOf(command), policyOf(command), command).sweep(),
  storm: command => new Crowd(pondOf(command), policyOf(command), command).storm()
}

for await (const line of createInterface({ input: process.stdin })) {
  let answer
  try {
    const command = new Command(line)
    answer = { ok: true, ...await commands[command.verb](command) }
  } catch (error) {
    answer = errorAnswer(error)
  }
  process.stdout.write(JSON.stringify(answer) + '\n')
}
for (const pond of ponds.values()) await pond.close()
