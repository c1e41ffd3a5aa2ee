// The addon.
'use strict'

module.exports = require(require('./addon.cjs').file)
