import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import vm from 'node:vm'
import { test } from 'node:test'

const { encode, decode, toJson, NULL, KIND } = createRequire(import.meta.url)('../lib/values.cjs')

const circular = { a: {} }
circular.a.b = [circular]
const refused = [
  ['a date', { user: { created: new Date(0) } }, 'user.created: Date'],
  ['a date in an array', { users: [1, { created: new Date(0) }] }, 'users[1].created: Date'],
  ['a date by itself', new Date(0), 'the value: Date'],
  ['a date of another realm', { a: vm.runInNewContext('new Date(0)') }, 'a: Date'],
  ['a subclass of Date', { a: new (class Day extends Date {})(0) }, 'a: Date'],
  ['a map', { a: new Map() }, 'a: Map'],
  ['a set', new Set(), 'the value: Set'],
  ['a regular expression', { a: /x/ }, 'a: RegExp'],
  ['an error', { a: new Error('x') }, 'a: Error'],
  ['a promise', { a: Promise.resolve() }, 'a: Promise'],
  ['a boxed number', { a: Object(5) }, 'a: boxed number'],
  ['bytes inside', { user: { photo: Buffer.alloc(1) } }, 'user.photo: Buffer'],
  ['a typed array', new Float64Array(1), 'the value: Float64Array'],
  ['an array buffer', { a: new ArrayBuffer(1) }, 'a: ArrayBuffer'],
  ['a BigInt', { user: { votes: 1n } }, 'user.votes: bigint'],
  ['a function', { 'on click': () => {} }, '["on click"]: function'],
  ['a symbol', [Symbol('x')], '[0]: symbol'],
  ['NaN', { score: NaN }, 'score: NaN'],
  ['infinity', { scores: [0, -Infinity] }, 'scores[1]: -Infinity'],
  ['undefined in an array', { a: [1, undefined] }, 'a[1]: undefined'],
  ['a hole in an array', { a: [1, , 2] }, 'a[1]: undefined'], // eslint-disable-line no-sparse-arrays
  ['a lone surrogate in a text', { user: { name: 'x\udcff' } }, 'user.name: text with a lone surrogate'],
  ['a lone surrogate in a name', { '\udcff': 1 }, 'a name with a lone surrogate'],
  ['a value that holds itself', circular, 'a.b[0]: a value that holds itself'],
  ['a toJSON that gives a date', { a: { toJSON: () => ({ b: new Date(0) }) } }, 'a.b: Date'],
  ['a toJSON that gives nothing', { a: { toJSON () {} } }, 'a: undefined'],
  ['a lone surrogate by itself', '\ud800', 'lone surrogate']
]
for (const [name, value, says] of refused) {
  test(`refused: ${name}`, () => {
    assert.throws(() => encode(value), error => {
      assert.equal(error.code, 'POND_EVALUE')
      assert.ok(error.message.includes(says), error.message)
      return true
    })
  })
}

test('nesting without end', () => {
  let deep = []
  for (let i = 0; i < 200_000; i++) deep = [deep]
  assert.throws(() => encode(deep), { code: 'POND_EVALUE', message: /too deep/ })
})

test('what a getter or toJSON throws goes to the caller', () => {
  const error = new Error('mine')
  assert.throws(() => encode({ get a () { throw error } }), thrown => thrown === error)
})

test('what JSON holds is stored as JSON has it', () => {
  class Point { constructor () { this.x = 1 } }
  const shared = { s: 1 }
  const cases = [
    [{ a: 1, b: undefined, c: null }, '{"a":1,"c":null}'],
    [Object.create(null), '{}'],
    [new Point(), '{"x":1}'],
    [[shared, shared, { again: shared }], '[{"s":1},{"s":1},{"again":{"s":1}}]'],
    [{ a: { toJSON: key => `was ${key}` } }, '{"a":"was a"}'],
    [[{ toJSON: key => key }], '["0"]'],
    [{ a: NULL }, '{"a":null}'],
    [NULL, 'null'],
    [{ constructor: 1, toString: 'x', length: 0 }, '{"constructor":1,"toString":"x","length":0}'],
    [JSON.parse('{"__proto__": {"a": 1}}'), '{"__proto__":{"a":1}}'],
    [vm.runInNewContext('({ a: [1, { b: 2 }] })'), '{"a":[1,{"b":2}]}'],
    [true, 'true'], [0, '0'], [5e-324, '5e-324']
  ]
  for (const [value, text] of cases) {
    assert.deepEqual(encode(value), { kind: KIND.JSON, data: text })
    assert.equal(toJson(value), text)
  }
  assert.equal(decode('null'), NULL)
  assert.deepEqual(decode('{"a":null}'), { a: null })
})

test('text and bytes are stored as they are', () => {
  const bytes = new Uint8Array([1, 2])
  assert.deepEqual(encode('{"a": 1}'), { kind: KIND.TEXT, data: '{"a": 1}' })
  assert.deepEqual(encode(bytes), { kind: KIND.BYTES, data: bytes })
})
