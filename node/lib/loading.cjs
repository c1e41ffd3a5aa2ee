// Loaders: running them, answering the core, and noticing one that waits for itself.
'use strict'

const { AsyncLocalStorage } = require('node:async_hooks')
const { types: { isUint8Array: isBytes } } = require('node:util')
const { show } = require('./options.cjs')
const { classes: { CanceledError, DeadlockError, InvalidValue, MisuseError } } = require('./errors.cjs')
const { NULL, encode } = require('./values.cjs')

const UNCACHED = 1 // POND_LOAD_UNCACHED

// Which loads an asynchronous context is part of. Switched on only while a loader runs: until Node 24 an AsyncLocalStorage
// in use makes every promise of the program dearer.
let contexts
let running = 0

/** Is this code part of a running load of the same key? Then waiting for it would never end. */
function insideLoad (core, policy, key) {
  if (running === 0) return false
  for (let frame = contexts.getStore(); frame !== undefined; frame = frame.outer) {
    if (frame.live && frame.has(key) && frame.core === core && frame.namespace === policy.namespace) return true
  }
  return false
}

function deadlock (key) {
  return new DeadlockError(`the loader of ${JSON.stringify(key)} waits for ${JSON.stringify(key)} itself`)
}

/** What those are told who cannot be given the error itself: other threads, processes and languages. */
function messageOf (error) {
  try {
    const message = error?.message
    return typeof message === 'string' && message !== '' ? message : String(error)
  } catch {
    return 'the loader failed'
  }
}

/** The innermost load that this code is part of and that still runs. */
function liveFrame () {
  let frame = contexts.getStore()
  while (frame !== undefined && !frame.live) frame = frame.outer
  return frame
}

/** Runs `call`, which loads the keys that `has` knows, and hands what it gave to `loaded`, or what it threw to `failed`. */
function carryOut (core, policy, has, call, loaded, failed) {
  contexts ??= new AsyncLocalStorage()
  const frame = { core, has, namespace: policy.namespace, live: true, outer: liveFrame() }
  running++

  function end (how, outcome) {
    try {
      how(outcome)
    } finally {
      frame.live = false
      if (--running === 0) contexts.disable()
    }
  }

  contexts.run(frame, () => {
    let result
    let promise
    try {
      result = call()
      if (typeof result?.then === 'function') promise = Promise.resolve(result) // both may run getters, which may throw
    } catch (error) {
      return end(failed, error)
    }
    if (promise === undefined) end(loaded, result)
    else promise.then(value => end(loaded, value), error => end(failed, error))
  })
}

/** The core's number of what is wrong with a value; 0 of what a loader threw. */
const codeOf = error => error instanceof InvalidValue ? error.number : 0

/** Runs the request's loader and answers the load that the core asked for. Never throws. */
function runLoader (request) {
  const { view: { core }, policy, key, loader, task: load } = request
  const { native } = core
  request.task = 0

  function failed (error, code = 0) {
    native.loadFail(load, code, messageOf(error), { error })
  }

  function loaded (value) {
    try {
      const answer = toStore(request, value)
      if (answer === undefined) native.loadAbsent(load, 0)
      else native.loadValue(load, answer.kind, answer.data, cacheable(request, value) ? 0 : UNCACHED)
    } catch (error) {
      failed(error, codeOf(error))
    }
  }

  carryOut(core, policy, one => one === key, () => loader(key), loaded, failed)
}

/** Ids, most likely: nothing would be found, and that would be cached. */
function strangeKeys (keys, other) {
  return new MisuseError(`the loader of many gave none of the keys that it was asked for (${JSON.stringify(keys[0])}...), but ` +
    `${show(other)}: map the keys as they came`)
}

/** What a loader of many gave, one for each key; undefined: there is no such thing. */
function inOrder (keys, given) {
  if (given instanceof Map) {
    if (given.size > 0 && !keys.some(key => given.has(key))) throw strangeKeys(keys, given.keys().next().value)
    return keys.map(key => given.get(key))
  }
  if (Array.isArray(given)) {
    if (given.length === keys.length) return given
    throw new MisuseError(`the loader of ${keys.length} keys gave an array of ${given.length}: it takes one for each key (null: there is ` +
      'no such thing), or a Map or an object, which may leave keys out')
  }
  if (typeof given === 'object' && given !== null && !isBytes(given)) {
    const names = Object.keys(given)
    if (names.length > 0 && !keys.some(key => Object.hasOwn(given, key))) throw strangeKeys(keys, names[0])
    return keys.map(key => Object.hasOwn(given, key) ? given[key] : undefined)
  }
  throw new MisuseError(`a loader of many gives a Map or an object by key, or an array in the order of its keys, not ${show(given)}`)
}

/** Runs the request's loader of many and answers the batch that the core asked for. Never throws. */
function runManyLoader (request) {
  const { view: { core }, policy, loader, task: batch, value: keys } = request
  const { native } = core
  request.task = 0

  function failed (error, code = 0) {
    native.batchFail(batch, code, messageOf(error), { error })
  }

  function loaded (given) {
    try {
      inOrder(keys, given).forEach((value, i) => {
        const answer = toStore(request, value)
        if (answer === undefined) return // what nothing is said of is not there
        native.batchValue(batch, i, answer.kind, answer.data, cacheable(request, value) ? 0 : UNCACHED)
      })
    } catch (error) {
      return failed(error, codeOf(error))
    }
    native.batchDone(batch)
  }

  const own = new Set(keys)
  carryOut(core, policy, one => own.has(one), () => loader([...keys]), loaded, failed)
}

/** Gives the load up that the core asked for: another of those who wait is asked instead. */
function declineLoad (request) {
  const { view: { core: { native } }, task, signal } = request
  request.task = 0
  native.loadFail(task, CanceledError.prototype.number, 'the fetch was aborted', { error: signal.reason })
}

function declineBatch (request) {
  const { view: { core: { native } }, task, signal } = request
  request.task = 0
  native.batchFail(task, CanceledError.prototype.number, 'the fetch was aborted', { error: signal.reason })
}

/** { kind, data }, or undefined for an absence. */
function toStore (request, value) {
  if (value === undefined || value === null) return undefined
  const encoder = request.options?.encode ?? request.view.encode
  if (value === NULL || encoder === undefined) return encode(value)
  const encoded = encoder(value)
  return encode(encoded === undefined || encoded === null ? NULL : encoded)
}

function cacheable (request, value) {
  const shouldCache = request.options?.shouldCache ?? request.view.shouldCache
  return shouldCache === undefined || Boolean(shouldCache(value))
}

module.exports = { insideLoad, deadlock, runLoader, runManyLoader, declineLoad, declineBatch, messageOf, toStore }
