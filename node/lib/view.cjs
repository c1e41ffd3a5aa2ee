// A view is what a pond, or a namespace of it, is inside: the core, a policy, and the functions among its options.
'use strict'

const { Request } = require('./core.cjs')
const { KIND } = require('./values.cjs')
const { classes: { InvalidValue }, fromAddon } = require('./errors.cjs')

/** The error that a request ended with. */
function failure ({ value }) {
  // the addon delivers an error with no value only where V8 could not make the string
  return value === undefined ? new InvalidValue('the value is too large for a JavaScript string') : fromAddon(value)
}

function succeeded (request) {
  if (request.kind === KIND.ERROR) throw failure(request)
  return request
}

class View {
  constructor (core, policy, functions, outer) {
    this.core = core
    this.policy = policy
    this.shouldCache = functions?.shouldCache ?? outer?.shouldCache
    this.encode = functions?.encode ?? outer?.encode
    this.decode = functions?.decode ?? outer?.decode
  }

  policyOf (options) {
    return options === undefined ? this.policy : this.policy.derive(options)
  }

  /** Starts what cannot be answered at once, with `call(native, number)`, which runs no code of the program's: that might start another
   * call under the same number. Resolves with the request when it is done, or when a write or check is asked for. `options`: those of
   * its values. */
  async start (call, options) {
    const { core } = this
    core.refuseIfClosing()
    try {
      call(core.native, core.next)
    } catch (error) {
      throw fromAddon(error)
    }
    const request = new Request(this, this.policy, undefined, options, undefined)
    core.began(request)
    return succeeded(await request.wait())
  }
}

module.exports = { View, failure, succeeded }
