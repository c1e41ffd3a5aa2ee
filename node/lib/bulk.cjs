// Many keys in one call: fetchMany, setMany, warm.
'use strict'

const { succeeded } = require('./view.cjs')
const { runManyLoader, declineBatch, insideLoad, deadlock, toStore } = require('./loading.cjs')
const { KIND } = require('./values.cjs')
const { show } = require('./options.cjs')
const { classes: { MisuseError, OptionError } } = require('./errors.cjs')

/** What the core has of the keys, as it crosses: text and bytes as they are, JSON as text, null. The loader runs behind this: the core
 * may end the call before it has ended. */
async function fetchMany (view, policy, set, keys, options, loader, signal) {
  const { core } = view
  for (const key of keys) if (insideLoad(core, policy, key)) throw deadlock(key)
  const request = await view.start((native, number) => native.fetchMany(keys, policy.index, number, set), options)
  request.policy = policy
  request.loader = loader
  request.signal = signal
  while (request.kind === KIND.MANY) {
    const next = request.wait()
    if (request.signal?.aborted) declineBatch(request)
    else runManyLoader(request)
    succeeded(await next)
  }
  return request.value
}

/** Entries of a Map, pairs or an object -> keys, and [kind, data, kind, ...]. */
function entries (values, request) {
  if (typeof values !== 'object' || values === null) throw new MisuseError(`setMany(values): ${show(values)} is not a Map, pairs or an object`)
  const keys = []
  const data = []
  for (const pair of typeof values[Symbol.iterator] === 'function' ? values : Object.entries(values)) {
    if (!Array.isArray(pair) || pair.length !== 2) throw new MisuseError(`setMany(values): ${show(pair)} is not a pair of a key and a value`)
    const { kind, data: text } = toStore(request, pair[1]) ?? { kind: KIND.ABSENT, data: undefined }
    keys.push(pair[0])
    data.push(kind, text)
  }
  return { keys, data }
}

function count (name, value, otherwise) {
  if (value === undefined || value === null) return otherwise
  if (!Number.isSafeInteger(value) || value < 1) throw new OptionError(`${name}: ${show(value)} is not a number from 1 on`)
  return value
}

/** Pieces of `size` of what may be long, lazy and asynchronous, for whoever asks next -> { next, close }. */
function pieces (keys, size) {
  const iterator = keys?.[Symbol.asyncIterator]?.() ?? (typeof keys === 'string' ? undefined : keys?.[Symbol.iterator]?.())
  if (iterator === undefined) throw new MisuseError(`warm(keys, ...): ${show(keys)} is not an iterable of keys`)
  let over = false
  let asking = false
  let last = Promise.resolve()
  async function piece () {
    const part = []
    asking = true
    try {
      while (!over && part.length < size) {
        const { done, value } = await iterator.next()
        if (done) over = true
        else part.push(value)
      }
    } catch (error) {
      over = true // it has closed itself
      throw error
    } finally {
      asking = false
    }
    return part
  }
  // one after the other: an iterator is asked for one thing at a time
  const next = () => { return (last = last.then(piece, piece)) }
  /** Nothing more is asked for: it may hold a cursor or a file. */
  async function close () {
    if (over) return
    over = true
    try {
      const closed = Promise.resolve(iterator.return?.()).catch(() => {})
      if (!asking) await closed // else it closes when it has given what it was asked for, if ever
    } catch {} // there is an error already
  }
  return { next, close }
}

/** Warms piece by piece, `parallel` at once; `one(keys)` does a piece. */
async function warm (keys, { batch, parallel, progress }, one) {
  const { next, close } = pieces(keys, count('batch', batch, 500))
  const workers = count('parallel', parallel, 1)
  if (progress !== undefined && progress !== null && typeof progress !== 'function') throw new OptionError(`progress: ${show(progress)} is not a function`)
  let done = 0
  let stopped = false
  async function worker () {
    try {
      for (let part = await next(); part.length > 0 && !stopped; part = await next()) {
        await one(part)
        done += part.length
        await progress?.(done)
      }
    } catch (error) {
      stopped = true
      await close()
      throw error
    }
  }
  await Promise.all(Array.from({ length: workers }, worker))
  return done
}

module.exports = { fetchMany, entries, warm }
