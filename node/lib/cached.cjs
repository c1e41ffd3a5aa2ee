// The keys of cached functions: "price:{sku}", "price:{0}", or a function of the same arguments.
'use strict'

const { show } = require('./options.cjs')
const { classes: { InvalidKey, OptionError } } = require('./errors.cjs')

/** The names of a function's parameters, as its source has them; undefined for one that is a pattern. */
function parameters (fn) {
  const source = Function.prototype.toString.call(fn).replace(/\/\*[^]*?\*\/|\/\/.*$/gm, '')
  const lone = /^\s*(?:async\s+)?([\p{ID_Start}$_][\p{ID_Continue}$]*)\s*=>/u.exec(source)
  if (lone) return [lone[1]]
  let at = source.indexOf('(')
  if (at < 0 || source.includes('[native code]')) return []
  const names = []
  let depth = 0
  let text = ''
  for (;;) {
    const c = source[at++]
    if (c === undefined) return []
    if (c === ')' && depth === 1) break
    if ('([{'.includes(c) && depth++ === 0) continue
    if (')]}'.includes(c)) depth--
    if (c === ',' && depth === 1) {
      names.push(text)
      text = ''
    } else {
      text += c
    }
  }
  if (text.trim()) names.push(text)
  return names.map(name => /^\s*([\p{ID_Start}$_][\p{ID_Continue}$]*)\s*(?:=|$)/u.exec(name)?.[1])
}

/** The part of a key that an argument gives. */
function part (value, place) {
  switch (typeof value) {
    case 'string':
    case 'boolean':
    case 'bigint':
      return String(value)
    case 'number':
      if (Number.isFinite(value)) return String(value)
  }
  throw new InvalidKey(`key: {${place}} is ${show(value)}: a string, a number or a boolean can stand in a key`)
}

/** One {place}: a position or the name of a parameter, or `this`, and perhaps .members of it -> (self, args) => its text. */
function placeholder (place, names) {
  const [head, ...members] = place.split('.')
  const index = /^\d+$/.test(head) ? Number(head) : names.indexOf(head)
  if (index < 0 && head !== 'this') {
    const known = names.filter(name => name !== undefined)
    throw new OptionError(`key: {${place}} names no parameter${known.length ? ` (there are ${known.join(', ')})` : ''}; ` +
      'write {0}, {1}... or make the key a function')
  }
  return (self, args) => {
    let value = head === 'this' ? self : args[index]
    for (const member of members) value = value?.[member]
    return part(value, place)
  }
}

/** The template's literal texts, and what comes between them. {{ and }} stand for braces. */
function template (text, names) {
  const literals = ['']
  const places = []
  let end = 0
  for (const token of text.matchAll(/\{\{|\}\}|\{([^{}]*)\}|[{}]/g)) {
    literals[literals.length - 1] += text.slice(end, token.index)
    end = token.index + token[0].length
    if (token[0] === '{{' || token[0] === '}}') {
      literals[literals.length - 1] += token[0][0]
    } else if (token[1] === undefined) {
      throw new OptionError(`key: ${show(text)} has a lone ${token[0]}`)
    } else {
      places.push(placeholder(token[1].trim(), names))
      literals.push('')
    }
  }
  literals[literals.length - 1] += text.slice(end)
  return { literals, places }
}

/** -> (self, args) => the key. */
function keyMaker (pattern, fn) {
  if (typeof pattern === 'function') {
    return (self, args) => {
      const key = pattern.apply(self, args)
      if (typeof key !== 'string') throw new InvalidKey(`key: the function gave ${show(key)}, which is not a string`)
      return key
    }
  }
  if (typeof pattern !== 'string') {
    throw new OptionError(`key: ${pattern === undefined ? 'a cached function needs one' : `${show(pattern)} is not a key`}: ` +
      'write "price:{sku}", "price:{0}" or a function of the same arguments')
  }
  const { literals, places } = template(pattern, parameters(fn))
  return (self, args) => {
    let key = literals[0]
    for (let i = 0; i < places.length; i++) key += places[i](self, args) + literals[i + 1]
    return key
  }
}

module.exports = { keyMaker }
