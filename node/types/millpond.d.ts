/// <reference lib="esnext.disposable" />
import type { CollectionOptions, Counters, Duration, PolicyOptions, PondOptions } from './generated.js'

export * from './generated.js'

export type Awaitable<T> = T | PromiseLike<T>

/** A null that is data: a loader that gives it has found something, and what it found is null. It is a null in JSON too. */
export interface Null { toJSON(): null, readonly [Symbol.toStringTag]: 'millpond.NULL' }
export declare const NULL: Null

/** The version of the core, "major.minor.patch". */
export declare const version: string

/** What is found, without null and undefined, which mean 'there is no such thing'. */
export type Found<T> = T extends null | undefined | void ? never : T

/** Gives the value of `key`; null or undefined: there is no such thing. */
export type Loader<T> = (key: string) => Awaitable<T>

/** Gives the values of these keys: by key, where what is left out is not there, or one for each in their order. */
export type BulkLoader<T> = (keys: string[]) => Awaitable<ReadonlyMap<string, T> | { readonly [key: string]: T } | readonly T[]>

export interface WarmOptions<T = any> extends FetchOptions<T>, TagsOption {
  /** How many keys are asked for at a time. Default: 500. */
  batch?: number | null | undefined
  /** How many such batches are under way at once. Default: 1. */
  parallel?: number | null | undefined
  /** Called after each batch. What it throws ends the warming. */
  progress?: ((done: number) => unknown) | null | undefined
}

/** Options that hold functions. */
export interface ValueOptions<T = any> {
  /** False: hand the loaded value to who waits, but do not cache it. */
  shouldCache?: ((value: Found<T>) => boolean) | null | undefined
  /** Makes of a loaded value what is stored: text, bytes, or what JSON can hold. */
  encode?: ((value: Found<T>) => unknown) | null | undefined
  /** Makes a value again of what was stored. */
  decode?: ((stored: any) => T) | null | undefined
}

export interface AbsentOption {
  /** What an absence is: null (the default), or an error of class Absent. */
  absent?: 'null' | 'raise' | null | undefined
}

/** An AbortSignal, of whatever library declares it. */
export interface Signal {
  readonly aborted: boolean
  readonly reason?: any
  throwIfAborted(): void
  addEventListener(type: 'abort', listener: () => void, options?: any): void
  removeEventListener(type: 'abort', listener: () => void, options?: any): void
}

export interface SignalOption {
  /** Ends the wait: fetch rejects with the signal's reason. A loader that runs is not stopped, and its value is cached; give it
   * the signal yourself if it shall stop. */
  signal?: Signal | null | undefined
}

export interface TagsOption {
  /** What the value depends on: at most 16 tags. Whoever invalidates or writes one of them puts the value out of reach. */
  tags?: readonly string[] | null | undefined
}

export interface WriteOptions extends PolicyOptions, TagsOption, Pick<ValueOptions, 'encode'> {
  /** True if this error of the writer means that nothing was, and will be, written (a duplicate, a failed validation). Otherwise what
   * came of the write is taken as unknown, and readers pass by the cache until the intent has run out. */
  notWritten?: ((error: any) => boolean) | undefined
}

/** What a writer is handed. */
export interface Writing {
  /** What is to be cached under this key of the write once it is done, if nobody else was writing it; null: there is no such thing
   * any more. A key of which nothing is said is dropped from the cache. */
  set(key: string, value: unknown): void
}

export interface FetchOptions<T = any> extends PolicyOptions, ValueOptions<T>, AbsentOption {}
export interface OpenOptions extends PondOptions, ValueOptions, AbsentOption {}
type Raise = { absent: 'raise' }

export type Entry<T> =
  | { state: 'value', value: T, /** It is past its ttl, and was served as grace and staleIfError allow. */ stale: boolean }
  | { state: 'absent', value: null }
  | { state: 'miss', value: undefined }

/** Of a collection that is written behind, in this process. */
export interface BehindStats {
  /** Of 4: those from which this process takes what was accepted to the store. */
  shards: number
  /** Documents that wait in these, or, while the store is away, in those that it looks after, as last seen. */
  backlog: number
  /** How long the oldest of them has waited at most, as far as this process has seen; 0: none waits. */
  lag_ms: number
  /** What keeps them from the store, or from being as safe as they could be. */
  problem: string | null
  dropped_increments: number
  /** The last 16 of these, oldest first; by this process. */
  last_dropped: Array<{ document_id: string, field: string, by: number, why: string, at_ms: number }>
}

export interface Stats {
  total: Counters
  namespaces: { [namespace: string]: Counters }
  /** By namespace and collection, as in 'shop/views': collections that are written behind, if there are any. */
  behind?: { [collection: string]: BehindStats }
  /** With the option events: how many wait in this process, and the broker's last problem. */
  events?: { waiting: number, problem: string | null }
  /** About the cache and the pond as a whole. */
  [more: string]: unknown
}

