import millpond = require('millpond')

const opened: Promise<millpond.Pond> = millpond.open('memory:', { ttl: '5m' })
opened.then(pond => pond.close())
