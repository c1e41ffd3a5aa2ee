// The pond: fetch, lookup, invalidate and what stands around them.
'use strict'

const { setTimeout: sleep } = require('node:timers/promises')
const { Core, Request } = require('./core.cjs')
const { View, failure, succeeded } = require('./view.cjs')
const { Policy } = require('./policy.cjs')
const { runWriter } = require('./writing.cjs')
const { Store } = require('./store.cjs')
const { Collection } = require('./collection.cjs')
const { fetchMany, entries, warm } = require('./bulk.cjs')
const { keyMaker } = require('./cached.cjs')
const { checkSignal, unlessAborted } = require('./abort.cjs')
const { parse, patience, show } = require('./options.cjs')
const { runLoader, declineLoad, insideLoad, deadlock } = require('./loading.cjs')
const { KIND, decode } = require('./values.cjs')
const { classes: { Absent, InvalidKey, InvalidValue, MisuseError, OptionError, TimeoutError }, fromAddon } = require('./errors.cjs')

function wrongKey (key) {
  if (typeof key === 'string') {
    return new InvalidKey(`the key ${show(key)} has a lone surrogate: it is not Unicode, so it has no UTF-8`)
  }
  return new InvalidKey(`the key must be a string, not ${key === null ? 'null' : Array.isArray(key) ? 'an array' : typeof key}`)
}

function checkKey (key) {
  if (typeof key !== 'string' || !key.isWellFormed()) throw wrongKey(key)
}

function wrongLoader (options, loader) {
  return new MisuseError(typeof options === 'function'
    ? 'fetch(key, options, loader): the loader comes last'
    : `fetch(key, [options,] loader): the loader must be a function, not ${show(loader)}`)
}

/** A cached value as the caller sees it. */
function toCaller (view, options, key, kind, data) {
  const decoder = options?.decode ?? view.decode
  let value = data
  if (kind !== KIND.TEXT && kind !== KIND.BYTES) {
    try {
      value = decode(data)
    } catch (error) {
      throw new InvalidValue(`what is cached under ${show(key)} is not JSON: ${error.message}`, { cause: error })
    }
    if (data === 'null') return value
  }
  return decoder === undefined ? value : decoder(value)
}

function absence (policy, key) {
  if (policy.raise) throw new Absent(`there is no ${show(key)}`)
  return null
}

/** The load that the core asks of this request. */
function load (request) {
  if (request.signal?.aborted) declineLoad(request) // somebody else who waits shall load
  else runLoader(request)
}

/** What a fetch came to; or its loader is to run first. */
function fetched (request) {
  const { kind, view, options, policy, key, value, stale } = request
  if (kind === KIND.LOAD) {
    const promise = request.wait()
    load(request)
    return promise.then(fetched)
  }
  if (kind === KIND.ERROR) throw failure(request)
  if (request.task !== 0) load(request) // behind the value: nobody waits for it
  if (request.entry) return entry(view, options, key, kind, value, stale)
  return kind === KIND.ABSENT ? absence(policy, key) : toCaller(view, options, key, kind, value)
}

function entry (view, options, key, kind, data, stale) {
  switch (kind) {
    case KIND.MISS: return { state: 'miss', value: undefined }
    case KIND.ABSENT: return { state: 'absent', value: null }
    default: return { state: 'value', value: toCaller(view, options, key, kind, data), stale }
  }
}

function lookedUp (request) {
  const { kind, view, options, key, value, stale } = succeeded(request)
  return entry(view, options, key, kind, value, stale)
}

class Pond {
  #view
  #root // the pond itself, if this is a namespace of it
  #closing

  /** Ponds come from open(), namespaces from pond.namespace(). */
  constructor (view, root) {
    if (!(view instanceof View)) throw new MisuseError('a pond is made by open()')
    this.#view = view
    this.#root = root
  }

  fetch (key, options, loader) {
    return this.#fetch(key, options, loader, false)
  }

  fetchEntry (key, options, loader) {
    return this.#fetch(key, options, loader, true)
  }

  #fetch (key, options, loader, asEntry) {
    if (loader === undefined) {
      loader = options
      options = undefined
    }
    const { signal = null, tags = null } = options ?? {}
    if (signal === null && tags === null) return this.#ask(key, options, loader, asEntry, undefined, undefined)
    const { signal: _, tags: __, ...rest } = options
    if (signal === null) return this.#ask(key, rest, loader, asEntry, undefined, tags)
    try {
      checkSignal(signal)
      signal.throwIfAborted()
    } catch (error) {
      return Promise.reject(error)
    }
    return unlessAborted(this.#ask(key, rest, loader, asEntry, signal, tags), signal)
  }

