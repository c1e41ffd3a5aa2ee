// Writers: running them inside their intents, and telling the core what came of it.
'use strict'

const { messageOf, toStore } = require('./loading.cjs')
const { KIND } = require('./values.cjs')
const { show } = require('./options.cjs')
const { classes: { InvalidKey, MisuseError }, fromAddon } = require('./errors.cjs')

// enum pond_outcome
const NOT_WRITTEN = 2
const UNKNOWN = 3

/** What a writer is handed: it may say what its keys' values are to be once the write is done. */
class Writing {
  #request
  #keys
  #open = true

  constructor (request, keys) {
    this.#request = request
    this.#keys = keys
  }

  /** Caches `value` under `key` if nobody else was writing it; null and undefined: there is no such thing any more. */
  set (key, value) {
    const i = this.#keys.indexOf(key)
    if (i < 0) throw new InvalidKey(`set(key, value): ${show(key)} is not a key of this write`)
    if (!this.#open) throw new MisuseError('set(key, value): the writer has ended already')
    const { view: { core: { native } }, task } = this.#request
    const { kind, data } = toStore(this.#request, value) ?? { kind: KIND.ABSENT, data: undefined }
    try {
      native.writingValue(task, i, kind, data)
    } catch (raw) {
      throw fromAddon(raw)
    }
  }

  /** Nothing more is heard of it. */
  static end (writing) {
    writing.#open = false
  }
}

function outcomeOf (error, notWritten) {
  try {
    return notWritten?.(error) === true ? NOT_WRITTEN : UNKNOWN
  } catch {
    return UNKNOWN
  }
}

/** Runs the writer and says what came of it; resolves with what it gave, or with undefined if it failed: then the request ends with
 * its error. */
async function runWriter (request, keys, writer, notWritten) {
  const { view: { core: { native } }, task } = request
  const writing = new Writing(request, keys)
  let result
  try {
    result = await writer(writing)
    Writing.end(writing)
  } catch (error) {
    Writing.end(writing)
    native.writeFail(task, outcomeOf(error, notWritten), messageOf(error), { error })
    return undefined
  }
  native.writeDone(task)
  return result
}

module.exports = { runWriter }
