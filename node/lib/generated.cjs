// Written by bindings/gen/generate.py from core/include/millpond/error.h, core/src/model/options.def and
// bindings/napi/addon.h: do not edit.
'use strict'

// what an event or an answer of the addon is
exports.KIND = { JSON: 1, BYTES: 2, TEXT: 3, EJSON: 4, ABSENT: 5, MISS: 6, OK: 7, ERROR: 8, LOAD: 9, LIST: 10 }

exports.errors = [
  {"code": "OPTION", "number": -1, "className": "OptionError", "retriable": false, "text": "an option is unknown, or its value is out of range"},
  {"code": "URL", "number": -2, "className": "UrlError", "retriable": false, "text": "a cache or store address cannot be used"},
  {"code": "KEY", "number": -3, "className": "InvalidKey", "retriable": false, "text": "a key is empty, too long, or not clean UTF-8"},
  {"code": "VALUE", "number": -4, "className": "InvalidValue", "retriable": false, "text": "a value is too large, not clean UTF-8, or of a type that cannot be stored"},
  {"code": "LOADER", "number": -5, "className": "LoaderError", "retriable": false, "text": "the loader failed"},
  {"code": "TIMEOUT", "number": -6, "className": "TimeoutError", "retriable": true, "text": "the deadline passed"},
  {"code": "CACHE", "number": -7, "className": "CacheError", "retriable": true, "text": "the cache cannot be reached, or refused the command"},
  {"code": "STORE", "number": -8, "className": "StoreError", "retriable": true, "text": "the store cannot be reached, or refused the statement"},
  {"code": "CLOSED", "number": -9, "className": "ClosedError", "retriable": false, "text": "the pond is closed"},
  {"code": "DEADLOCK", "number": -10, "className": "DeadlockError", "retriable": false, "text": "a loader asked for the key that it is loading"},
  {"code": "CANCELED", "number": -11, "className": "CanceledError", "retriable": false, "text": "the request was cancelled"},
  {"code": "INTERRUPTED", "number": -12, "className": "Interrupted", "retriable": false, "text": "a signal interrupted the wait"},
  {"code": "NOMEM", "number": -13, "className": "OutOfMemory", "retriable": true, "text": "no memory"},
  {"code": "PROTOCOL", "number": -14, "className": "ProtocolError", "retriable": true, "text": "the server answered something unexpected"},
  {"code": "OVERLOAD", "number": -15, "className": "OverloadError", "retriable": true, "text": "too much is waiting to be sent"},
  {"code": "MISUSE", "number": -16, "className": "MisuseError", "retriable": false, "text": "the library was called in a way that it does not allow"},
  {"code": "ABSENT", "number": -17, "className": "Absent", "retriable": false, "text": "there is no such thing (only where absence was asked to be an error)"},
  {"code": "QUERY", "number": -18, "className": "InvalidQuery", "retriable": false, "text": "a query asks for something that is not allowed or not understood"},
]

