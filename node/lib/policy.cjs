// Policies: the options of a call, checked and compiled by the core once. A policy finds those derived from it by walking
// the options of the call, so that a fresh `{ ttl: '5m' }` on every call costs a few map look-ups and builds no text.
'use strict'

const { parse, inOurNames, show } = require('./options.cjs')
const { classes: { OptionError }, fromAddon } = require('./errors.cjs')

// Options that vary without end (a ttl computed per call) must not fill the memory: then begin anew.
const MANY = 512

const isFunctionOption = name => name === 'shouldCache' || name === 'encode' || name === 'decode'

class Node {
  policy = undefined
  names = undefined // Map: name -> Map: value -> Node

  step (name, value) {
    return this.names?.get(name)?.get(value)
  }

  grow (name, value) {
    this.names ??= new Map()
    let values = this.names.get(name)
    if (values === undefined) this.names.set(name, values = new Map())
    let node = values.get(value)
    if (node === undefined) values.set(value, node = new Node())
    return node
  }
}

class Policy {
  #root
  #many = 0

  /** `index` is the core's policy (0: the pond's own), `raise`: an absence is an error, `pairs`: what makes it differ from the
   * pond's own. */
  constructor (core, index, namespace, raise, pairs = []) {
    this.core = core
    this.index = index
    this.namespace = namespace
    this.raise = raise
    this.pairs = pairs
    this.#begin()
  }

  #begin () {
    this.#root = new Node()
    this.#root.policy = this
    this.#many = 0
  }

  /** The policy with `options` over this one's. The functions among them are the caller's to read. */
  derive (options) {
    if (typeof options !== 'object' || options === null) {
      throw new OptionError(`options: ${show(options)} is not an object of options`)
    }
    let node = this.#root
    for (const name in options) {
      const value = options[name]
      if (value === undefined || value === null || (typeof value === 'function' && isFunctionOption(name))) continue
      node = node.step(name, value)
      if (node === undefined) return this.#compile(options)
    }
    return node.policy ?? this.#compile(options)
  }

  #compile (options) {
    const { pairs, absent } = parse(options, 'policy')
    const { core } = this
    let policy
    try {
      policy = new Policy(core, pairs.length === 0 ? this.index : core.native.policy(this.index, pairs),
        options.namespace ?? this.namespace, absent === undefined ? this.raise : absent === 'raise',
        [...this.pairs, ...pairs])
    } catch (raw) {
      throw inOurNames(fromAddon(raw))
    }
    if (policy.index !== this.index) core.policies.register(policy, policy.index)
    if (++this.#many > MANY) this.#begin()
    let node = this.#root
    for (const name in options) {
      const value = options[name]
      if (value === undefined || value === null || (typeof value === 'function' && isFunctionOption(name))) continue
      node = node.grow(name, value)
    }
    node.policy = policy
    return policy
  }
}

module.exports = { Policy }
