// The digest that test_query.c holds its spelling of doubles against: run `node tests/c/number_digest.mjs` and compare.
// The same doubles are made here and there: SplitMix64 as bit patterns, and decimals of few digits around every power of ten.
import { createHash } from 'node:crypto'

const view = new DataView(new ArrayBuffer(8))
const mask = (1n << 64n) - 1n
let state = 0n
function random() {
  state = (state + 0x9e3779b97f4a7c15n) & mask
  let z = state
  z = ((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n) & mask
  z = ((z ^ (z >> 27n)) * 0x94d049bb133111ebn) & mask
  return z ^ (z >> 31n)
}

const hash = createHash('sha256')
let count = 0
function add(number) {
  // whole numbers within int64 are spelled with all their digits, which is not JavaScript's way
  if (!Number.isFinite(number) || (Number.isInteger(number) && Math.abs(number) < 2 ** 63)) return
  hash.update(String(number) + '\n')
  count++
}
for (let i = 0; i < 40000; i++) {
  view.setBigUint64(0, random())
  add(view.getFloat64(0))
}
for (let exponent = -324; exponent <= 308; exponent++) {
  for (let i = 0; i < 16; i++) add(Number(`${random() % 100000n}e${exponent}`))
}
console.log(count, hash.digest('hex'))