/** A process, as it has published itself. */
export interface Process {
  host: string
  pid: number
  version: string
  /** Milliseconds since it opened its pond. */
  up_ms: number
  /** It publishes so often. */
  every_ms: number
  /** It is forgotten in so many milliseconds, unless it publishes again. */
  left_ms: number
  total: Counters
  namespaces: { [namespace: string]: Counters }
  [more: string]: unknown
}

export interface Explanation {
  state: 'value' | 'absent' | 'miss'
  [more: string]: unknown
}

export interface CachedOptions<This, A extends unknown[], T> extends PolicyOptions, ValueOptions<T>, AbsentOption {
  /** "price:{sku}" (the name of a parameter), "price:{0}" (its position), "price:{user.id}", or a function of the same
   * arguments. */
  key: string | ((this: This, ...args: A) => string)
  /** What the values depend on, or a function of the same arguments that says it. */
  tags?: readonly string[] | ((this: This, ...args: A) => readonly string[]) | undefined
}

export interface Cached<This, A extends unknown[], R> {
  (this: This, ...args: A): Promise<R>
  /** The key of a call with these arguments. */
  key(...args: A): string
  /** Drops what is cached for a call with these arguments. */
  invalidate(...args: A): Promise<void>
}

/** The store, past the cache: the documents of one collection. Dates in them are stored as dates; integers that no Number holds
 * exactly are BigInts. */
export interface Store<D extends object = Record<string, unknown>> {
  /** Makes the collection if there is none. */
  create(): Promise<void>
  /** The document, or null. */
  get(id: string): Promise<(D & { id: string }) | null>
  /** Documents and nulls, in the order of the ids. */
  getMany(ids: readonly string[]): Promise<Array<(D & { id: string }) | null>>
  /** Inserts or replaces. The document has no `id`, or this one. */
  put(id: string, document: D): Promise<void>
  /** Says whether there was one. */
  delete(id: string): Promise<boolean>
}

/** A query string (with or without `?`), URLSearchParams, or an object: what a framework made of a query string (`req.query`), or
 * typed values: `{ genre: 'Drama', rating: { gte: 7 }, released: { lt: new Date() }, sort: '-rating', page: 2 }`. */
export type Query = string | object

export interface Page<D extends object> {
  data: D[]
  /** How many documents there are on all pages. */
  total: number
  page: number
  pages: number
  limit: number
}

export interface QueryExplanation {
  /** The one text that this query and all that mean the same have; the key is its SHA-256. */
  canonical: string
  key: string
  total_key: string
  namespace: string
  /** The declared index that the store uses, or null. */
  index: string | null
  /** What the store is asked. */
  statement: string
  /** What is known of the cached page. */
  cached: Explanation
}

/** Some members of a document; null removes one. */
export type Patch<T> = T extends object ? T extends readonly unknown[] | Date ? T : { [K in keyof T]?: Patch<T[K]> | null } : T

export interface ChangeOptions<D extends object = Record<string, unknown>> {
  /** Called with each document as it would be in the store, before anything is written. What it throws is passed on, and nothing is
   * touched; giving false does the same by ValidationError. */
  validate?: ((document: D & { id: string }) => Awaitable<unknown>) | null | undefined
  /** Called after each change by this collection, before the call resolves. What it throws is a warning of the process. */
  onChange?: ((event: ChangeEvent<D>) => Awaitable<unknown>) | null | undefined
}

export interface ChangeEvent<D extends object = Record<string, unknown>> {
  event: 'created' | 'updated' | 'deleted'
  collection: string
  id: string
  /** The whole document as it is now; null of one that was deleted. */
  document: (D & { id: string }) | null
}

/** A change of a collection that is written behind which the store refused: which, when, and why. */
export interface DeadLetter<D extends object = Record<string, unknown>> {
  /** Of the letter. */
  id: string
  documentId: string
  /** Of the change. */
  version: number | bigint
  /** When it was put aside. */
  at: Date
  /** What the store said. */
  error: string
  /** deleted: the change was a deletion; increments: they are all there is, for the document that the store has; damaged: it cannot be read. */
  state: 'document' | 'deleted' | 'increments' | 'damaged'
  document: (D & { id: string }) | null
  /** That are to be added to it, by the member. */
  increments: Record<string, number> | null
}

export interface DeadLetterList<D extends object = Record<string, unknown>> {
  letters: Array<DeadLetter<D>>
  /** How many there are in all. */
  total: number
  /** What to give as `after` for those that follow. */
  next: string | null
}

