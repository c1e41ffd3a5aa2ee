// The C sources of the addon, copied into src/ while npm packs (a package cannot reach the folder above it), so that a machine
// for which there is no prebuilt addon can build one.
import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const here = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..')
const checkout = path.resolve(here, '..')
const target = path.join(here, 'src')

const licence = path.join(here, 'LICENSE')
for (const made of [target, licence]) fs.rmSync(made, { recursive: true, force: true })
if (process.argv[2] === 'copy') {
  for (const name of ['CMakeLists.txt', 'LICENSE', 'core', 'bindings/CMakeLists.txt', 'bindings/napi']) {
    fs.cpSync(path.join(checkout, name), path.join(target, name), { recursive: true })
  }
  fs.copyFileSync(path.join(checkout, 'LICENSE'), licence)
}
