// The Node hosts under load: node load.mjs node|ioredis SETTINGS. What they do and say is told in load.py.
import { createInterface } from 'node:readline'
import { pathToFileURL } from 'node:url'
import { resolve } from 'node:path'

const BEAT = 5
const BACK = 4000
const GRACE = 5000

const [host, given] = process.argv.slice(2)
const settings = JSON.parse(given)
const now = () => Number(process.hrtime.bigint()) / 1e6 // the clock of Python's time.monotonic
const rest = ms => new Promise(resolve => setTimeout(resolve, ms))
const say = message => new Promise(resolve => process.stdout.write(JSON.stringify(message) + '\n', resolve))

// ---- the store, and the book of calls ----

const loads = { running: new Map(), atOnce: 0, times: [] }
const calls = [] // { kind, from, to, error }
const open = new Map()
const beats = []
const hitsAt = []
let over = false

async function load (key) {
  loads.times.push(now())
  const count = (loads.running.get(key) ?? 0) + 1
  loads.running.set(key, count)
  loads.atOnce = Math.max(loads.atOnce, count)
  await rest(settings.load_ms)
  loads.running.set(key, loads.running.get(key) - 1)
  return key
}

const round = ms => Math.round(ms * 10) / 10
const quantile = (ordered, part) => ordered.length ? ordered[Math.min(ordered.length - 1, Math.floor(ordered.length * part))] : 0
const ascending = list => list.sort((a, b) => a - b)

function backAfter (to) {
  const before = hitsAt.filter(([at]) => at <= to).at(-1)?.[1] ?? 0
  const found = hitsAt.find(([at, hits]) => at > to && hits > before)
  return found && found[0] - to
}

/* How long after its deadline a call has ended, less the time in which the heart stood still. */
function overrun (call) {
  const deadline = call.from + settings.deadlines[call.kind]
  let over = call.to - deadline
  if (over <= 0) return 0
  for (const [wanted, came] of beats) over -= Math.max(0, Math.min(call.to, came) - Math.max(deadline, wanted))
  return Math.max(0, over)
}

function report (from, to) {
  const within = calls.filter(call => call.from < to && call.to > from) // under way in the outage
  const fetches = within.filter(call => call.kind === 'fetch')
  const took = ascending(fetches.map(call => call.to - call.from))
  const errors = fetches.filter(call => call.error)
  const overruns = ascending(within.filter(call => call.to >= call.from + settings.deadlines[call.kind]).map(overrun))
  const back = backAfter(to)
  return {
    calls: took.length,
    hung: open.size,
    errors: errors.length,
    store_loads: loads.times.filter(at => from <= at && at < to).length,
    at_once: loads.atOnce,
    p50_ms: round(quantile(took, 0.5)),
    p99_ms: round(quantile(took, 0.99)),
    max_ms: round(took.at(-1) ?? 0),
    late: overruns.length,
    overrun_p99_ms: round(quantile(overruns, 0.99)),
    overrun_max_ms: round(overruns.at(-1) ?? 0),
    back_ms: back === undefined ? null : round(back),
    stall_ms: round(beats.reduce((most, [wanted, came]) => Math.max(most, came - wanted), 0)),
    error: errors[0]?.error ?? ''
  }
}

// ---- the hosts ----

async function millpond () {
  const folder = process.env.MILLPOND_NODE ?? new URL('../../node', import.meta.url).pathname
  const { open } = await import(pathToFileURL(resolve(folder, 'lib/index.mjs')).href)
  const pond = await open(settings.url, {
    namespace: 'outages', ttl: settings.ttl_ms, commandTimeout: settings.deadlines.lookup, callTimeout: settings.deadlines.fetch
  })
  return {
    fetch: key => pond.fetch(key, () => load(key)),
    lookup: key => pond.lookup('other:' + key),
    invalidate: key => pond.invalidate('other:' + key),
    hits: () => pond.stat('hits'),
    close: () => pond.close()
  }
}

async function byHand () {
  const { Redis } = await import('ioredis')
  const client = new Redis(settings.url, { connectTimeout: 1000, commandTimeout: settings.deadlines.lookup })
  client.on('error', () => {})
  let hits = 0
  return {
    async fetch (key) {
      let data = null
      try {
        data = await client.get('hand:' + key)
      } catch {}
      if (data !== null) {
        hits++
        return JSON.parse(data)
      }
      const value = await load(key)
      try {
        await client.set('hand:' + key, JSON.stringify(value), 'PX', settings.ttl_ms)
      } catch {}
      return value
    },
    hits: () => hits,
    close: () => client.disconnect()
  }
}

const api = await (host === 'node' ? millpond() : byHand())

async function work (number, kinds) {
  while (!over) {
    for (const kind of kinds) {
      const key = `key:${Math.floor(Math.random() * settings.keys)}`
      const call = { kind, from: now(), to: 0, error: '' }
      open.set(number, call)
      try {
        const value = await api[kind](key)
        if (kind === 'fetch' && value !== key) call.error = `${key} was ${value}`
      } catch (error) {
        call.error = `${error.name}: ${error.message}`
      }
      call.to = now()
      calls.push(call)
      open.delete(number)
      await rest(1 + Math.random() * 4)
    }
  }
}

async function beat () {
  while (!over) {
    const wanted = now() + BEAT
    await rest(BEAT)
    const came = now()
    const hits = api.hits()
    if (came - wanted > 1) beats.push([wanted, came])
    if (hitsAt.at(-1)?.[1] !== hits) hitsAt.push([came, hits])
  }
}

const workers = Array.from({ length: settings.workers }, (_, number) => work(number, ['fetch']))
for (let i = 0; api.lookup && i < settings.others; i++) workers.push(work(settings.workers + i, ['lookup', 'invalidate']))
const heart = beat()
await say({ ready: true })
for await (const line of createInterface({ input: process.stdin })) {
  const [, from, to] = line.split(' ').map(word => Number(word) * 1000)
  while (backAfter(to) === undefined && now() < to + BACK) await rest(BEAT)
  over = true
  await Promise.race([Promise.all(workers), rest(GRACE)])
  await heart
  await say(report(from, to))
  if (open.size === 0) await api.close()
  process.exit(0)
}
