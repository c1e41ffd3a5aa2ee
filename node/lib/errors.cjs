// The error classes, made from the core's table (generated.cjs), and the way of an error from the addon to its class.
'use strict'

const { errors } = require('./generated.cjs')

/** The base of every error of Millpond's own. `code` ("POND_ETIMEOUT") and `number` are for machines, the message is for
 * people, `retriable` says whether the same call may succeed later without a change. */
class PondError extends Error {
  constructor (message, { retriable, reason, ...rest } = {}) {
    super(message, rest)
    if (retriable !== undefined && retriable !== this.retriable) this.retriable = retriable
    if (reason !== undefined) this.reason = reason // of an InvalidQuery: which rule it broke
  }
}
PondError.prototype.name = 'PondError'

const classes = { PondError }
const byNumber = new Map()
for (const { code, number, className, retriable } of errors) {
  const Class = { [className]: class extends PondError {} }[className]
  Object.assign(Class.prototype, { name: className, code: `POND_E${code}`, number, retriable })
  classes[className] = Class
  byNumber.set(number, Class)
}

/** What the addon throws or delivers is [code, message, retriable, the box of a loader's own error, a query's reason]; anything
 * else is somebody's own error, and stays what it is. */
function fromAddon (raw) {
  if (!Array.isArray(raw)) return raw
  const [number, message, retriable, box, reason] = raw
  if (box !== undefined) return box.error
  const Class = byNumber.get(number) ?? PondError
  return new Class(message, { retriable, reason })
}

module.exports = { classes, fromAddon }
