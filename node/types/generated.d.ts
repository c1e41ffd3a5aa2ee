// Written by bindings/gen/generate.py from core/include/millpond/error.h, core/src/model/options.def and
// core/src/observe/counters.def: do not edit.

/** Milliseconds, or a text such as "250ms", "30s", "5m", "1h", "1d". */
export type Duration = number | string

export type ErrorCode =
  | 'POND_EOPTION'
  | 'POND_EURL'
  | 'POND_EKEY'
  | 'POND_EVALUE'
  | 'POND_ELOADER'
  | 'POND_ETIMEOUT'
  | 'POND_ECACHE'
  | 'POND_ESTORE'
  | 'POND_ECLOSED'
  | 'POND_EDEADLOCK'
  | 'POND_ECANCELED'
  | 'POND_EINTERRUPTED'
  | 'POND_ENOMEM'
  | 'POND_EPROTOCOL'
  | 'POND_EOVERLOAD'
  | 'POND_EMISUSE'
  | 'POND_EABSENT'
  | 'POND_EQUERY'
  | 'POND_EDUPLICATE'
  | 'POND_EINVALID'

/** Which rule a query broke: `error.reason` of an InvalidQuery. */
export type QueryReason =
  | 'bad_field'
  | 'bad_operator'
  | 'bad_type'
  | 'bad_value'
  | 'bad_number'
  | 'bad_page'
  | 'bad_encoding'
  | 'duplicate'
  | 'too_long'
  | 'sort_arrays'

/** The base of every error of Millpond's own. */
export declare class PondError extends Error {
  constructor(message: string, options?: { retriable?: boolean, cause?: unknown })
  readonly code: ErrorCode
  readonly number: number
  /** The same call may succeed later without a change. */
  readonly retriable: boolean
}

/** An option is unknown, or its value is out of range. */
export declare class OptionError extends PondError { readonly code: 'POND_EOPTION' }

/** A cache or store address cannot be used. */
export declare class UrlError extends PondError { readonly code: 'POND_EURL' }

/** A key is empty, too long, or not clean UTF-8. */
export declare class InvalidKey extends PondError { readonly code: 'POND_EKEY' }

/** A value is too large, not clean UTF-8, or of a type that cannot be stored. */
export declare class InvalidValue extends PondError { readonly code: 'POND_EVALUE' }

/** The loader failed. */
export declare class LoaderError extends PondError { readonly code: 'POND_ELOADER' }

/** The deadline passed. */
export declare class TimeoutError extends PondError { readonly code: 'POND_ETIMEOUT' }

/** The cache cannot be reached, or refused the command. */
export declare class CacheError extends PondError { readonly code: 'POND_ECACHE' }

/** The store cannot be reached, or refused the statement. */
export declare class StoreError extends PondError { readonly code: 'POND_ESTORE' }

/** The pond is closed. */
export declare class ClosedError extends PondError { readonly code: 'POND_ECLOSED' }

/** A loader asked for the key that it is loading. */
export declare class DeadlockError extends PondError { readonly code: 'POND_EDEADLOCK' }

/** The request was cancelled. */
export declare class CanceledError extends PondError { readonly code: 'POND_ECANCELED' }

/** A signal interrupted the wait. */
export declare class Interrupted extends PondError { readonly code: 'POND_EINTERRUPTED' }

/** No memory. */
export declare class OutOfMemory extends PondError { readonly code: 'POND_ENOMEM' }

/** The server answered something unexpected. */
export declare class ProtocolError extends PondError { readonly code: 'POND_EPROTOCOL' }

/** Too much is waiting to be sent. */
export declare class OverloadError extends PondError { readonly code: 'POND_EOVERLOAD' }

/** The library was called in a way that it does not allow. */
export declare class MisuseError extends PondError { readonly code: 'POND_EMISUSE' }

/** There is no such thing: to be changed, or where absence was asked to be an error. */
export declare class Absent extends PondError { readonly code: 'POND_EABSENT' }

/** A query asks for something that is not allowed or not understood. */
export declare class InvalidQuery extends PondError { readonly code: 'POND_EQUERY'; readonly reason: QueryReason }

/** A document with that id is there already. */
export declare class DuplicateError extends PondError { readonly code: 'POND_EDUPLICATE' }

/** A validation rejected the document. */
export declare class ValidationError extends PondError { readonly code: 'POND_EINVALID' }

