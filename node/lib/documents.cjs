// Documents of a store: Extended JSON inside, plain values here where that loses nothing: Dates, and BigInts for integers that
// are beyond 2^53. The way to the store is in values.cjs.
'use strict'

const { randomUUID } = require('node:crypto')
const { classes: { InvalidValue } } = require('./errors.cjs')

const LAST = 8.64e15 // milliseconds from 1970 to the end of what a Date can hold, both ways
const MILLISECONDS = /^-?\d{1,16}$/

/** The Date that { $date: { $numberLong: "ms" } } stands for, or undefined. */
function dateOf (object) {
  const inner = object.$date
  if (typeof inner !== 'object' || inner === null || Object.keys(object).length !== 1) return undefined
  const text = inner.$numberLong
  if (typeof text !== 'string' || !MILLISECONDS.test(text) || Object.keys(inner).length !== 1) return undefined
  const time = Number(text)
  return Math.abs(time) <= LAST ? new Date(time) : undefined
}

/** `value` with Dates in it; what no Date can hold stays an object. */
function withDates (value) {
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) value[i] = withDates(value[i])
    return value
  }
  const date = dateOf(value)
  if (date !== undefined) return date
  for (const name of Object.keys(value)) {
    const member = value[name]
    if (typeof member !== 'object' || member === null) continue
    const made = withDates(member)
    if (made !== member) value[name] = made // a "__proto__" that JSON.parse made is a member like others
  }
  return value
}

// ---- integers ----

const LONG = 16 // digits of 2^53, from where on not every integer is a Number
const MARK = `an integer of ${randomUUID()}: ` // no document has it
const NUMBER = /-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/y
const INTEGER = /^-?\d+$/
const QUOTE = 34
const BACKSLASH = 92
const MINUS = 45

const isDigit = code => code >= 48 && code <= 57

/** Whether LONG digits stand in a row: looks at one character in LONG, and where that is a digit, around it. */
function hasLongInteger (text) {
  for (let i = LONG - 1; i < text.length; i += LONG) {
    if (!isDigit(text.charCodeAt(i))) continue
    let from = i
    let to = i + 1
    while (from > 0 && isDigit(text.charCodeAt(from - 1))) from--
    while (to < text.length && isDigit(text.charCodeAt(to))) to++
    if (to - from >= LONG) return true
  }
  return false
}

function unmark (name, value) {
  return typeof value === 'string' && value.startsWith(MARK) ? BigInt(value.slice(MARK.length)) : value
}

/** JSON.parse, but what is no safe integer is a BigInt. Doubles have a point or an exponent, and are Numbers. */
function parseExactly (text) {
  let marked = ''
  let from = 0
  let quoted = false
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (quoted) {
      if (code === BACKSLASH) i++
      else if (code === QUOTE) quoted = false
    } else if (code === QUOTE) {
      quoted = true
    } else if (code === MINUS || isDigit(code)) {
      NUMBER.lastIndex = i
      const number = NUMBER.exec(text)?.[0] ?? '-' // which is no JSON, as JSON.parse will say
      if (number.length >= LONG && INTEGER.test(number) && !Number.isSafeInteger(Number(number))) {
        marked += `${text.slice(from, i)}"${MARK}${number}"`
        from = i + number.length
      }
      i += number.length - 1
    }
  }
  return JSON.parse(marked + text.slice(from), unmark)
}

/** A document, a page: its text as plain values. Only a text that has the word in it is walked, and looking for one character
 * first is many times cheaper than looking for the word. */
function fromStore (text) {
  let value
  try {
    value = hasLongInteger(text) ? parseExactly(text) : JSON.parse(text)
  } catch (error) {
    throw new InvalidValue(`what came of the store is not JSON: ${error.message}`, { cause: error })
  }
  const dollar = text.indexOf('$')
  return dollar > 0 && text.includes('"$date"', dollar - 1) ? withDates(value) : value
}

module.exports = { fromStore }