exports.options = [
  {"name": "cache", "core": "cache", "type": "text", "scope": "pond", "default": "memory:", "range": "memory:[name] | redis://[user:password@]host[:port][/database] | unix:/path[?db=n]", "text": "where values are cached"},
  {"name": "store", "core": "store", "type": "text", "scope": "pond", "default": "", "range": "sqlite:path | mongodb://[user:password@]host[:port]/database[?option=value]", "text": "the system of record; empty: loaders only"},
  {"name": "username", "core": "username", "type": "text", "scope": "pond", "default": "", "range": "", "text": "the cache's user (ACL); wins over the address"},
  {"name": "password", "core": "password", "type": "text", "scope": "pond", "default": "", "range": "", "text": "the cache's password; wins over the address"},
  {"name": "memoryMax", "core": "memory_max", "type": "size", "scope": "pond", "default": "256MiB", "range": "1MiB..1TiB", "text": "bound of a memory: cache, its own overhead included"},
  {"name": "maxValue", "core": "max_value", "type": "size", "scope": "pond", "default": "16MiB", "range": "1KiB..256MiB", "text": "a larger value is refused"},
  {"name": "connectTimeout", "core": "connect_timeout", "type": "duration", "scope": "pond", "default": "1s", "range": "1ms..10m", "text": "time to connect to the cache"},
  {"name": "breakerFailures", "core": "breaker_failures", "type": "count", "scope": "pond", "default": "3", "range": "0..1000000", "text": "deadlines in a row that the cache lets pass until nobody waits for it; 0: no limit"},
  {"name": "breakerPause", "core": "breaker_pause", "type": "duration", "scope": "pond", "default": "1s", "range": "1ms..10m", "text": "longest pause before a cache that did not answer is asked again"},
  {"name": "storeTimeout", "core": "store_timeout", "type": "duration", "scope": "pond", "default": "5s", "range": "1ms..10m", "text": "longest wait for a lock of SQLite; longest call to MongoDB"},
  {"name": "storeThreads", "core": "store_threads", "type": "count", "scope": "pond", "default": "4", "range": "1..64", "text": "worker threads for the store's calls from event loops"},
  {"name": "fence", "core": "fence", "type": "switch", "scope": "pond", "default": "on", "range": "on|off", "text": "refuse entries of a server history that was lost (see GUIDE.md)"},
  {"name": "namespace", "core": "namespace", "type": "text", "scope": "both", "default": "default", "range": "1..64 bytes without / ? { } :", "text": "prefix of the keys, and the row of the statistics"},
  {"name": "ttl", "core": "ttl", "type": "duration", "scope": "both", "default": "5m", "range": "1ms..365d", "text": "how long a value is served"},
  {"name": "negativeTtl", "core": "negative_ttl", "type": "duration", "scope": "both", "default": "30s", "range": "0ms..365d", "text": "how long an absence is served; 0: absences are not cached"},
  {"name": "negativeMax", "core": "negative_max", "type": "count", "scope": "both", "default": "100000", "range": "0..1000000000", "text": "absences that this process caches per namespace and negative_ttl; more are answered but not cached"},
  {"name": "commandTimeout", "core": "command_timeout", "type": "duration", "scope": "both", "default": "500ms", "range": "1ms..10m", "text": "longest wait for the cache's answer to one command"},
  {"name": "lease", "core": "lease", "type": "duration", "scope": "both", "default": "3s", "range": "20ms..10m", "text": "a loader that died is replaced after this; a living one renews every third of it"},
  {"name": "waitTimeout", "core": "wait_timeout", "type": "duration", "scope": "both", "default": "5s", "range": "0ms..1h", "text": "longest wait for another's load"},
  {"name": "callTimeout", "core": "call_timeout", "type": "duration", "scope": "both", "default": "0ms", "range": "0ms..1h", "text": "longest time of a whole read, its load included; 0: no more than the other deadlines add up to"},
  {"name": "loadTimeout", "core": "load_timeout", "type": "duration", "scope": "both", "default": "30s", "range": "1ms..1h", "text": "longest time that a load is waited for and its lease renewed"},
  {"name": "whenWaitEnds", "core": "when_wait_ends", "type": "choice", "scope": "both", "default": "error", "range": "error|load", "text": "when wait_timeout has passed: an error, or an own load that is not cached"},
  {"name": "whenCacheDown", "core": "when_cache_down", "type": "choice", "scope": "both", "default": "store", "range": "store|error", "text": "when the cache cannot be reached: load without it, or an error"},
  {"name": "filterable", "core": "filterable", "type": "text", "scope": "collection", "default": "", "range": "names with commas | *", "text": "fields that a query may filter by; not given: all"},
  {"name": "sortable", "core": "sortable", "type": "text", "scope": "collection", "default": "", "range": "names with commas | *", "text": "fields that a query may sort by; not given: all"},
  {"name": "searchable", "core": "searchable", "type": "text", "scope": "collection", "default": "", "range": "names with commas | *", "text": "fields that a query may search in; not given: all"},
  {"name": "searchFields", "core": "search_fields", "type": "text", "scope": "collection", "default": "", "range": "names with commas", "text": "where a search looks that does not say; not given: searchable"},
  {"name": "defaultLimit", "core": "default_limit", "type": "text", "scope": "collection", "default": "", "range": "1..100000", "text": "documents on a page where the query does not say; not given: 20"},
  {"name": "maxLimit", "core": "max_limit", "type": "text", "scope": "collection", "default": "", "range": "1..100000", "text": "most documents on a page; not given: 100"},
  {"name": "indexes", "core": "indexes", "type": "text", "scope": "collection", "default": "", "range": "names with commas, -name for descending", "text": "fields to index in the store, made by prepare"},
  {"name": "findTtl", "core": "find_ttl", "type": "duration", "scope": "collection", "default": "10m", "range": "1ms..365d", "text": "how long a page is served"},
  {"name": "searchTtl", "core": "search_ttl", "type": "duration", "scope": "collection", "default": "60m", "range": "1ms..365d", "text": "how long a page of a query with a search is served"},
  {"name": "cacheEmpty", "core": "cache_empty", "type": "switch", "scope": "collection", "default": "off", "range": "on|off", "text": "whether pages without a document are cached"},
]
