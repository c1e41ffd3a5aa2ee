'use strict'

const { classes } = require('./errors.cjs')
const { open } = require('./pond.cjs')
const { NULL } = require('./values.cjs')
const { version } = require('./binding.cjs')

module.exports = { open, NULL, version, ...classes }