  #ask (key, options, loader, asEntry, signal, tags) {
    const view = this.#view
    const { core } = view
    try {
      if (typeof loader !== 'function') throw wrongLoader(options, loader)
      if (typeof key !== 'string' || !key.isWellFormed()) throw wrongKey(key)
      const policy = view.policyOf(options)
      core.refuseIfClosing()
      if (insideLoad(core, policy, key)) throw deadlock(key)
      const set = core.tags.of(policy, tags)
      const value = set === 0
        ? core.native.fetch(key, policy.index, core.next)
        : core.native.fetchTagged(key, policy.index, core.next, set)
      if (value !== undefined) {
        const kind = core.kindNow
        if (asEntry) return Promise.resolve(entry(view, options, key, kind, value, false))
        return Promise.resolve(kind === KIND.ABSENT ? absence(policy, key) : toCaller(view, options, key, kind, value))
      }
      const request = new Request(view, policy, key, options, loader)
      request.signal = signal
      request.entry = asEntry
      core.began(request)
      return request.wait().then(fetched)
    } catch (error) {
      return Promise.reject(fromAddon(error))
    }
  }

  async lookup (key, options) {
    const view = this.#view
    const { core } = view
    checkKey(key)
    const { policy, set } = this.#tagged(options)
    core.refuseIfClosing()
    let value
    try {
      value = set === 0
        ? core.native.lookup(key, policy.index, core.next)
        : core.native.lookupTagged(key, policy.index, core.next, set)
    } catch (error) {
      throw fromAddon(error)
    }
    if (value !== undefined) return entry(view, options, key, core.kindNow, value, false)
    const request = new Request(view, policy, key, options, undefined)
    core.began(request)
    return lookedUp(await request.wait())
  }

  async invalidate (keys, options) {
    const list = Array.isArray(keys) ? [...keys] : [keys]
    for (const key of list) checkKey(key)
    const { policy: { index }, set } = this.#tagged(options)
    await this.#view.start((native, number) => native.invalidateTagged(list, index, number, set))
  }

  /** The policy of these options, and the set of their tags. */
  #tagged (options) {
    const view = this.#view
    if (options?.tags === undefined) return { policy: view.policyOf(options), set: 0 }
    const { tags, ...rest } = options
    const policy = view.policyOf(rest)
    return { policy, set: view.core.tags.of(policy, tags) }
  }

  async fetchMany (keys, options, loader) {
    if (loader === undefined) {
      loader = options
      options = undefined
    }
    const { signal = null, ...rest } = options ?? {}
    if (signal !== null) {
      checkSignal(signal)
      signal.throwIfAborted()
    }
    const list = Array.isArray(keys) ? [...keys] : [keys]
    const loading = this.#manyLoader('fetchMany', options === undefined ? undefined : rest, loader)
    const found = loading.fetch(list, signal ?? undefined)
    const { policy } = loading
    const rows = await (signal === null ? found : unlessAborted(found, signal))
    return rows.map((row, i) => {
      if (row === null) return absence(policy, list[i])
      const [kind, data] = Array.isArray(row) ? [KIND.TEXT, row[0]] : [typeof row === 'string' ? KIND.JSON : KIND.BYTES, row]
      return toCaller(this.#view, rest, list[i], kind, data)
    })
  }

  /** What is wrong with the arguments is said here and now. */
  #manyLoader (method, options, loader) {
    if (typeof loader !== 'function') {
      throw new MisuseError(`${method}(keys, [options,] loader): the loader must be a function, not ${show(loader)}`)
    }
    const { policy } = this.#tagged(options)
    const tags = options?.tags && [...options.tags]
    return {
      policy,
      fetch: async (keys, signal) => {
        for (const key of keys) checkKey(key)
        const set = this.#view.core.tags.of(policy, tags) // each time: a set is not kept for ever
        return fetchMany(this.#view, policy, set, keys, options, loader, signal)
      }
    }
  }

  async setMany (values, options) {
    const view = this.#view
    const { index } = view.policyOf(options)
    const { keys, data } = entries(values, { view, options })
    for (const key of keys) checkKey(key)
    await view.start((native, number) => native.setMany(keys, data, index, number))
  }

  async warm (keys, options, loader) {
    if (loader === undefined) {
      loader = options
      options = undefined
    }
    const { batch, parallel, progress, ...rest } = options ?? {}
    const loading = this.#manyLoader('warm', rest, loader)
    return warm(keys, { batch, parallel, progress }, list => loading.fetch(list))
  }

  async write (keys, options, writer) {
    if (writer === undefined) {
      writer = options
      options = undefined
    }
    if (typeof writer !== 'function') {
      throw new MisuseError(`write(keys, [options,] writer): the writer must be a function, not ${show(writer)}`)
    }
    const list = Array.isArray(keys) ? [...keys] : [keys]
    for (const key of list) checkKey(key)
    const { notWritten, ...rest } = options ?? {}
    if (notWritten !== undefined && typeof notWritten !== 'function') {
      throw new OptionError(`notWritten: ${show(notWritten)} is not a function`)
    }
    const { policy: { index }, set } = this.#tagged(options === undefined ? undefined : rest)
    const request = await this.#view.start((native, number) => native.write(list, index, number, set), rest)
    const end = request.wait()
    const result = await runWriter(request, list, writer, notWritten)
    succeeded(await end)
    return result
  }

  async explain (key, options) {
    checkKey(key)
    const { index } = this.#view.policyOf(options)
    const { value } = await this.#view.start((native, number) => native.explain(key, index, number))
    return JSON.parse(value)
  }

  namespace (name, options) {
    if (typeof name !== 'string') throw new OptionError(`namespace: ${show(name)} is not a string`)
    const view = this.#view
    const policy = view.policyOf({ ...options, namespace: name })
    return new Pond(new View(view.core, policy, options, view), this.#root ?? this)
  }

  cached (fn, options) {
    if (typeof fn !== 'function') throw new MisuseError(`cached(fn, options): fn must be a function, not ${show(fn)}`)
    if (typeof options !== 'object' || options === null) {
      throw new OptionError(`cached(fn, options): ${show(options)} is not an object of options`)
    }
    const { key: pattern, tags, ...rest } = options
    const keyOf = keyMaker(pattern, fn)
    this.#view.policyOf(rest) // what is wrong with the options is said here and now
    const pond = this
    const withTags = { ...rest, tags }
    const computed = typeof tags === 'function'
    if (!computed) this.#tagged(withTags)
    const optionsOf = computed ? (self, args) => ({ ...rest, tags: tags.apply(self, args) }) : () => withTags
    function cached (...args) {
      try {
        return pond.fetch(keyOf(this, args), optionsOf(this, args), () => fn.apply(this, args))
      } catch (error) {
        return Promise.reject(error)
      }
    }
    // `this` is the function itself in f.key(1), and what was asked for in f.key.call(object, 1)
    const receiver = self => self === cached ? undefined : self
    return Object.defineProperties(cached, {
      name: { value: fn.name },
      length: { value: fn.length },
      key: { value: function key (...args) { return keyOf(receiver(this), args) } },
      invalidate: {
        value: async function invalidate (...args) { await pond.invalidate(keyOf(receiver(this), args), rest) }
      }
    })
  }

  store (collection) {
    return new Store(this.#view, collection)
  }

  collection (name, options) {
    return new Collection(this.#view, name, options)
  }

  stats () {
    try {
      return JSON.parse(this.#view.core.native.stats())
    } catch (error) {
      throw fromAddon(error)
    }
  }

  stat (counter, namespace = this.#root && this.#view.policy.namespace) {
    if (typeof counter !== 'string') throw new OptionError(`stat(counter): ${show(counter)} is not a string`)
    if (namespace !== undefined && typeof namespace !== 'string') {
      throw new OptionError(`stat(counter, namespace): ${show(namespace)} is not a string`)
    }
    try {
      return this.#view.core.native.stat(counter, namespace)
    } catch (error) {
      throw fromAddon(error)
    }
  }

  metrics () {
    try {
      return this.#view.core.native.metrics()
    } catch (error) {
      throw fromAddon(error)
    }
  }

  async processes () {
    const { value } = await this.#view.start((native, number) => native.processes(number))
    return JSON.parse(value)
  }

  async close (options) {
    const pond = this.#root ?? this
    const timeout = patience('close', options)
    pond.#closing ??= pond.#close(timeout)
    return pond.#closing
  }

  async #close (timeout) {
    const { core } = this.#view
    const until = Date.now() + timeout
    core.closing = true
    await core.idle(timeout)
    const { pending } = core
    const calm = async () => {
      for (let pause = 1; this.stats().calls > pending && Date.now() < until; pause = Math.min(2 * pause, 20)) await sleep(pause)
    }
    await calm() // what no request waits for any more: a cache or a broker that is to be told of a write, a backlog
    core.native.closeStart()
    await calm() // what a worker is in the midst of
    if (core.native.close()) {
      const what = pending > 0 ? `${pending} requests were under way after ${timeout} ms, and were ended` : `not all was told or stored within ${timeout} ms`
      throw new TimeoutError(what)
    }
  }

  [Symbol.asyncDispose] () {
    return this.close()
  }
}

/** Opens a pond. Nothing is connected yet; a bad address or option is an error here, and opens nothing. */
async function open (cache = 'memory:', options = {}) {
  if (typeof cache !== 'string') throw new OptionError(`open(cache, options): the cache must be an address, not ${show(cache)}`)
  const parsed = parse(options, 'pond')
  if (options.cache !== undefined) throw new OptionError('cache: the address is the first argument of open()')
  if (cache.includes('\0')) throw new OptionError('cache: the address holds U+0000')
  const core = new Core(['cache', cache, ...parsed.pairs])
  const policy = new Policy(core, 0, options.namespace ?? 'default', parsed.absent === 'raise')
  return new Pond(new View(core, policy, parsed))
}

module.exports = { Pond, open }