/** What a worker tried three times to take to the store, in vain. `for await (const letter of films.deadLetters)` gives all of them. */
export interface DeadLetters<D extends object = Record<string, unknown>> extends AsyncIterable<DeadLetter<D>> {
  /** The oldest `limit` (1 to 1000, else 100) of them, behind the letter `after`. Of large documents fewer come at once. */
  list(options?: { after?: string | null; limit?: number }): Promise<DeadLetterList<D>>
  /** Rejects with Absent if there is no such letter. */
  get(id: string): Promise<DeadLetter<D>>
  /** The change waits for the store again, in its old place among the changes of its document. Rejects with DuplicateError if something newer
   * was accepted or stored since: it stays a dead letter; with Absent if there is no such letter. */
  retry(id: string): Promise<void>
  /** Forgets it. Rejects with Absent if there is no such letter. */
  drop(id: string): Promise<void>
}

/** A collection of the store, through the cache. */
export interface Collection<D extends object = Record<string, unknown>> {
  /** Makes the table and the declared indexes, where they are missing. */
  prepare(): Promise<void>
  /** The document, or null. */
  get(id: string, options: Raise): Promise<D & { id: string }>
  get(id: string, options?: AbsentOption): Promise<(D & { id: string }) | null>
  /** Documents and nulls, in the order of the ids. What is not cached is asked of the store at once. */
  getMany(ids: readonly string[]): Promise<Array<(D & { id: string }) | null>>
  /** A page. Rejects with InvalidQuery if the query asks for what is not allowed or not understood. */
  find(query?: Query): Promise<Page<D & { id: string }>>
  /** How a query is understood. */
  explain(query?: Query): Promise<QueryExplanation>
  /** Of a collection that is written behind: waits until all that was accepted before, by any process, is in the store. What the store
   * refuses is waited for until it is a dead letter, and is no error here. Rejects with TimeoutError if it is still on its way after `timeout` ('30s'),
   * with CacheError if the cache could not be asked in all that time. */
  flush(options?: { timeout?: Duration }): Promise<void>
  /** Of a collection that is written behind: adds a whole number (else 1; up to Number.MAX_SAFE_INTEGER either way) to a member, which
   * counts from 0 if it is not there, of a document that is there: none is made. Every reader of the document sees it from then on, and it counts exactly once. No document is read for it, so the
   * new value is not told; and where nobody knows yet that there is no such document, or that the member is no integer, it is dropped later, and counted
   * in stats() as dropped_increments. Rejects with InvalidValue for a field that is none (a path with dots), with Absent if it is known that there is no
   * such document. */
  increment(id: string, field: string, by?: number | bigint): Promise<void>
  /** Of a collection that is written behind: what the store would not have. */
  readonly deadLetters: DeadLetters<D>
  /** Writes a document that is not there yet, and gives it. Its id is its `id`; without one it gets one (24 hexadecimal digits).
   * Rejects with DuplicateError if there is one. The store is written to first, then the cache; every page of the collection goes. (Of a
   * collection that is written behind it is accepted, and goes to the store later; so with those that follow.) */
  create(document: Omit<D, 'id'> & { id?: string }): Promise<D & { id: string }>
  /** Writes the whole of a document that is there, and gives it. Rejects with Absent if there is none; written behind, it is not looked
   * whether there is one: then there is now. */
  replace(id: string, document: Omit<D, 'id'> & { id?: string }): Promise<D & { id: string }>
  /** Changes some members, and gives the whole document. The patch is a JSON merge patch (RFC 7386): null removes a member, objects are
   * merged, arrays are replaced. Of several updates at once none is lost. Rejects with Absent if there is no such document. */
  update(id: string, patch: Patch<D>): Promise<D & { id: string }>
  /** Rejects with Absent if there is none; written behind, it is not looked whether there is one. */
  delete(id: string): Promise<void>
  /** Drops the cached documents, and all pages. */
  invalidate(ids: string | readonly string[]): Promise<void>
}

export declare class Pond {
  private constructor()

  /** Cache-aside: the cached value, or what `loader` gives, which is then cached. However many callers and processes miss one
   * key, one of them loads. A loader's error goes to all who wait, and is not cached. */
  fetch<T>(key: string, loader: Loader<T>): Promise<Found<T> | null>
  fetch<T>(key: string, options: FetchOptions<T> & SignalOption & TagsOption & Raise, loader: Loader<T>): Promise<Found<T>>
  fetch<T>(key: string, options: (FetchOptions<T> & SignalOption & TagsOption) | undefined, loader: Loader<T>): Promise<Found<T> | null>

  /** As fetch(), as an Entry: it says whether the value is stale. */
  fetchEntry<T>(key: string, loader: Loader<T>): Promise<Entry<Found<T>>>
  fetchEntry<T>(key: string, options: (FetchOptions<T> & SignalOption & TagsOption) | undefined, loader: Loader<T>): Promise<Entry<Found<T>>>

