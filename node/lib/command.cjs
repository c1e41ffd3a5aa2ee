#!/usr/bin/env node
// The millpond command: the program that lies beside the addon.
'use strict'

const { spawn } = require('node:child_process')
const path = require('node:path')
const { file } = require('./addon.cjs')

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP']
const child = spawn(path.join(path.dirname(file), 'millpond'), process.argv.slice(2), { stdio: 'inherit' })
for (const signal of SIGNALS) process.on(signal, () => child.kill(signal)) // it ends in its own time, and we with it
child.on('error', error => {
  console.error(`millpond: ${error.message}`)
  process.exitCode = 1
})
child.on('exit', (code, signal) => {
  for (const one of SIGNALS) process.removeAllListeners(one)
  if (signal) process.kill(process.pid, signal)
  process.exitCode = code ?? 1
})
