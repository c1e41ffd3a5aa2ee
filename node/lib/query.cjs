// Queries on their way to the core, which alone reads them: a query string as it is, an object as JSON text.
'use strict'

const { pathText, strange } = require('./values.cjs')
const { classes: { InvalidQuery } } = require('./errors.cjs')

// enum pond_query_form
const TEXT = 0
const OBJECT = 1

// Above the core's own bounds: what is cut here is refused there, whatever is left out.
const MOST = 65_536 // bytes that a query has at most
const DEEP = 16 // levels, of which a query has a handful

function refuse (reason, path, what) {
  throw new InvalidQuery(`${pathText(path) || 'the query'}: ${what}`, { reason })
}

const SURROGATE = 'text with a lone surrogate, which is not Unicode and has no UTF-8'

/** What an object is if it cannot be read by its members, or null. */
function unreadable (value) {
  const what = strange(value)
  if (what !== null) return what
  if (value instanceof URL) return 'URL (hand over its searchParams)'
  return typeof value[Symbol.iterator] === 'function' ? value.constructor?.name ?? 'iterable' : null
}

/** Writes the JSON text of an object piece by piece, and no more of it than the core would look at. */
class Writer {
  text = ''
  path = []

  get full () {
    return this.text.length > MOST
  }

  string (value) {
    if (!value.isWellFormed()) refuse('bad_encoding', this.path, SURROGATE)
    this.text += JSON.stringify(value.length > MOST ? value.slice(0, MOST) : value)
  }

  date (value) {
    const time = value.getTime()
    const year = value.getUTCFullYear()
    if (Number.isNaN(time)) refuse('bad_value', this.path, 'an invalid Date')
    if (year < 0 || year > 9999) refuse('bad_value', this.path, `a Date in the year ${year}: write { date: milliseconds }`)
    this.text += `"${value.toISOString()}"`
  }

  array (value) {
    const { path } = this
    const depth = path.length
    this.text += '['
    for (let i = 0; i < value.length && !this.full; i++) {
      if (i > 0) this.text += ','
      path[depth] = i
      this.value(value[i])
    }
    path.length = depth
    this.text += ']'
  }

  members (value) {
    const { path } = this
    const depth = path.length
    let first = true
    this.text += '{'
    for (const name of Object.keys(value)) {
      if (this.full) break
      const member = value[name]
      if (member === undefined) continue
      if (!first) this.text += ','
      first = false
      path[depth] = name
      this.string(name)
      this.text += ':'
      this.value(member)
    }
    path.length = depth
    this.text += '}'
  }

  object (value) {
    const { path } = this
    if (value instanceof Date) return this.date(value)
    if (path.length >= DEEP) { // the core refuses what leads here, and a circle ends
      this.text += 'null'
      return
    }
    if (Array.isArray(value)) return this.array(value)
    const what = unreadable(value)
    if (what !== null) refuse('bad_value', path, `${what}, which is no value of a query`)
    // a class's own idea of itself: an ObjectId is its 24 digits
    if (typeof value.toJSON === 'function' && !Object.hasOwn(value, 'toJSON')) {
      path.push('toJSON()')
      this.value(value.toJSON())
      path.pop()
      return
    }
    this.members(value)
  }

  value (value) {
    switch (typeof value) {
      case 'string': return this.string(value)
      case 'number':
        if (!Number.isFinite(value)) refuse('bad_number', this.path, `${value}: no stored number equals it`)
        this.text += String(value)
        return
      case 'bigint':
      case 'boolean':
        this.text += String(value)
        return
      case 'object':
        if (value !== null) return this.object(value)
        this.text += 'null'
        return
      case 'undefined':
        return refuse('bad_value', this.path, 'undefined: leave it out, or say null')
      default:
        return refuse('bad_value', this.path, `a ${typeof value}, which is no value of a query`)
    }
  }
}

/** -> { form, text } */
function toCore (query) {
  if (typeof query === 'string') {
    if (!query.isWellFormed()) refuse('bad_encoding', [], SURROGATE)
    return { form: TEXT, text: query.length > MOST ? query.slice(0, MOST) : query }
  }
  if (query instanceof URLSearchParams) return toCore(String(query))
  if (typeof query !== 'object' || query === null) {
    refuse('bad_value', [], `${query === null ? 'null' : `a ${typeof query}`}, not an object, a query string or URLSearchParams`)
  }
  const writer = new Writer()
  writer.value(query)
  return { form: OBJECT, text: writer.text }
}

module.exports = { toCore }
