// AbortSignal: a caller that goes away stops waiting. A loader that runs is not stopped: others may wait for what it gives.
'use strict'

const { show } = require('./options.cjs')
const { classes: { OptionError } } = require('./errors.cjs')

function checkSignal (signal) {
  if (typeof signal !== 'object' || typeof signal.aborted !== 'boolean' || typeof signal.addEventListener !== 'function') {
    throw new OptionError(`signal: ${show(signal)} is not an AbortSignal`)
  }
}

/** What `promise` comes to, or the signal's reason if that is first. */
function unlessAborted (promise, signal) {
  return new Promise((resolve, reject) => {
    const aborted = () => reject(signal.reason)
    const heard = () => signal.removeEventListener('abort', aborted)
    signal.addEventListener('abort', aborted, { once: true })
    promise.finally(heard).then(resolve, reject)
  })
}

module.exports = { checkSignal, unlessAborted }
