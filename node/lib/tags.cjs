// Tags: what values depend on. The core compiles a set of them once; here it is found again by its text.
'use strict'

const { show } = require('./options.cjs')
const { classes: { InvalidKey, OptionError }, fromAddon } = require('./errors.cjs')

// Sets that vary without end (a tag per user) must not fill the memory: then begin anew.
const MANY = 512

function check (tags) {
  if (!Array.isArray(tags)) throw new OptionError(`tags: ${show(tags)} is not an array of strings`)
  for (const tag of tags) {
    if (typeof tag !== 'string') throw new InvalidKey(`tags: ${show(tag)} is not a string`)
    if (tag.includes('\0') || !tag.isWellFormed()) throw new InvalidKey(`tags: ${show(tag)} has U+0000 or a lone surrogate`)
  }
}

class TagSets {
  #native
  #sets = new Map() // namespace and tags -> the core's number

  constructor (native) {
    this.#native = native
  }

  /** The number of the set; 0 is none. */
  of (policy, tags) {
    if (tags === undefined || tags === null) return 0
    check(tags)
    const text = `${policy.namespace}\0${tags.join('\0')}`
    let set = this.#sets.get(text)
    if (set !== undefined) return set
    try {
      set = this.#native.tags(policy.index, [...tags])
    } catch (raw) {
      throw fromAddon(raw)
    }
    if (this.#sets.size >= MANY) {
      for (const old of this.#sets.values()) this.#native.freeTags(old)
      this.#sets.clear()
    }
    this.#sets.set(text, set)
    return set
  }
}

module.exports = { TagSets }