  /** What the cache holds, without loading. */
  lookup<T = unknown>(key: string, options?: FetchOptions<T> & TagsOption): Promise<Entry<T>>

  /** Drops what is cached under the keys, and revokes the loads under way: nothing that was read before this call is served
   * after it has resolved. All keys are checked before the first is touched. */
  invalidate(keys: string | readonly string[], options?: PolicyOptions & TagsOption): Promise<void>

  /** As many fetches in one: the values in the order of the keys. These are asked for in one round trip, and what the cache does not have
   * is loaded by one call of the loader. There is still one load per key however many ask: what others load already is waited for. The
   * keys may be any number; of more than 2,048 one part is done after the other. */
  fetchMany<T>(keys: string | readonly string[], loader: BulkLoader<T>): Promise<Array<Found<T> | null>>
  fetchMany<T>(keys: string | readonly string[], options: FetchOptions<T> & SignalOption & TagsOption & Raise, loader: BulkLoader<T>): Promise<Array<Found<T>>>
  fetchMany<T>(keys: string | readonly string[], options: (FetchOptions<T> & SignalOption & TagsOption) | undefined, loader: BulkLoader<T>): Promise<Array<Found<T> | null>>

  /** Puts values into the cache, in two round trips for all; null: there is no such thing. For what this program is the source of: a
   * session, something computed. Not for what was read from a store, which somebody may have written since: fetchMany and warm
   * read under a lease, and can tell. */
  setMany(values: Iterable<readonly [string, unknown]> | { readonly [key: string]: unknown }, options?: PolicyOptions & Pick<ValueOptions, 'encode'>): Promise<void>

  /** Fills the cache ahead of traffic: of keys, which may be many, lazy and asynchronous, `batch` at a time are asked for, and those that
   * are not cached loaded by one call of the loader. Resolves with how many keys there were. */
  warm<T>(keys: Iterable<string> | AsyncIterable<string>, loader: BulkLoader<T>): Promise<number>
  warm<T>(keys: Iterable<string> | AsyncIterable<string>, options: WarmOptions<T> | undefined, loader: BulkLoader<T>): Promise<number>

  /** The caller's own write to its store, with what is cached of it kept right around it: the cache is told before `writer` runs
   * and after it has ended. Once this has resolved nobody is given what was read from the store before; if the writer's process dies in
   * between, readers pass by the cache until the intent has run out. Resolves with what the writer gave; its error is passed on. */
  write<R>(keys: string | readonly string[], writer: (writing: Writing) => Awaitable<R>): Promise<R>
  write<R>(keys: string | readonly string[], options: WriteOptions | undefined, writer: (writing: Writing) => Awaitable<R>): Promise<R>

  /** What is known of a key: state, time left, who holds the lease. */
  explain(key: string, options?: PolicyOptions): Promise<Explanation>

  /** The same pond under another namespace, with options of its own. */
  namespace(name: string, options?: FetchOptions): Pond

  /** `fn`, cached. Its `this` and its arguments are passed on. */
  cached<This, A extends unknown[], T>(fn: (this: This, ...args: A) => Awaitable<T>,
    options: CachedOptions<This, A, T> & Raise): Cached<This, A, Found<T>>
  cached<This, A extends unknown[], T>(fn: (this: This, ...args: A) => Awaitable<T>,
    options: CachedOptions<This, A, T>): Cached<This, A, Found<T> | null>

  /** A collection of the store, past the cache. */
  store<D extends object = Record<string, unknown>>(collection: string): Store<D>

  /** A collection of the store, through the cache: documents by id, and pages of queries. */
  collection<D extends object = Record<string, unknown>>(name: string, options?: CollectionOptions & AbsentOption & ChangeOptions<D>): Collection<D>

  /** All counters since open. */
  stats(): Stats
  /** One counter; of all namespaces together if none is named (of its own, in a namespace's view). */
  stat(counter: keyof Omit<Counters, 'hit_rate'>, namespace?: string): number

  /** The counters and more for Prometheus: what its text format 0.0.4 has for them. */
  metrics(): string
  /** What the processes count that publish it to this cache (option publishStats). */
  processes(): Promise<Process[]>

  /** Refuses new work, waits for what is under way, ends the rest with ClosedError; rejects with TimeoutError if there was
   * such a rest, or if something that is written behind is not in the store yet (another process takes it there). Default: 30 s. Closing a namespace's view closes its pond. */
  close(options?: { timeout?: Duration }): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/** Opens a pond. Nothing is connected yet; a bad address or option is an error here, and opens nothing.
 *
 *     const pond = await open('redis://127.0.0.1:6379/0', { namespace: 'shop' })
 *     const user = await pond.fetch('user:42', { ttl: '5m' }, () => loadUser(42))
 */
export declare function open(cache?: string, options?: OpenOptions): Promise<Pond>
