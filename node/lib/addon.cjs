// Where the addon is: prebuilt for this platform, or built by scripts/install.mjs. The millpond command lies beside it.
'use strict'

const fs = require('node:fs')
const path = require('node:path')

function platform () {
  if (process.platform !== 'linux') return `${process.platform}-${process.arch}`
  return `linux-${process.arch}-${process.report.getReport().header.glibcVersionRuntime ? 'glibc' : 'musl'}`
}

const root = path.join(__dirname, '..')
const built = path.join(root, 'build', 'millpond.node')
// What was built here wins over what came with the package: it was built because somebody wanted it so. MILLPOND_ADDON names
// another file: a build with sanitizers.
const file = process.env.MILLPOND_ADDON ?? [built, path.join(root, 'prebuilds', platform(), 'millpond.node')].find(fs.existsSync)
if (file === undefined) {
  throw new Error(`millpond: there is no addon for ${platform()}. It is built by "npm install millpond" from a source folder, ` +
    'unless install scripts are switched off: then run "npm rebuild millpond" (it needs cmake and a C compiler)')
}
exports.file = file
