#!/usr/bin/env node
// The millpond command: the program that lies beside the addon.
'use strict'

const { spawnSync } = require('node:child_process')
const path = require('node:path')
const { file } = require('./addon.cjs')

const { status, signal, error } = spawnSync(path.join(path.dirname(file), 'millpond'), process.argv.slice(2), { stdio: 'inherit' })
if (error) console.error(`millpond: ${error.message}`)
if (signal) process.kill(process.pid, signal)
process.exitCode = status ?? 1
