// The shared cases of tests/spec, in this process: the same file of cases runs in C, Python and Node.
import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { after, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { createRequire } from 'node:module'
import { NULL, open } from 'millpond'
import { redisFor } from './redis.mjs'

const folder = new URL('../../tests/spec/', import.meta.url)
const skip = existsSync(folder) ? false : 'the shared cases are not in the package'
const read = name => skip ? { cases: [], values: [] } : JSON.parse(readFileSync(new URL(name, folder), 'utf8'))
const { options: TABLE } = createRequire(import.meta.url)('../lib/generated.cjs')

const camel = name => name.replaceAll(/_([a-z])/g, (_, letter) => letter.toUpperCase())
const inOurNames = text => TABLE.reduce((said, { core, name }) => said === core ? name : said, text)

/** A string, { repeat: [part, times] } or { bytes: hex }: a byte that is not UTF-8 is a lone surrogate. */
function spelled (form) {
  if (typeof form === 'string') return form
  if ('repeat' in form) return form.repeat[0].repeat(form.repeat[1])
  const bytes = Buffer.from(form.bytes, 'hex')
  return Array.from(bytes, byte => String.fromCharCode(byte < 0x80 ? byte : 0xdc00 + byte)).join('')
}

/** The value that a load or an expectation spells, or undefined if it spells none. */
function valueOf (form) {
  if ('json' in form) return form.json
  if ('text' in form) return spelled(form.text)
  if ('bytes' in form) return Buffer.from(form.bytes, 'hex')
  if ('null' in form) return NULL
  return undefined
}

const circular = { a: 1 }
circular.self = circular
const specials = {
  undefined: () => undefined,
  'undefined-inside': () => ({ a: 1, b: undefined }),
  function: () => spelled,
  symbol: () => Symbol('x'),
  set: () => new Set([1]),
  'text-not-utf8': () => 'abc\udcff',
  'surrogate-inside': () => ({ user: { name: 'abc\udcff' } }),
  'bigint-inside': () => ({ user: { votes: 1n } }),
  'date-inside': () => ({ user: { created: new Date(0) } }),
  'date-in-array': () => ({ users: [{}, { created: new Date(0) }] }),
  'bytes-inside': () => ({ user: { photo: Buffer.from([0]) } }),
  'nan-inside': () => ({ user: { score: NaN } }),
  'infinity-inside': () => ({ user: { score: Infinity } }),
  circular: () => circular
}

class Boom extends Error {
  code = 'POND_ELOADER' // what those see who have not this class
}

const valueOrAbsence = value => ({ state: value === null || value === undefined ? 'absent' : 'value', value })

/** One case: a pond and a namespace of its own. */
class Run {
  constructor (pond, fill) {
    this.pond = pond
    this.fill = fill
  }

  options (form = {}) {
    return Object.fromEntries(Object.entries(form).map(([name, value]) => [camel(name), this.fill(spelled(value))]))
  }

  /** Of a call: those, and the tags. */
  optionsOf ({ with: form, tags }) {
    return tags === undefined ? this.options(form) : { ...this.options(form), tags: tags.map(spelled) }
  }

  async many (step, call) {
    const asked = []
    const list = await call(async keys => {
      asked.push(keys)
      if ('fail' in step) throw new Boom(step.fail)
      return new Map(Object.entries(step.load_many).filter(([key]) => keys.includes(key))
        .map(([key, load]) => [key, 'absent' in load ? null : valueOf(load)]))
    })
    return { list, asked }
  }

  async write (step) {
    const options = this.optionsOf(step)
    if (step.not_written) options.notWritten = error => error instanceof Boom
    await this.pond.write(step.write.map(spelled), options, async writing => {
      for (const [key, load] of step.set ?? []) writing.set(key, 'absent' in load ? null : valueOf(load))
      if ('fail' in step) throw new Boom(step.fail)
    })
  }

  async change ({ change, of: [name, id], document, reject, with: form }) {
    const films = this.pond.collection(name, { ...this.options(form), ...(reject ? { validate: () => false } : {}) })
    const calls = {
      create: () => films.create(id === null ? document : { id: spelled(id), ...document }),
      replace: () => films.replace(spelled(id), document),
      update: () => films.update(spelled(id), document),
      delete: () => films.delete(spelled(id))
    }
    return valueOrAbsence(await calls[change]())
  }

  async dead ({ dead, of: [name, letter], most, with: form }) {
    const { deadLetters } = this.pond.collection(name, this.options(form))
    const acts = {
      list: () => deadLetters.list({ after: letter ?? undefined, limit: most }),
      show: () => deadLetters.get(letter),
      retry: () => deadLetters.retry(letter),
      drop: () => deadLetters.drop(letter)
    }
    return valueOrAbsence(await acts[dead]())
  }

  async fetch ({ fetch, load, with: options, tags }) {
    let loaded = false
    let key = spelled(fetch)
    let loader = () => {
      loaded = true
      if ('fail' in load) throw new Boom(load.fail)
      assert.ok(!('never' in load), 'this loader must not be called')
      const value = 'special' in load ? specials[load.special]() : valueOf(load)
      return 'delay' in load ? sleep(load.delay, value) : value
    }
    if (load.special === 'no-loader') loader = undefined
    if (load.special === 'key-is-a-number') key = 42
    const policy = this.optionsOf({ with: options, tags })
    if (load.cache === false) policy.shouldCache = () => false
    const value = await this.pond.fetch(key, policy, loader)
    return { state: value === null ? 'absent' : 'value', value, loaded }
  }

  metrics () {
    const labels = `{namespace="${this.fill('@NS@')}"}`
    const samples = this.pond.metrics().split('\n').filter(line => line.includes(labels)).map(line => line.split(labels))
    return Object.fromEntries(samples.map(([name, number]) => [name, Number(number)]))
  }

  async do (step) {
    const { pond } = this
    if ('fetch' in step) return this.fetch(step)
    if ('lookup' in step) return pond.lookup(spelled(step.lookup), this.optionsOf(step))
    if ('invalidate' in step) return pond.invalidate(step.invalidate.map(spelled), this.optionsOf(step))
    if ('write' in step) return this.write(step)
    if ('fetch_many' in step) return this.many(step, load => pond.fetchMany(step.fetch_many.map(spelled), this.optionsOf(step), load))
    if ('warm' in step) return this.many(step, load => pond.warm(step.warm.map(spelled), { ...this.optionsOf(step), batch: step.batch }, load))
    if ('set_many' in step) {
      return pond.setMany(step.set_many.map(([key, load]) => [spelled(key), 'absent' in load ? null : valueOf(load)]), this.optionsOf(step))
    }
    if ('change' in step) return this.change(step)
    if ('dead' in step) return this.dead(step)
    if ('increment' in step) {
      const [name, id, field] = step.increment
      return pond.collection(name, this.options(step.with)).increment(spelled(id), field, step.by)
    }
    if (Array.isArray(step.document)) {
      const [name, id] = step.document
      return valueOrAbsence(await pond.collection(name, this.options(step.with)).get(spelled(id)))
    }
    if ('page' in step) return valueOrAbsence(await pond.collection(step.page[0]).find(step.page[1]))
    if ('stat' in step) return { count: pond.stat(step.stat, this.fill('@NS@')) }
    if ('metrics' in step) return { info: this.metrics() }
    if ('explain' in step) return { info: await pond.explain(spelled(step.explain)) }
    if ('sleep' in step) return sleep(step.sleep)
    if ('create' in step) return pond.store(step.create).create()
    if ('put' in step) return pond.store(step.put[0]).put(spelled(step.put[1]), step.put[2])
    if ('get_many' in step) return { list: await pond.store(step.get_many[0]).getMany(step.get_many[1].map(spelled)) }
    if ('delete' in step) return { existed: await pond.store(step.delete[0]).delete(spelled(step.delete[1])) }
    if ('get' in step) {
      const value = await pond.store(step.get[0]).get(spelled(step.get[1]))
      return { state: value === null ? 'absent' : 'value', value }
    }
    if ('open' in step) {
      const { cache, ...options } = this.options(step.open)
      return (await open(cache, options)).close()
    }
    throw new Error(`no such step: ${JSON.stringify(step)}`)
  }

  async check (step) {
    const { expect = {} } = step
    if (expect.error) {
      const { code, says, not = [], retriable } = expect.error
      await assert.rejects(this.do(step), error => {
        assert.ok([code].flat().includes(error.code), `${error.code} instead of ${code}: ${error.message}`)
        if (retriable !== undefined) assert.equal(error.retriable, retriable)
        for (const part of says) assert.ok(error.message.includes(inOurNames(part)), `"${error.message}" lacks ${part}`)
        for (const part of not) assert.ok(!error.message.includes(part), `"${error.message}" shows ${part}`)
        return true
      })
      return
    }
    const answer = await this.do(step)
    const value = valueOf(expect)
    if (value !== undefined) {
      assert.deepEqual(answer.value, value)
      if (value === NULL) assert.equal(answer.value, NULL)
      assert.equal(answer.state, 'value')
    }
    for (const name of ['state', 'loaded', 'count', 'list', 'asked', 'existed']) {
      if (name in expect) assert.deepEqual(answer[name], expect[name], name)
    }
    for (const [name, part] of Object.entries(expect.info ?? {})) assert.deepEqual(answer.info[name], part)
  }
}

function stepsOf ({ load }) {
  const expect = 'absent' in load ? { state: 'absent' } : load
  return [
    { lookup: 'k', expect: { state: 'miss' } },
    { fetch: 'k', load, expect: { ...expect, loaded: true } },
    { fetch: 'k', load: { never: true }, expect: { ...expect, loaded: false } },
    { lookup: 'k', expect },
    { invalidate: ['k'] },
    { lookup: 'k', expect: { state: 'miss' } }
  ]
}

const witness = { fetch: 'witness', load: { json: { seen: true } } }
const files = {
  values: read('values.json').values.map(form => ({ ...form, steps: stepsOf(form) })),
  semantics: read('semantics.json').cases,
  writes: read('writes.json').cases,
  bulk: read('bulk.json').cases,
  documents: read('documents.json').cases,
  errors: read('errors.json').cases.map(form => ({
    ...form, steps: [witness, ...form.steps, { lookup: 'witness', expect: { json: { seen: true } } }]
  }))
}

const redis = skip ? undefined : await redisFor(after)
const stores = mkdtempSync(path.join(os.tmpdir(), 'millpond-spec-'))
after(() => rmSync(stores, { recursive: true }))
let names = 0

for (const [file, cases] of Object.entries(files)) {
  for (const cache of ['memory', 'redis']) {
    describe(`${file}.json on ${cache}`, { skip }, () => {
      for (const { name, steps, options, languages = ['node'], caches = [cache] } of cases) {
        if (!languages.includes('node') || !caches.includes(cache)) continue
        test(name, async t => {
          const namespace = `spec-${++names}`
          const fill = text => text.replaceAll('@NS@', namespace).replaceAll('@STORE@', `sqlite:${stores}/${namespace}.db`)
          const run = new Run(undefined, fill)
          run.pond = await open(cache === 'redis' ? redis.url : 'memory:', { ...run.options(options), namespace })
          t.after(() => run.pond.close())
          for (const step of steps) {
            if (!(step.languages ?? ['node']).includes('node')) continue
            await run.check(step).catch(error => {
              error.message += `\nin the step ${JSON.stringify(step).slice(0, 300)}`
              throw error
            })
          }
        })
      }
    })
  }
}
