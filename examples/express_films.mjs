import express from 'express'
import { InvalidQuery, open } from 'millpond'

const pond = await open(process.env.CACHE ?? 'memory:', { store: process.env.STORE ?? 'sqlite:films.db' })
const films = pond.collection('films', { searchFields: ['Title', 'Director'], indexes: ['IMDB Rating'] })
await films.prepare()
const app = express()
app.get('/films', async (req, res) => res.json(await films.find(req.query)))
app.use((error, req, res, next) => {
  if (!(error instanceof InvalidQuery)) return next(error)
  res.status(400).json({ error: error.message, reason: error.reason })
})
app.listen(process.env.PORT ?? 3000, '127.0.0.1')
