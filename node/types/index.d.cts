export * from './millpond.js'
