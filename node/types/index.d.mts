export * from './millpond.js'
import * as millpond from './millpond.js'
export default millpond
