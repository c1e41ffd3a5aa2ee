// Changes of documents: what create, replace, update and delete hand to the core, and how a validation is asked.
'use strict'

const { succeeded } = require('./view.cjs')
const { fromStore } = require('./documents.cjs')
const { show } = require('./options.cjs')
const { KIND, documentText } = require('./values.cjs')
const { classes: { InvalidValue, OptionError, ValidationError } } = require('./errors.cjs')

const CHANGE = { CREATE: 1, REPLACE: 2, UPDATE: 3, DELETE: 4 } // enum pond_change_kind

const EVENT = { 1: 'created', 2: 'updated', 3: 'updated', 4: 'deleted' }

/** Takes the functions out of a collection's options -> { validate, onChange, rest: the others }. */
function functionsOf (options) {
  if (typeof options !== 'object' || options === null) return { rest: options }
  const { validate, onChange, ...rest } = options
  for (const [name, value] of Object.entries({ validate, onChange })) {
    if (value !== undefined && value !== null && typeof value !== 'function') throw new OptionError(`${name}: ${show(value)} is not a function`)
  }
  return { validate: validate ?? undefined, onChange: onChange ?? undefined, rest }
}

/** What was thrown, whatever it is. */
function told (error) {
  try {
    return String(error?.stack ?? error)
  } catch {
    return `${typeof error} that says nothing of itself`
  }
}

/** The change has been made: who made it is not to be told otherwise, whatever becomes of this. */
async function tell (onChange, collection, kind, id, document) {
  try {
    await onChange({ event: EVENT[kind], collection, id, document: document ?? null })
  } catch (error) {
    process.emitWarning(`onChange of the collection ${JSON.stringify(collection)} failed: ${told(error)}`, 'MillpondWarning')
  }
}

function textOf (document) {
  if (document === undefined) throw new InvalidValue('the document must be an object, not undefined')
  return documentText(document)
}

/** Asks the validation about the document of a request that stopped there; throws what it throws. */
async function judge (request, validate) {
  const { view: { core: { native } }, task } = request
  const next = request.wait()
  try {
    if (await validate(fromStore(request.value)) === false) {
      throw new ValidationError(`${validate.name || 'the validation'} rejected the document`)
    }
  } catch (error) {
    native.checkFail(task)
    await next // it has ended with that, and nothing was touched
    throw error
  }
  native.checkPass(task)
  succeeded(await next)
}

/** One change of `collection` (the core's): the document as it is then, or undefined of one that was deleted. `text` is empty for DELETE.
 * The validation is asked again if somebody else has changed meanwhile what an update changes. */
async function change (view, collection, kind, id, text, validate) {
  const checked = validate !== undefined && kind !== CHANGE.DELETE ? 1 : 0
  const request = await view.start((native, number) => native.change(collection, kind, id, text, checked, number))
  while (request.kind === KIND.CHECK) await judge(request, validate)
  return request.kind === KIND.OK ? undefined : fromStore(request.value)
}

module.exports = { CHANGE, change, functionsOf, tell, textOf }
