// Loaders: running them, answering the core, and noticing one that waits for itself.
'use strict'

const { AsyncLocalStorage } = require('node:async_hooks')
const { classes: { CanceledError, DeadlockError, InvalidValue } } = require('./errors.cjs')
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
    if (frame.live && frame.key === key && frame.core === core && frame.namespace === policy.namespace) return true
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

/** Runs the request's loader and answers the load that the core asked for. Never throws. */
function runLoader (request) {
  const { view: { core }, policy, key, loader, task: load } = request
  const { native } = core
  request.task = 0
  contexts ??= new AsyncLocalStorage()
  const frame = { core, key, namespace: policy.namespace, live: true, outer: liveFrame() }
  running++

  function end () {
    frame.live = false
    if (--running === 0) contexts.disable()
  }

  function failed (error, code = 0) {
    end()
    native.loadFail(load, code, messageOf(error), { error })
  }

  function loaded (value) {
    let answer
    let flags
    try {
      answer = toStore(request, value)
      flags = answer === undefined || cacheable(request, value) ? 0 : UNCACHED
    } catch (error) {
      return failed(error, error instanceof InvalidValue ? error.number : 0)
    }
    end()
    if (answer === undefined) native.loadAbsent(load, flags)
    else native.loadValue(load, answer.kind, answer.data, flags)
  }

  contexts.run(frame, () => {
    let result
    try {
      result = loader(key)
    } catch (error) {
      return failed(error)
    }
    if (typeof result?.then === 'function') Promise.resolve(result).then(loaded, error => failed(error))
    else loaded(result)
  })
}

/** Gives the load up that the core asked for: another of those who wait is asked instead. */
function declineLoad (request) {
  const { view: { core: { native } }, task, signal } = request
  request.task = 0
  native.loadFail(task, CanceledError.prototype.number, 'the fetch was aborted', { error: signal.reason })
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

module.exports = { insideLoad, deadlock, runLoader, declineLoad, messageOf, toStore }
