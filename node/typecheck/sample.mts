// What the types promise, compiled by `npm run types` and never run. Each @ts-expect-error is a test too.
import millpond, {
  InvalidQuery, NULL, OptionError, PondError, open, type Collection, type Entry, type Null, type Page
} from 'millpond'

interface User { id: number, name: string }
declare function loadUser (id: number): Promise<User | undefined>
declare function use (...values: unknown[]): void

await using pond = await open('redis://127.0.0.1:6379/0', { store: 'sqlite:shop.db', namespace: 'shop', whenCacheDown: 'error' })
const other = await millpond.open()

const user: User | null = await pond.fetch('user:42', () => loadUser(42))
const again: User | null = await pond.fetch('user:42', { ttl: '5m', negativeTtl: 30_000, shouldCache: u => u.id > 0 }, () => loadUser(42))
const surely: User = await pond.fetch('user:42', { absent: 'raise' }, () => loadUser(42))
const maybeNull: string | Null | null = await pond.fetch('n', (key: string) => key === 'n' ? NULL : 'text')
use(user, again)
use(surely.name, maybeNull)

const created: Date | null = await pond.fetch('d', { encode: d => d.toISOString(), decode: text => new Date(text) }, () => new Date())
use(created?.getTime())

const entry: Entry<User> = await pond.lookup<User>('user:42')
if (entry.state === 'value') use(entry.value.name)

const price = pond.cached(async (sku: string, _currency = 'EUR') => ({ sku, cents: 199 }), { key: 'price:{sku}', ttl: '1m' })
const found: { sku: string, cents: number } | null = await price('abc')
await price.invalidate('abc')
const key: string = price.key('abc', 'USD')
class Shop {
  name = 'a'
  stock = pond.cached(function (this: Shop, sku: string) { return this.name.length + sku.length }, {
    key (sku) { return `${this.name}:${sku}` }
  })
}
const stock: number | null = await new Shop().stock('x')
use(found, key, stock)

interface Film { title: string, rating?: number, released?: Date }
const catalogue: Collection<Film> = pond.collection<Film>('films', {
  ttl: '1h', filterable: ['genre', 'rating'], sortable: 'rating,released', searchFields: ['title'], maxLimit: 50, indexes: ['rating', '-year'],
  findTtl: '10m', searchTtl: 3_600_000, cacheEmpty: true, whenCacheDown: 'error', absent: 'null'
})
await catalogue.prepare()
const film: Film & { id: string } | null = await catalogue.get('0001')
const there: Film & { id: string } = await catalogue.get('0001', { absent: 'raise' })
const page: Page<Film & { id: string }> = await catalogue.find('?genre=Drama&rating[gte]=7&page=2')
const typed = await catalogue.find({ rating: { gte: 7, in: [8n, 9.5, null] }, released: { lt: new Date() }, sort: '-rating' })
declare const request: { query: { [key: string]: undefined | string | string[] | typeof request.query } }
const [first] = (await catalogue.find(request.query)).data
use(film?.title, there.rating, page.total, typed.pages, first?.released?.getTime(), (await catalogue.getMany(['1']))[0]?.id)
use((await catalogue.find()).limit, (await catalogue.explain({})).canonical)
await catalogue.invalidate(['0001'])

const reads: number = pond.stats().total.hits + pond.stat('misses')
const rate: number | undefined = pond.stats().namespaces.shop?.hit_rate
const waiting: number | undefined = pond.stats().behind?.['shop/views']?.backlog
const dropped: number | undefined = pond.stats().behind?.['shop/views']?.last_dropped[0]?.by
const broker: string | null | undefined = pond.stats().events?.problem
// @ts-expect-error there is no such counter
pond.stat('strikes')
use(reads, rate, waiting, dropped, broker, pond.metrics().split('\n'))

const films = pond.store<{ title: string }>('films')
await films.create()
await films.put('0001', { title: 'The Land Girls' })
const title: string | undefined = (await films.get('0001'))?.title
const many: Array<{ id: string, title: string } | null> = await films.getMany(['0001', '0002'])
use(title, many, await films.delete('0001'))

const users: Array<User | null> = await pond.fetchMany(['user:1', 'user:2'], { ttl: '5m', tags: ['users'] }, async keys => new Map(keys.map(key => [key, { id: 1, name: key }])))
const sure: User[] = await pond.fetchMany(['user:1'], { absent: 'raise' }, () => ({ 'user:1': { id: 1, name: 'Ada' } }))
await pond.setMany({ 'session:1': { user: 1 } }, { ttl: '1h' })
await pond.setMany(new Map([['session:2', null]]))
const warmed: number = await pond.warm(new Set(['user:1']), { batch: 100, parallel: 2, progress: done => use(done) }, keys => keys.map(name => ({ id: 1, name })))
use(users, sure, warmed)

await pond.namespace('pages', { ttl: '1h' }).invalidate(['a', 'b'])
const hits: number = pond.stat('hits') + pond.stats().total.hits
use(hits, (await pond.explain('user:42')).state)
await other.close({ timeout: '1s' })

try {
  await pond.fetch('k', () => 1)
} catch (error) {
  if (error instanceof InvalidQuery) use(error.reason satisfies 'bad_field' | string)
  if (error instanceof OptionError) use(error.code satisfies 'POND_EOPTION')
  if (error instanceof PondError && error.retriable) use(error.number)
}

// @ts-expect-error an unknown option
await pond.fetch('k', { tttl: '5m' }, () => 1)
// @ts-expect-error an option of open() in a call
await pond.fetch('k', { memoryMax: '1GiB' }, () => 1)
// @ts-expect-error no loader
await pond.fetch('k')
// @ts-expect-error a loader of many gives many
await pond.fetchMany(['k'], () => 1)
// @ts-expect-error the key is a string
await pond.fetch(42, () => 1)
// @ts-expect-error a choice that is none
await open('memory:', { whenCacheDown: 'panic' })
// @ts-expect-error an absence is null
const certain: User = await pond.fetch('user:42', () => loadUser(42))
// @ts-expect-error arguments of the cached function
await price(42)
// @ts-expect-error a counter that there is not
pond.stat('hitz')
use(certain)
