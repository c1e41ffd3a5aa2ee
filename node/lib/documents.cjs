// Documents of a store: Extended JSON inside, plain values here where that loses nothing, which is to say dates.
'use strict'

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

/** A document, a page: its text as plain values. Only a text that has the word in it is walked, and looking for one character
 * first is many times cheaper than looking for the word. */
function fromStore (text) {
  let value
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw new InvalidValue(`what came of the store is not JSON: ${error.message}`, { cause: error })
  }
  const dollar = text.indexOf('$')
  return dollar > 0 && text.includes('"$date"', dollar - 1) ? withDates(value) : value
}

module.exports = { fromStore }
