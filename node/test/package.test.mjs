// What the package exports, in both module systems, and what its tables promise.
import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import * as esm from 'millpond'

const require = createRequire(import.meta.url)
const cjs = require('millpond')
const generated = require('../lib/generated.cjs')

test('import and require give the same', () => {
  const { default: whole, ...named } = esm
  assert.equal(whole, cjs)
  assert.deepEqual(Object.keys(named).sort(), Object.keys(cjs).sort())
  for (const name of Object.keys(named)) assert.equal(named[name], cjs[name])
})

test('every error code has its class', () => {
  for (const { code, number, className, retriable } of generated.errors) {
    const error = new cjs[className]('a sentence')
    assert.ok(error instanceof cjs.PondError && error instanceof Error)
    assert.deepEqual([error.name, error.code, error.number, error.retriable, error.message],
      [className, `POND_E${code}`, number, retriable, 'a sentence'])
    assert.match(error.stack, new RegExp(`^${className}: a sentence`))
  }
  assert.equal(new cjs.CacheError('no', { retriable: false }).retriable, false)
})

test('the declarations name what is exported', () => {
  const read = name => readFileSync(new URL(`../types/${name}`, import.meta.url), 'utf8')
  const declared = [...(read('millpond.d.ts') + read('generated.d.ts')).matchAll(/export declare (?:class|const|function) (\w+)/g)].map(match => match[1])
  assert.deepEqual(declared.sort(), Object.keys(cjs).sort())
})

test('the version is the package\'s', () => {
  assert.equal(cjs.version, require('../package.json').version)
})

test('NULL is null in JSON, and cannot be changed', () => {
  assert.equal(JSON.stringify({ a: cjs.NULL }), '{"a":null}')
  assert.equal(`${cjs.NULL}`, 'null')
  assert.ok(Object.isFrozen(cjs.NULL))
})

test('Pond is for instanceof, not for new', async t => {
  const pond = await cjs.open()
  t.after(() => pond.close())
  assert.ok(pond instanceof cjs.Pond)
  assert.ok(pond.namespace('n') instanceof cjs.Pond)
  assert.throws(() => new cjs.Pond(), cjs.MisuseError)
})
