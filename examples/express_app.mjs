import express from 'express'
import { open } from 'millpond'

const pond = await open(process.env.CACHE ?? 'memory:', { store: 'sqlite:films.db' })
const films = pond.store('films')
const app = express()

app.get('/films/:id', async (req, res) => {
  const { id } = req.params
  const film = await pond.fetch(`film:${id}`, { ttl: '10m', negativeTtl: '30s' }, () => films.get(id))
  if (film) res.json(film)
  else res.status(404).json({ error: `there is no film ${id}` })
})
app.listen(process.env.PORT ?? 3000, '127.0.0.1')
