'use strict'

const { classes } = require('./errors.cjs')
const { Pond, open } = require('./pond.cjs')
const { NULL } = require('./values.cjs')
const { version } = require('./binding.cjs')

module.exports = { open, Pond, NULL, version, ...classes }