/** What a call, a namespace or open() may set. */
export interface PolicyOptions {
  /** Prefix of the keys, and the row of the statistics. Default: default. */
  namespace?: string | null | undefined
  /** How long a value is served. Default: 5m. */
  ttl?: Duration | null | undefined
  /** How long an absence is served; 0: absences are not cached. Default: 30s. */
  negativeTtl?: Duration | null | undefined
  /** Percent of ttl and negativeTtl by which an entry may end earlier, so that what was cached together does not end together. Default: 10. */
  jitter?: number | string | null | undefined
  /** For so long after its ttl a value is served, as stale, while one caller loads it anew; 0: never. Default: 0ms. */
  grace?: Duration | null | undefined
  /** For so long after its ttl a value is served, as stale, where its load fails; 0: never. Default: 0ms. */
  staleIfError?: Duration | null | undefined
  /** Off: this caller gets nothing that is past its ttl; what it loads is kept as grace and staleIfError say. Default: on. */
  allowStale?: boolean | 'on' | 'off' | null | undefined
  /** Percent: before a value ends one caller loads it anew, the sooner the longer its load took (100: the beta of 1 of XFetch); 0: never. Default: 0. */
  earlyRefresh?: number | string | null | undefined
  /** Pause after a load that failed while its value can still be served; it doubles with each, 32-fold at most. Default: 1s. */
  refreshBackoff?: Duration | null | undefined
  /** Absences that this process caches per namespace and negativeTtl; more are answered but not cached. Default: 100000. */
  negativeMax?: number | string | null | undefined
  /** Longest wait for the cache's answer to one command. Default: 500ms. */
  commandTimeout?: Duration | null | undefined
  /** A loader that died is replaced after this; a living one renews every third of it. Default: 3s. */
  lease?: Duration | null | undefined
  /** Longest wait for another's load. Default: 5s. */
  waitTimeout?: Duration | null | undefined
  /** Longest time of a whole read, its load included; 0: no more than the other deadlines add up to. Default: 0ms. */
  callTimeout?: Duration | null | undefined
  /** Longest time that a load is waited for and its lease renewed. Default: 30s. */
  loadTimeout?: Duration | null | undefined
  /** When waitTimeout has passed: an error, or an own load that is not cached. Default: error. */
  whenWaitEnds?: 'error' | 'load' | null | undefined
  /** When the cache cannot be reached: load without it, or an error. Default: store. */
  whenCacheDown?: 'store' | 'error' | null | undefined
  /** Readers pass by the cache for so long if a writer dies; a living one renews every third of it. Default: 10s. */
  intent?: Duration | null | undefined
  /** Longest time that a writer's intents are renewed. Default: 30s. */
  writeTimeout?: Duration | null | undefined
  /** When the cache cannot be told of a write: fail before anything is written, or write and invalidate later. Default: strict. */
  whenCacheDownWrite?: 'strict' | 'lenient' | null | undefined
}

/** What open() alone may set, beside PolicyOptions. The cache is its first argument. */
export interface PondOptions extends PolicyOptions {
  /** The system of record; empty: loaders only. */
  store?: string | null | undefined
  /** The cache's user (ACL); wins over the address. */
  username?: string | null | undefined
  /** The cache's password; wins over the address. */
  password?: string | null | undefined
  /** rediss://: whom to trust to sign the server's certificate; not given: the machine's authorities. */
  tlsCa?: string | null | undefined
  /** rediss://: the client's certificate, with those between it and its authority. */
  tlsCert?: string | null | undefined
  /** rediss://: the client's key, not encrypted; not given: it stands in tlsCert. */
  tlsKey?: string | null | undefined
  /** rediss://: whom the server's certificate must name; not given: the host of the address. */
  tlsServerName?: string | null | undefined
  /** rediss://: check the server's certificate; off: whoever is on the way can read and change everything. Default: on. */
  tlsVerify?: boolean | 'on' | 'off' | null | undefined
  /** Bound of a memory: cache, its own overhead included. Default: 256MiB. */
  memoryMax?: number | string | null | undefined
  /** A larger value is refused. Default: 16MiB. */
  maxValue?: number | string | null | undefined
  /** Time to connect to the cache. Default: 1s. */
  connectTimeout?: Duration | null | undefined
  /** Deadlines in a row that the cache lets pass until nobody waits for it; 0: no limit. Default: 3. */
  breakerFailures?: number | string | null | undefined
  /** Longest pause before a cache that did not answer is asked again. Default: 1s. */
  breakerPause?: Duration | null | undefined
  /** Longest wait for a lock of SQLite; longest call to MongoDB. Default: 5s. */
  storeTimeout?: Duration | null | undefined
  /** Worker threads for the store's calls from event loops. Default: 4. */
  storeThreads?: number | string | null | undefined
  /** Refuse entries of a server history that was lost (see GUIDE.md). Default: on. */
  fence?: boolean | 'on' | 'off' | null | undefined
  /** Where changes of collections are told of: a stream in the cache's Redis, or an exchange of RabbitMQ; empty: nowhere. */
  events?: string | null | undefined
  /** How often what this process counts is put into Redis, for `millpond stats`; 0: never. Default: 0ms. */
  publishStats?: Duration | null | undefined
  /** write=behind with a memory: cache: the file in which what was accepted waits; not given: that of the sqlite: store, and .behind. */
  journal?: string | null | undefined
  /** write=behind: this process takes what was accepted, by whomever, to the store. Default: on. */
  worker?: boolean | 'on' | 'off' | null | undefined
}

