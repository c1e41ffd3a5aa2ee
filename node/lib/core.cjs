// The JavaScript side of the crossing: requests wait here under a number until the addon delivers what became of them, a
// batch in one call.
'use strict'

const { open } = require('./binding.cjs')
const { inOurNames } = require('./options.cjs')
const { TagSets } = require('./tags.cjs')
const { classes: { ClosedError }, fromAddon } = require('./errors.cjs')
const { KIND } = require('./values.cjs')

let resolver
const capture = resolve => { resolver = resolve }

/** A request under way. Its promise resolves with itself, whatever came: what is made of that runs in a `then` of the
 * caller's, and so in the caller's asynchronous context. */
class Request {
  constructor (view, policy, key, options, loader) {
    this.view = view
    this.policy = policy
    this.key = key
    this.options = options
    this.loader = loader
    this.signal = undefined // an AbortSignal that ends the wait
    this.entry = false // a fetch that gives an Entry
    this.kind = 0
    this.value = undefined
    this.task = 0 // the load, write, check or batch that the core asks for
    this.stale = false // the value is past its ttl
    this.resolve = undefined
  }

  wait () {
    const promise = new Promise(capture)
    this.resolve = resolver
    return promise
  }
}

class Core {
  #requests = []
  #spare = []
  #idle = undefined
  next = 0 // the number of the next request
  pending = 0
  closing = false

  constructor (pairs) {
    try {
      this.native = open(pairs, (count, ...values) => this.#deliver(count, values))
    } catch (raw) {
      throw inOurNames(fromAddon(raw))
    }
    this.meta = this.native.meta
    this.policies = new FinalizationRegistry(index => this.native.freePolicy(index))
    this.tags = new TagSets(this.native)
    this.collections = new FinalizationRegistry(index => this.native.freeCollection(index))
  }

  /** The kind of what a call answered at once. */
  get kindNow () {
    return this.meta[this.meta.length - 1]
  }

  refuseIfClosing () {
    if (this.closing) throw new ClosedError('the pond is closed')
  }

  /** `request` went under way as number `next`. */
  began (request) {
    this.#requests[this.next] = request
    this.pending++
    this.next = this.#spare.length === 0 ? this.#requests.length : this.#spare.pop()
  }

  #deliver (count, values) {
    const { meta } = this
    for (let i = 0; i < count; i++) {
      const number = meta[2 * i]
      const flags = meta[2 * i + 1]
      const kind = flags & ~(KIND.STALE | KIND.BEHIND)
      const request = this.#requests[number]
      if (kind === KIND.LOAD || kind === KIND.WRITE) {
        request.task = values[i]
      } else if (kind === KIND.CHECK || kind === KIND.MANY) {
        [request.task, request.value] = values[i] ?? [0] // no memory: it is rejected already
      } else {
        this.#requests[number] = undefined
        this.#spare.push(number)
        this.pending--
        if ((flags & KIND.BEHIND) !== 0) [request.value, request.task] = values[i]
        else request.value = values[i]
        request.stale = (flags & KIND.STALE) !== 0
      }
      request.kind = kind
      request.resolve(request)
    }
    if (this.pending === 0 && this.#idle !== undefined) this.#idle()
  }

  /** Resolves when nothing is under way, or after `timeout` milliseconds. */
  idle (timeout) {
    if (this.pending === 0) return Promise.resolve()
    return new Promise(resolve => {
      const timer = setTimeout(resolve, timeout)
      this.#idle = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }
}

module.exports = { Core, Request }
