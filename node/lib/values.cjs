// Values: what a loader may give, as the text or bytes that are stored, and back. What JSON would change without a word, or
// cannot hold, is an error that names the path.
'use strict'

const { randomUUID } = require('node:crypto')
const { types } = require('node:util')
const { classes: { InvalidValue } } = require('./errors.cjs')
const { KIND } = require('./generated.cjs')

/** A null that is data: a loader that gives it has found something, and what it found is null. It is a null in JSON too. */
const NULL = Object.freeze(Object.create(null, {
  toJSON: { value: () => null },
  toString: { value: () => 'null' },
  [Symbol.toStringTag]: { value: 'millpond.NULL' }
}))

const IDENTIFIER = /^[\p{ID_Start}$_][\p{ID_Continue}$]*$/u

/** ['users', 1, 'created'] -> "users[1].created" */
function pathText (path) {
  let text = ''
  for (const step of path) {
    if (typeof step === 'number') text += `[${step}]`
    else if (!IDENTIFIER.test(step)) text += `[${JSON.stringify(step)}]`
    else text += text ? `.${step}` : step
  }
  return text
}

function refuse (path, what, hint) {
  throw new InvalidValue(`${pathText(path) || 'the value'}: ${what}${hint ? `: ${hint}` : ', which JSON cannot hold'}`)
}

const CHANGED = 'JSON would change it without a word; convert it in encode'

/** What an object is, if JSON would not give it back. */
function strange (value) {
  const prototype = Object.getPrototypeOf(value)
  if (prototype === Object.prototype || prototype === Array.prototype || prototype === null) return null
  if (types.isDate(value)) return 'Date'
  if (types.isMap(value)) return 'Map'
  if (types.isSet(value)) return 'Set'
  if (types.isRegExp(value)) return 'RegExp'
  if (types.isPromise(value)) return 'Promise'
  if (types.isNativeError(value)) return 'Error'
  if (types.isWeakMap(value)) return 'WeakMap'
  if (types.isWeakSet(value)) return 'WeakSet'
  if (types.isBoxedPrimitive(value)) return `boxed ${typeof value.valueOf()}`
  if (ArrayBuffer.isView(value)) return value.constructor?.name ?? 'ArrayBufferView'
  if (types.isAnyArrayBuffer(value)) return 'ArrayBuffer'
  return types.isGeneratorObject(value) ? 'Generator' : null
}

/** Throws if `value` would not come back from JSON as it is. `path` leads to it, `above` holds the objects around it. `special`,
 * if there is one, is a document's: Dates and BigInts are fine there, and it says whether there are some, or Numbers that must not
 * look like integers. */
function check (value, path, above, special) {
  switch (typeof value) {
    case 'string':
      if (!value.isWellFormed()) refuse(path, 'text with a lone surrogate', 'it is not Unicode, so it has no UTF-8')
      return
    case 'number':
      if (!Number.isFinite(value)) refuse(path, String(value))
      if (special !== undefined && isLargeDouble(value)) special.numbers = true
      return
    case 'bigint':
      if (special === undefined) refuse(path, 'bigint')
      special.numbers = true
      return
    case 'boolean':
      return
    case 'object':
      if (value !== null) checkObject(value, path, above, special)
      return
    case 'undefined':
      return refuse(path, 'undefined', 'JSON would make it null; leave it out or say null')
    default:
      return refuse(path, typeof value)
  }
}

function checkObject (value, path, above, special) {
  if (above.includes(value)) refuse(path, 'a value that holds itself')
  const what = strange(value)
  if (what === 'Date' && special !== undefined && path.length > 0) {
    if (Number.isNaN(value.getTime())) refuse(path, 'an invalid Date')
    special.dates = true
    return
  }
  if (what !== null) refuse(path, what, CHANGED)
  if (typeof value.toJSON === 'function') return check(value.toJSON(path.at(-1) ?? ''), path, [...above, value], special)
  const depth = path.length
  above.push(value)
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) {
      path[depth] = i
      check(value[i], path, above, special)
    }
  } else {
    for (const name of Object.keys(value)) {
      const member = value[name]
      if (member === undefined) continue // left out, as JSON does
      path[depth] = name
      if (!name.isWellFormed()) refuse(path, 'a name with a lone surrogate', 'it is not Unicode, so it has no UTF-8')
      check(member, path, above, special)
    }
  }
  path.length = depth
  above.pop()
}

/** The JSON text of anything that JSON can hold. */
function toJson (value, special) {
  try {
    check(value, [], [], special)
    const text = JSON.stringify(value, special?.dates || special?.numbers ? storeForm : undefined)
    if (text === undefined) refuse([], 'undefined', 'its toJSON gives something else each time')
    return special?.numbers ? text.replaceAll(MARKED, '$1') : text
  } catch (error) {
    if (error instanceof RangeError) throw new InvalidValue('the value is nested too deep', { cause: error })
    throw error
  }
}

// JSON.stringify has no word for these numbers: texts stand for them until it is done.
const MARK = `a number of ${randomUUID()}: `
const MARKED = new RegExp(`"${MARK}([^"]*)"`, 'g')

/** Beyond 2^53 a Number is a double, and would be spelled like an integer. */
function isLargeDouble (value) {
  return Number.isInteger(value) && !Number.isSafeInteger(value)
}

/** Writes Dates and numbers as stores keep them. What has a toJSON (Dates, and BigInts in some programs) is a text before JSON
 * asks here, but for what a toJSON gave. */
function storeForm (name, value) {
  const own = this[name]
  const found = types.isDate(own) || typeof own === 'bigint' ? own : value
  if (typeof found === 'bigint') return `${MARK}${found}`
  if (typeof found === 'number') return isLargeDouble(found) ? `${MARK}${found.toExponential()}` : found
  return types.isDate(found) ? { $date: { $numberLong: String(found.getTime()) } } : found
}

/** The JSON text of a document: JSON, Dates, and BigInts for integers beyond 2^53. */
function documentText (document) {
  return toJson(document, { dates: false, numbers: false })
}

/** -> { kind, data } of a value that is neither null nor undefined. */
function encode (value) {
  if (typeof value === 'string') {
    if (!value.isWellFormed()) throw new InvalidValue('the text has a lone surrogate: it is not Unicode, so it has no UTF-8')
    return { kind: KIND.TEXT, data: value }
  }
  if (value instanceof Uint8Array) return { kind: KIND.BYTES, data: value }
  return { kind: KIND.JSON, data: toJson(value) }
}

/** The value of a JSON text. */
function decode (text) {
  const value = JSON.parse(text)
  return value === null ? NULL : value
}

module.exports = { KIND, NULL, encode, decode, toJson, documentText, pathText, strange }