/** What a collection may set, beside PolicyOptions. */
export interface CollectionOptions extends PolicyOptions {
  /** Through: after a change is in the store the new document is cached; aside: the old one is only dropped; behind: the cache accepts the change, and a worker takes it to the store later. Default: through. */
  write?: 'through' | 'aside' | 'behind' | null | undefined
  /** write=behind: most documents that wait to be taken to the store, about. Default: 100000. */
  backlogMax?: number | string | null | undefined
  /** write=behind: when so many wait: wait for room (writeTimeout at most), or fail at once. Default: wait. */
  backlogFull?: 'wait' | 'fail' | null | undefined
  /** write=behind: when a change counts: when Redis has it in its memory; when its append-only file is on the disk, too; or when so many replicas have it, too. With a memory: cache: when its journal has it; or has it on the disk (fsync). Default: memory. */
  ack?: string | null | undefined
  /** What the changes of the collection are routed by, e.g. product.{event}: created, updated or deleted; off: they are not told of. Default: {collection}.{event}. */
  eventKey?: string | null | undefined
  /** Write what is told of a change into the store with it, and deliver it at least once; off: at most once. Default: off. */
  outbox?: boolean | 'on' | 'off' | null | undefined
  /** Fields that a query may filter by; not given: all. */
  filterable?: string | readonly string[] | null | undefined
  /** Fields that a query may sort by; not given: all. */
  sortable?: string | readonly string[] | null | undefined
  /** Fields that a query may search in; not given: all. */
  searchable?: string | readonly string[] | null | undefined
  /** Where a search looks that does not say; not given: searchable. */
  searchFields?: string | readonly string[] | null | undefined
  /** Documents on a page where the query does not say; not given: 20. */
  defaultLimit?: number | string | null | undefined
  /** Most documents on a page; not given: 100. */
  maxLimit?: number | string | null | undefined
  /** Fields to index in the store, made by prepare. */
  indexes?: string | readonly string[] | null | undefined
  /** How long a page is served. Default: 10m. */
  findTtl?: Duration | null | undefined
  /** How long a page of a query with a search is served. Default: 60m. */
  searchTtl?: Duration | null | undefined
  /** Whether pages without a document are cached. Default: off. */
  cacheEmpty?: boolean | 'on' | 'off' | null | undefined
  /** Strict: no page is older than a write that was acknowledged; bounded(1s): by so much at most, so that constant writes leave pages in use. Default: strict. */
  searchConsistency?: string | null | undefined
}

/** A row of stats(): counted since open. */
export interface Counters {
  /** Reads answered with a cached value. */
  hits: number
  /** Reads answered with a cached absence. */
  negative_hits: number
  /** Reads that the cache could not answer. */
  misses: number
  /** Reads answered with a value past its ttl (grace, staleIfError), not counted as hits. */
  stale_hits: number
  /** Misses answered by another caller's load. */
  waits: number
  /** Loads started. */
  loads: number
  /** Of these, those of values that were still there: past their ttl, or near its end. */
  refreshes: number
  /** Of these, those before the ttl was over. */
  early_refreshes: number
  /** Loads that failed or passed their deadline. */
  load_errors: number
  /** Of these, those of values that were still there. */
  failed_refreshes: number
  /** Loaded values and absences that were cached. */
  fills: number
  /** Fills refused because the key was invalidated, written or loaded anew meanwhile. */
  refused_fills: number
  /** Loads without a lease: the cache was down, or somebody was writing. */
  unfilled_loads: number
  /** Keys invalidated. */
  invalidations: number
  /** Reads that ended at their deadline. */
  timeouts: number
  /** Commands that the cache did not answer, or refused. */
  cache_errors: number
  /** Cached values that could not be decoded, counted as misses. */
  damaged: number
  /** Writes that were committed. */
  writes: number
  /** Writes that failed, or of which it is not known. */
  write_errors: number
  /** Values of writes that were cached. */
  written_values: number
  /** Values of writes that were not cached, because another writer was about. */
  refused_values: number
  /** Changes that the backlog has accepted (write=behind), counted as writes, too. */
  accepted: number
  /** Documents that this process has taken from the backlog to the store. */
  flushed: number
  /** Members whose accepted increments had nothing to be added to: there was no such document, or no integer, or Redis has lost whether they count already. */
  dropped_increments: number
  /** Documents that the store refused time and again, put aside by this process. */
  dead_letters: number
  /** Change events that were delivered. */
  events: number
  /** Change events that were given up: the broker failed in the midst of one, too many waited, or the pond was closed. */
  lost_events: number
  /** Intents renewed because a write took long. */
  renewed_intents: number
  /** Ends of writes that the cache did not take at once: repeated until it does. */
  failed_ends: number
  /** Of these, those that it took in the end. */
  delivered_ends: number
  /** Of these, those that were given up: too many of them, or the pond was closed. */
  lost_ends: number
  /** Hits and negative hits by all reads. */
  hit_rate: number
}
