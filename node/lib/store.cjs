// The store, past the cache: JSON documents by id in one collection. What was cached of them is the caller's to invalidate.
'use strict'

const { show } = require('./options.cjs')
const { fromStore } = require('./documents.cjs')
const { KIND, documentText } = require('./values.cjs')
const { classes: { InvalidKey, InvalidValue, OptionError } } = require('./errors.cjs')

function checkId (id) {
  if (typeof id !== 'string') throw new InvalidKey(`the id must be a string, not ${id === null ? 'null' : typeof id}`)
  if (!id.isWellFormed()) throw new InvalidKey(`the id ${show(id)} has a lone surrogate: it is not Unicode, so it has no UTF-8`)
}

/** A copy, which is nothing but an array of strings. */
function idsOf (ids) {
  if (!Array.isArray(ids)) throw new InvalidKey(`the ids must be an array, not ${typeof ids}`)
  const list = [...ids]
  list.forEach(checkId)
  return list
}

class Store {
  #view
  #name

  constructor (view, name) {
    if (typeof name !== 'string') throw new OptionError(`collection: ${show(name)} is not a string`)
    if (name.includes('\0') || !name.isWellFormed()) throw new OptionError(`collection: ${show(name)} is not a name`)
    this.#view = view
    this.#name = name
  }

  /** Makes the collection if there is none. */
  async create () {
    await this.#view.start((native, number) => native.create(this.#name, number))
  }

  /** The document, or null. */
  async get (id) {
    checkId(id)
    const { kind, value } = await this.#view.start((native, number) => native.get(this.#name, id, number))
    return kind === KIND.ABSENT ? null : fromStore(value)
  }

  /** Documents and nulls, in the order of `ids`. */
  async getMany (ids) {
    const list = idsOf(ids)
    const { value } = await this.#view.start((native, number) => native.getMany(this.#name, list, number))
    return value.map(text => text === null ? null : fromStore(text))
  }

  /** Inserts or replaces. */
  async put (id, document) {
    checkId(id)
    if (document === undefined) throw new InvalidValue('the document must be an object, not undefined')
    const text = documentText(document)
    await this.#view.start((native, number) => native.put(this.#name, id, text, number))
  }

  /** Says whether there was one. */
  async delete (id) {
    checkId(id)
    const { kind } = await this.#view.start((native, number) => native.remove(this.#name, id, number))
    return kind === KIND.OK
  }
}

module.exports = { Store, checkId, idsOf }
