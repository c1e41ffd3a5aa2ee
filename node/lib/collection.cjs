// Collections: documents by id and pages of queries, out of the store and through the cache.
'use strict'

const { CHANGE, change, functionsOf, tell, textOf } = require('./changing.cjs')
const { Request } = require('./core.cjs')
const { DeadLetters } = require('./dead.cjs')
const { succeeded } = require('./view.cjs')
const { checkId, idsOf } = require('./store.cjs')
const { fromStore } = require('./documents.cjs')
const { parse, inOurNames, patience, show } = require('./options.cjs')
const { toCore } = require('./query.cjs')
const { KIND } = require('./values.cjs')
const { classes: { Absent, InvalidValue, OptionError }, fromAddon } = require('./errors.cjs')

const RAISE = { null: false, raise: true }

function pageOf (request) {
  return fromStore(succeeded(request).value)
}

class Collection {
  #view
  #name
  #index // the core's collection
  #raise
  #validate
  #onChange

  constructor (view, name, options = {}) {
    if (typeof name !== 'string') throw new OptionError(`collection: ${show(name)} is not a string`)
    if (name.includes('\0') || !name.isWellFormed()) throw new OptionError(`collection: ${show(name)} is not a name`)
    const { validate, onChange, rest } = functionsOf(options)
    const { pairs, absent } = parse(rest, 'collection')
    const { core, policy } = view
    try {
      this.#index = core.native.collection(name, [...policy.pairs, ...pairs])
    } catch (raw) {
      throw inOurNames(fromAddon(raw))
    }
    core.collections.register(this, this.#index)
    this.#view = view
    this.#name = name
    this.#validate = validate
    this.#onChange = onChange
    this.#raise = absent === undefined ? policy.raise : RAISE[absent]
  }

  /** Makes the table and the declared indexes, where they are missing. */
  async prepare () {
    await this.#view.start((native, number) => native.prepare(this.#index, number))
  }

  /** Written behind: waits until all that was accepted before, by any process, is in the store. */
  async flush (options) {
    const timeout = patience('flush', options)
    await this.#view.start((native, number) => native.flush(this.#index, timeout, number))
  }

  /** Written behind: adds a whole number to a member of a document. */
  async increment (id, field, by = 1) {
    checkId(id)
    if (typeof field !== 'string') throw new InvalidValue(`increment: the field is the name of a member, not ${show(field)}`)
    if (typeof by === 'bigint') by = Number(by) // one that no Number holds exactly is too large for the core, too
    if (!Number.isInteger(by)) throw new InvalidValue(`increment: by: ${show(by)} is no whole number`)
    await this.#view.start((native, number) => native.increment(this.#index, id, field, by, number))
  }

  /** Written behind: what the store would not have. */
  get deadLetters () {
    return new DeadLetters(async (act, letter, most) => {
      const { value } = await this.#view.start((native, number) => native.deadLetters(this.#index, act, letter, most, number))
      return value
    })
  }

  /** A call that may answer at once: `call(native, number)`, which runs no code of the program's, and what is made of a kind and its value. */
  #ask (call, make) {
    const view = this.#view
    const { core } = view
    try {
      core.refuseIfClosing()
      const value = call(core.native, core.next)
      if (value !== undefined) return Promise.resolve(make({ kind: core.kindNow, value }))
      const request = new Request(view, view.policy, undefined, undefined, undefined)
      core.began(request)
      return request.wait().then(make)
    } catch (error) {
      return Promise.reject(fromAddon(error))
    }
  }

  async get (id, options) {
    checkId(id)
    const raise = this.#raises(options)
    return this.#ask((native, number) => native.document(this.#index, id, number), request => {
      const { kind, value } = succeeded(request)
      if (kind !== KIND.ABSENT) return fromStore(value)
      if (raise) throw new Absent(`there is no ${show(id)} in ${this.#name}`)
      return null
    })
  }

  #raises (options) {
    if (options === undefined) return this.#raise
    if (typeof options !== 'object' || options === null) throw new OptionError(`options: ${show(options)} is not an object of options`)
    for (const name of Object.keys(options)) {
      if (name !== 'absent') throw new OptionError(`unknown option ${JSON.stringify(name)}: get(id, { absent }) has no other; collection() has`)
    }
    const { absent } = options
    if (absent === undefined || absent === null) return this.#raise
    if (!Object.hasOwn(RAISE, absent)) throw new OptionError(`absent: ${show(absent)} is not "null" or "raise"`)
    return RAISE[absent]
  }

  /** Documents and nulls, in the order of `ids`. */
  async getMany (ids) {
    const list = idsOf(ids)
    const { value } = await this.#view.start((native, number) => native.documents(this.#index, list, number))
    return value.map(text => text === null ? null : fromStore(text))
  }

  /** A page. */
  find (query = {}) {
    let form, text
    try {
      ({ form, text } = toCore(query)) // whose getters may call this very pond
    } catch (error) {
      return Promise.reject(error)
    }
    return this.#ask((native, number) => native.find(this.#index, form, text, number), pageOf)
  }

  /** How a query is understood. */
  async explain (query = {}) {
    const { form, text } = toCore(query)
    const { value } = await this.#view.start((native, number) => native.explainFind(this.#index, form, text, number))
    return JSON.parse(value)
  }

  async #change (kind, id, text) {
    const made = await change(this.#view, this.#index, kind, id, text, this.#validate)
    if (this.#onChange !== undefined) await tell(this.#onChange, this.#name, kind, made?.id ?? id, made)
    return made
  }

  /** Writes a document that is not there yet; its id is its `id`, or one is made. */
  async create (document) {
    return this.#change(CHANGE.CREATE, null, textOf(document))
  }

  /** Writes the whole of a document that is there. */
  async replace (id, document) {
    checkId(id)
    return this.#change(CHANGE.REPLACE, id, textOf(document))
  }

  /** Changes some members: a JSON merge patch (RFC 7386). */
  async update (id, patch) {
    checkId(id)
    return this.#change(CHANGE.UPDATE, id, textOf(patch))
  }

  async delete (id) {
    checkId(id)
    await this.#change(CHANGE.DELETE, id, '')
  }

  /** Drops the cached documents, and all pages. */
  async invalidate (ids) {
    const list = idsOf(Array.isArray(ids) ? ids : [ids])
    await this.#view.start((native, number) => native.invalidateDocuments(this.#index, list, number))
  }
}

module.exports = { Collection }
