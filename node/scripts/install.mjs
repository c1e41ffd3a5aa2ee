// Makes the addon: a prebuilt one is used where it fits; in a source checkout, or where none fits, CMake builds it into
// build/millpond.node. `npm_config_build_from_source=true` always builds.
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import { createRequire } from 'node:module'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const require = createRequire(import.meta.url)
const here = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..')
const checkout = path.resolve(here, '..')
const inCheckout = fs.existsSync(path.join(checkout, 'core', 'include', 'millpond', 'millpond.h'))

function loads () {
  try {
    require('../lib/binding.cjs')
    return true
  } catch {
    return false
  }
}

function cmake (...args) {
  try {
    execFileSync('cmake', args, { stdio: 'inherit' })
  } catch (error) {
    if (error.code !== 'ENOENT') throw new Error(`cmake ${args[0]} failed`)
    throw new Error('no cmake. On Debian and Ubuntu: apt-get install cmake make gcc libc6-dev libsqlite3-dev ' +
      'libssl-dev libxxhash-dev pkg-config python3-venv')
  }
}

/** The folder of node_api.h: the npm package's; or Node's own, for npm does not install what a linked folder depends on. */
function headers () {
  const own = path.resolve(path.dirname(fs.realpathSync(process.execPath)), '..', 'include', 'node')
  try {
    return path.join(path.dirname(require.resolve('node-api-headers/package.json')), 'include')
  } catch {
    if (fs.existsSync(path.join(own, 'node_api.h'))) return own
    throw new Error(`no node-api-headers: run "npm install" in ${here}`)
  }
}

/** A build folder that belongs to sources elsewhere (the checkout was moved or copied) is of no use. */
function cleared (folder, source) {
  const cache = path.join(folder, 'CMakeCache.txt')
  if (!fs.existsSync(cache)) return
  const home = /^CMAKE_HOME_DIRECTORY:INTERNAL=(.*)$/m.exec(fs.readFileSync(cache, 'utf8'))?.[1]
  if (home !== fs.realpathSync(source)) fs.rmSync(folder, { recursive: true })
}

function build () {
  const source = inCheckout ? checkout : path.join(here, 'src')
  if (!fs.existsSync(path.join(source, 'CMakeLists.txt'))) throw new Error('neither a prebuilt addon nor the sources are in the package')
  const folder = path.join(here, 'build', 'cmake')
  cleared(folder, source)
  cmake('-S', source, '-B', folder, '-DCMAKE_BUILD_TYPE=Release', '-DPOND_NODE=ON', '-DPOND_SHARED=OFF', '-DPOND_STATIC=ON',
    '-DPOND_PYTHON=OFF', '-DPOND_TESTS=OFF', `-DPOND_NODE_API_INCLUDE=${headers()}`)
  cmake('--build', folder, '--parallel', String(os.availableParallelism()), '--target', 'millpond_node', 'millpond_command')
  cmake('--install', folder, '--component', 'node', '--strip', '--prefix', path.join(here, 'build'))
  if (!inCheckout) fs.rmSync(folder, { recursive: true }) // who works on the sources builds again
}

try {
  if (inCheckout || process.env.npm_config_build_from_source || !loads()) {
    build()
    require('../lib/binding.cjs')
  }
} catch (error) {
  console.error(`millpond: ${error.message}`)
  process.exitCode = 1
}
