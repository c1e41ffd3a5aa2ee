// Dead letters: changes of a collection that is written behind which the store would not have.
'use strict'

const { fromStore } = require('./documents.cjs')
const { show } = require('./options.cjs')
const { classes: { InvalidKey, OptionError } } = require('./errors.cjs')

const ACT = { LIST: 0, SHOW: 1, RETRY: 2, DROP: 3 }

function checkLetter (id) {
  if (typeof id !== 'string') throw new InvalidKey(`the id of a dead letter is a string, not ${show(id)}`)
}

function letterOf ({ id, document_id: documentId, version, at_ms: at, error, state, document, increments }) {
  return { id, documentId, version, at: new Date(at), error, state, document, increments }
}

class DeadLetters {
  #ask

  /** `ask(act, letter, most)` starts the core's call, and resolves with its text. */
  constructor (ask) {
    this.#ask = ask
  }

  /** The oldest `limit` of them, behind the letter `after`. */
  async list (options = {}) {
    if (typeof options !== 'object' || options === null) throw new OptionError(`options: ${show(options)} is not an object of options`)
    for (const name of Object.keys(options)) {
      if (name !== 'after' && name !== 'limit') throw new OptionError(`unknown option ${JSON.stringify(name)}: list({ after, limit }) has no other`)
    }
    const { after, limit = 100 } = options
    if (!Number.isSafeInteger(limit)) throw new OptionError(`limit: ${show(limit)} is not a whole number`)
    if (after !== undefined && after !== null) checkLetter(after)
    const { letters, total, next } = fromStore(await this.#ask(ACT.LIST, after ?? '', limit))
    return { letters: letters.map(letterOf), total, next }
  }

  async get (id) {
    checkLetter(id)
    return letterOf(fromStore(await this.#ask(ACT.SHOW, id, 0)))
  }

  /** It waits for the store again, unless something newer was accepted or stored since. */
  async retry (id) {
    checkLetter(id)
    await this.#ask(ACT.RETRY, id, 0)
  }

  async drop (id) {
    checkLetter(id)
    await this.#ask(ACT.DROP, id, 0)
  }

  /** All of them, oldest first. */
  async * [Symbol.asyncIterator] () {
    for (let after; after !== null;) {
      const found = await this.list({ after })
      yield * found.letters
      after = found.next
    }
  }
}

module.exports = { DeadLetters }
