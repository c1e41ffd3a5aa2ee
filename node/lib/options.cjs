// Options: names as JavaScript writes them (negativeTtl), checked and turned into the core's pairs of texts; and policies,
// the options of a call compiled once.
'use strict'

const { options: TABLE } = require('./generated.cjs')
const { classes: { OptionError, PondError } } = require('./errors.cjs')

const ROWS = new Map(TABLE.map(row => [row.name, row]))
// Options that stay in JavaScript.
const FUNCTIONS = ['shouldCache', 'encode', 'decode']
const ABSENT = ['null', 'raise']
// What the core keeps as text, so that 'not given' differs from every value: lists of fields, and numbers.
const isList = ({ type, range }) => type === 'text' && range.startsWith('names with commas')
const isNumber = ({ type, range }) => type === 'text' && /^\d+\.\.\d+$/.test(range)

/** The known name that is nearest to a mistyped one, or undefined. */
function nearest (name, names) {
  const plain = text => text.toLowerCase().replaceAll(/[_-]/g, '')
  let best
  let least = Math.max(2, name.length / 3)
  for (const candidate of names) {
    const distance = edits(plain(name), plain(candidate))
    if (distance < least) [best, least] = [candidate, distance]
  }
  return best
}

function edits (a, b) {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let k = 1; k <= b.length; k++) {
      next.push(Math.min(next[k - 1] + 1, row[k] + 1, row[k - 1] + (a[i - 1] === b[k - 1] ? 0 : 1)))
    }
    row = next
  }
  return row[b.length]
}

function show (value) {
  return typeof value === 'string' ? JSON.stringify(value) : typeof value === 'object' ? 'an object' : String(value)
}

/** Whether a row of the table is an option of `scope`: "pond", "policy" or "collection". */
function fits (row, scope) {
  return row.scope === 'both' || row.scope === scope
}

function unknown (name, scope) {
  const place = scope === 'pond' ? 'open()' : scope === 'collection' ? 'a collection' : 'a call or namespace'
  if (ROWS.has(name)) {
    const home = ROWS.get(name).scope === 'collection' ? 'collection()' : 'open()'
    throw new OptionError(`${name} is an option of ${home}, not of ${place}`)
  }
  if (FUNCTIONS.includes(name)) throw new OptionError(`${name} is no option of ${place}: its documents come from the store`)
  const names = ['absent', ...(scope === 'collection' ? [] : FUNCTIONS), ...TABLE.filter(row => fits(row, scope)).map(row => row.name)]
  const near = nearest(name, names)
  throw new OptionError(`unknown option ${JSON.stringify(name)}${near ? `: did you mean ${near}?` : ''}`)
}

/** The text that the core is given for a list of fields. An empty text is 'not given' to it, which means every field; a blank
 * is a list without names. */
function list ({ name }, value) {
  if (!Array.isArray(value)) return value === '' && name !== 'indexes' ? ' ' : value
  for (const field of value) {
    if (typeof field !== 'string') throw new OptionError(`${name}: ${show(field)} is not the name of a field`)
    if (field === '' || field.includes(',')) throw new OptionError(`${name}: ${show(field)} is no name that a field can have`)
  }
  return value.join(',') || (name === 'indexes' ? '' : ' ')
}

/** The text that the core is given for a value. */
function text (row, value) {
  const { name, type } = row
  if (isList(row)) value = list(row, value)
  switch (typeof value) {
    case 'number': {
      if ((type === 'text' && !isNumber(row)) || type === 'choice' || type === 'switch') break
      if (!Number.isInteger(value)) {
        throw new OptionError(`${name}: ${value} is no whole number${type === 'duration' ? ' of milliseconds' : ''}`)
      }
      return String(BigInt(value))
    }
    case 'boolean':
      if (type === 'switch') return value ? 'on' : 'off'
      break
    case 'string':
      if (value.includes('\0')) throw new OptionError(`${name}: ${show(value)} holds U+0000`)
      if (!value.isWellFormed()) throw new OptionError(`${name}: ${show(value)} has a lone surrogate, so it has no UTF-8`)
      return value
  }
  const takes = { text: isList(row) ? 'an array of fields' : isNumber(row) ? 'a number' : 'a string', choice: 'a string', switch: 'true or false', duration: 'milliseconds or a string such as "5m"' }
  throw new OptionError(`${name}: ${show(value)} is not ${takes[type] ?? 'a number or a string'}`)
}

/** The core names options its own way; people read the name that they wrote. */
function inOurNames (error) {
  if (error instanceof PondError) {
    for (const { name, core } of TABLE) {
      if (name !== core) error.message = error.message.replaceAll(new RegExp(`\\b${core}\\b`, 'g'), name)
    }
  }
  return error
}

/** Checks an options object -> { pairs for the core, shouldCache, encode, decode, absent }. */
function parse (options, scope) {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw new OptionError(`options: ${show(options)} is not an object of options`)
  }
  const parsed = { pairs: [], shouldCache: undefined, encode: undefined, decode: undefined, absent: undefined }
  for (const name of Object.keys(options)) {
    const value = options[name]
    if (value === undefined || value === null) continue
    if (FUNCTIONS.includes(name) && scope !== 'collection') {
      if (typeof value !== 'function') throw new OptionError(`${name}: ${show(value)} is not a function`)
      parsed[name] = value
    } else if (name === 'absent') {
      if (!ABSENT.includes(value)) throw new OptionError(`absent: ${show(value)} is not "null" or "raise"`)
      parsed.absent = value
    } else {
      const row = ROWS.get(name)
      if (row === undefined || !fits(row, scope)) unknown(name, scope)
      parsed.pairs.push(row.core, text(row, value))
    }
  }
  return parsed
}

const UNITS = { '': 1, ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** A duration that stays in JavaScript: 250, "250ms", "30s", "5m"... -> milliseconds. */
function milliseconds (name, value) {
  const [, number, unit] = /^(\d{1,15})(ms|s|m|h|d|)$/.exec(typeof value === 'number' ? String(value) : value) ?? []
  if (number === undefined) throw new OptionError(`${name}: ${show(value)} is no duration: write milliseconds or "30s"`)
  return Math.min(Number(number) * UNITS[unit], 2 ** 31 - 1)
}

/** The milliseconds of a call that takes { timeout }, and nothing else. */
function patience (call, options = {}) {
  if (typeof options !== 'object' || options === null) throw new OptionError(`${call}: ${show(options)} is not an object of options: write { timeout: '30s' }`)
  for (const name of Object.keys(options)) {
    if (name !== 'timeout') throw new OptionError(`unknown option ${JSON.stringify(name)}: ${call}({ timeout }) has no other`)
  }
  return milliseconds('timeout', options.timeout ?? '30s')
}

module.exports = { parse, inOurNames, patience, show }
