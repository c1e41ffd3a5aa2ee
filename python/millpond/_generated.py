"""Written by bindings/gen/generate.py from core/include/millpond/error.h, core/src/model/options.def and
core/src/observe/counters.def: do not edit."""

from __future__ import annotations

import builtins as _builtins
import datetime
from typing import Any, Iterable, Literal, TypedDict, Union

# milliseconds, a text such as "250ms", "30s", "5m", "1h", or a timedelta
Duration = Union[int, str, datetime.timedelta]
# names of fields: a list (an empty one: none), or a text with commas
Names = Union[str, Iterable[str]]
# which rule a query broke
QueryReason = Literal[
    "bad_field",
    "bad_operator",
    "bad_type",
    "bad_value",
    "bad_number",
    "bad_page",
    "bad_encoding",
    "duplicate",
    "too_long",
    "sort_arrays",
]


class Error(Exception):
    """The base of every error of Millpond's own. `code` and `number` are for machines, the message is for people,
    `retriable` says whether the same call may succeed later without a change."""

    code: str = ""
    number: int = 0
    retriable: bool = False

    def __init__(self, message: str = "", *, retriable: bool | None = None) -> None:
        super().__init__(message)
        if retriable is not None:
            self.retriable = retriable

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self.args, self.__dict__ or None


class OptionError(Error, ValueError):
    """An option is unknown, or its value is out of range."""

    code = "POND_EOPTION"
    number = -1
    retriable = False


class UrlError(Error, ValueError):
    """A cache or store address cannot be used."""

    code = "POND_EURL"
    number = -2
    retriable = False


class InvalidKey(Error, ValueError):
    """A key is empty, too long, or not clean UTF-8."""

    code = "POND_EKEY"
    number = -3
    retriable = False


class InvalidValue(Error, ValueError):
    """A value is too large, not clean UTF-8, or of a type that cannot be stored."""

    code = "POND_EVALUE"
    number = -4
    retriable = False


class LoaderError(Error):
    """The loader failed."""

    code = "POND_ELOADER"
    number = -5
    retriable = False


class TimeoutError(Error, _builtins.TimeoutError):
    """The deadline passed."""

    code = "POND_ETIMEOUT"
    number = -6
    retriable = True


class CacheError(Error):
    """The cache cannot be reached, or refused the command."""

    code = "POND_ECACHE"
    number = -7
    retriable = True


class StoreError(Error):
    """The store cannot be reached, or refused the statement."""

    code = "POND_ESTORE"
    number = -8
    retriable = True


class ClosedError(Error):
    """The pond is closed."""

    code = "POND_ECLOSED"
    number = -9
    retriable = False


class DeadlockError(Error, RuntimeError):
    """A loader asked for the key that it is loading."""

    code = "POND_EDEADLOCK"
    number = -10
    retriable = False


class CanceledError(Error):
    """The request was cancelled."""

    code = "POND_ECANCELED"
    number = -11
    retriable = False


class Interrupted(Error):
    """A signal interrupted the wait."""

    code = "POND_EINTERRUPTED"
    number = -12
    retriable = False


class OutOfMemory(Error, MemoryError):
    """No memory."""

    code = "POND_ENOMEM"
    number = -13
    retriable = True


class ProtocolError(Error):
    """The server answered something unexpected."""

    code = "POND_EPROTOCOL"
    number = -14
    retriable = True


class OverloadError(Error):
    """Too much is waiting to be sent."""

    code = "POND_EOVERLOAD"
    number = -15
    retriable = True


class MisuseError(Error, RuntimeError):
    """The library was called in a way that it does not allow."""

    code = "POND_EMISUSE"
    number = -16
    retriable = False


class Absent(Error, LookupError):
    """There is no such thing: to be changed, or where absence was asked to be an error."""

    code = "POND_EABSENT"
    number = -17
    retriable = False


class InvalidQuery(Error, ValueError):
    """A query asks for something that is not allowed or not understood."""

    code = "POND_EQUERY"
    number = -18
    retriable = False
    reason: QueryReason | Literal[""] = ""  # which rule it broke


class DuplicateError(Error):
    """A document with that id is there already."""

    code = "POND_EDUPLICATE"
    number = -19
    retriable = False


class ValidationError(Error, ValueError):
    """A validation rejected the document."""

    code = "POND_EINVALID"
    number = -20
    retriable = False


# in the order of their numbers: the class of -1 stands first
ERRORS: tuple[type[Error], ...] = (
    OptionError,
    UrlError,
    InvalidKey,
    InvalidValue,
    LoaderError,
    TimeoutError,
    CacheError,
    StoreError,
    ClosedError,
    DeadlockError,
    CanceledError,
    Interrupted,
    OutOfMemory,
    ProtocolError,
    OverloadError,
    MisuseError,
    Absent,
    InvalidQuery,
    DuplicateError,
    ValidationError,
)


class PolicyOptions(TypedDict, total=False):
    """What a call, a namespace or open() may set."""

    # prefix of the keys, and the row of the statistics (default default)
    namespace: str | None
    # how long a value is served (default 5m)
    ttl: Duration | None
    # how long an absence is served; 0: absences are not cached (default 30s)
    negative_ttl: Duration | None
    # percent of ttl and negative_ttl by which an entry may end earlier, so that what was cached together does not end together (default 10)
    jitter: int | str | None
    # for so long after its ttl a value is served, as stale, while one caller loads it anew; 0: never (default 0ms)
    grace: Duration | None
    # for so long after its ttl a value is served, as stale, where its load fails; 0: never (default 0ms)
    stale_if_error: Duration | None
    # off: this caller gets nothing that is past its ttl; what it loads is kept as grace and stale_if_error say (default on)
    allow_stale: bool | str | None
    # percent: before a value ends one caller loads it anew, the sooner the longer its load took (100: the beta of 1 of XFetch); 0: never (default 0)
    early_refresh: int | str | None
    # pause after a load that failed while its value can still be served; it doubles with each, 32-fold at most (default 1s)
    refresh_backoff: Duration | None
    # absences that this process caches per namespace and negative_ttl; more are answered but not cached (default 100000)
    negative_max: int | str | None
    # longest wait for the cache's answer to one command (default 500ms)
    command_timeout: Duration | None
    # a loader that died is replaced after this; a living one renews every third of it (default 3s)
    lease: Duration | None
    # longest wait for another's load (default 5s)
    wait_timeout: Duration | None
    # longest time of a whole read, its load included; 0: no more than the other deadlines add up to (default 0ms)
    call_timeout: Duration | None
    # longest time that a load is waited for and its lease renewed (default 30s)
    load_timeout: Duration | None
    # when wait_timeout has passed: an error, or an own load that is not cached (default error)
    when_wait_ends: Literal["error", "load"] | None
    # when the cache cannot be reached: load without it, or an error (default store)
    when_cache_down: Literal["store", "error"] | None
    # readers pass by the cache for so long if a writer dies; a living one renews every third of it (default 10s)
    intent: Duration | None
    # longest time that a writer's intents are renewed (default 30s)
    write_timeout: Duration | None
    # when the cache cannot be told of a write: fail before anything is written, or write and invalidate later (default strict)
    when_cache_down_write: Literal["strict", "lenient"] | None


class PondOptions(TypedDict, total=False):
    """What open() may set beside its own arguments."""

    # the cache's user (ACL); wins over the address
    username: str | None
    # the cache's password; wins over the address
    password: str | None
    # rediss://: whom to trust to sign the server's certificate; not given: the machine's authorities
    tls_ca: str | None
    # rediss://: the client's certificate, with those between it and its authority
    tls_cert: str | None
    # rediss://: the client's key, not encrypted; not given: it stands in tls_cert
    tls_key: str | None
    # rediss://: whom the server's certificate must name; not given: the host of the address
    tls_server_name: str | None
    # rediss://: check the server's certificate; off: whoever is on the way can read and change everything (default on)
    tls_verify: bool | str | None
    # bound of a memory: cache, its own overhead included (default 256MiB)
    memory_max: int | str | None
    # a larger value is refused (default 16MiB)
    max_value: int | str | None
    # time to connect to the cache (default 1s)
    connect_timeout: Duration | None
    # deadlines in a row that the cache lets pass until nobody waits for it; 0: no limit (default 3)
    breaker_failures: int | str | None
    # longest pause before a cache that did not answer is asked again (default 1s)
    breaker_pause: Duration | None
    # longest wait for a lock of SQLite; longest call to MongoDB (default 5s)
    store_timeout: Duration | None
    # worker threads for the store's calls from event loops (default 4)
    store_threads: int | str | None
    # refuse entries of a server history that was lost (see GUIDE.md) (default on)
    fence: bool | str | None
    # where changes of collections are told of: a stream in the cache's Redis, or an exchange of RabbitMQ; empty: nowhere
    events: str | None
    # how often what this process counts is put into Redis, for `millpond stats`; 0: never (default 0ms)
    publish_stats: Duration | None
    # write=behind with a memory: cache: the file in which what was accepted waits; not given: that of the sqlite: store, and .behind
    journal: str | None
    # write=behind: this process takes what was accepted, by whomever, to the store (default on)
    worker: bool | str | None
    # how long a value is served (default 5m)
    ttl: Duration | None
    # how long an absence is served; 0: absences are not cached (default 30s)
    negative_ttl: Duration | None
    # percent of ttl and negative_ttl by which an entry may end earlier, so that what was cached together does not end together (default 10)
    jitter: int | str | None
    # for so long after its ttl a value is served, as stale, while one caller loads it anew; 0: never (default 0ms)
    grace: Duration | None
    # for so long after its ttl a value is served, as stale, where its load fails; 0: never (default 0ms)
    stale_if_error: Duration | None
    # off: this caller gets nothing that is past its ttl; what it loads is kept as grace and stale_if_error say (default on)
    allow_stale: bool | str | None
    # percent: before a value ends one caller loads it anew, the sooner the longer its load took (100: the beta of 1 of XFetch); 0: never (default 0)
    early_refresh: int | str | None
    # pause after a load that failed while its value can still be served; it doubles with each, 32-fold at most (default 1s)
    refresh_backoff: Duration | None
    # absences that this process caches per namespace and negative_ttl; more are answered but not cached (default 100000)
    negative_max: int | str | None
    # longest wait for the cache's answer to one command (default 500ms)
    command_timeout: Duration | None
    # a loader that died is replaced after this; a living one renews every third of it (default 3s)
    lease: Duration | None
    # longest wait for another's load (default 5s)
    wait_timeout: Duration | None
    # longest time of a whole read, its load included; 0: no more than the other deadlines add up to (default 0ms)
    call_timeout: Duration | None
    # longest time that a load is waited for and its lease renewed (default 30s)
    load_timeout: Duration | None
    # when wait_timeout has passed: an error, or an own load that is not cached (default error)
    when_wait_ends: Literal["error", "load"] | None
    # when the cache cannot be reached: load without it, or an error (default store)
    when_cache_down: Literal["store", "error"] | None
    # readers pass by the cache for so long if a writer dies; a living one renews every third of it (default 10s)
    intent: Duration | None
    # longest time that a writer's intents are renewed (default 30s)
    write_timeout: Duration | None
    # when the cache cannot be told of a write: fail before anything is written, or write and invalidate later (default strict)
    when_cache_down_write: Literal["strict", "lenient"] | None


class CollectionOptions(PolicyOptions, total=False):
    """What a collection may set."""

    # through: after a change is in the store the new document is cached; aside: the old one is only dropped; behind: the cache accepts the change, and a worker takes it to the store later (default through)
    write: Literal["through", "aside", "behind"] | None
    # write=behind: most documents that wait to be taken to the store, about (default 100000)
    backlog_max: int | str | None
    # write=behind: when so many wait: wait for room (write_timeout at most), or fail at once (default wait)
    backlog_full: Literal["wait", "fail"] | None
    # write=behind: when a change counts: when Redis has it in its memory; when its append-only file is on the disk, too; or when so many replicas have it, too. With a memory: cache: when its journal has it; or has it on the disk (fsync) (default memory)
    ack: str | None
    # what the changes of the collection are routed by, e.g. product.{event}: created, updated or deleted; off: they are not told of (default {collection}.{event})
    event_key: str | None
    # write what is told of a change into the store with it, and deliver it at least once; off: at most once (default off)
    outbox: bool | str | None
    # fields that a query may filter by; not given: all
    filterable: Names | None
    # fields that a query may sort by; not given: all
    sortable: Names | None
    # fields that a query may search in; not given: all
    searchable: Names | None
    # where a search looks that does not say; not given: searchable
    search_fields: Names | None
    # documents on a page where the query does not say; not given: 20
    default_limit: int | str | None
    # most documents on a page; not given: 100
    max_limit: int | str | None
    # fields to index in the store, made by prepare
    indexes: Names | None
    # how long a page is served (default 10m)
    find_ttl: Duration | None
    # how long a page of a query with a search is served (default 60m)
    search_ttl: Duration | None
    # whether pages without a document are cached (default off)
    cache_empty: bool | str | None
    # strict: no page is older than a write that was acknowledged; bounded(1s): by so much at most, so that constant writes leave pages in use (default strict)
    search_consistency: str | None


CounterName = Literal[
    "hits",
    "negative_hits",
    "misses",
    "stale_hits",
    "waits",
    "loads",
    "refreshes",
    "early_refreshes",
    "load_errors",
    "failed_refreshes",
    "fills",
    "refused_fills",
    "unfilled_loads",
    "invalidations",
    "timeouts",
    "cache_errors",
    "damaged",
    "writes",
    "write_errors",
    "written_values",
    "refused_values",
    "accepted",
    "flushed",
    "dropped_increments",
    "dead_letters",
    "events",
    "lost_events",
    "renewed_intents",
    "failed_ends",
    "delivered_ends",
    "lost_ends",
]


class Counters(TypedDict):
    """A row of stats(): counted since open."""

    # reads answered with a cached value
    hits: int
    # reads answered with a cached absence
    negative_hits: int
    # reads that the cache could not answer
    misses: int
    # reads answered with a value past its ttl (grace, stale_if_error), not counted as hits
    stale_hits: int
    # misses answered by another caller's load
    waits: int
    # loads started
    loads: int
    # of these, those of values that were still there: past their ttl, or near its end
    refreshes: int
    # of these, those before the ttl was over
    early_refreshes: int
    # loads that failed or passed their deadline
    load_errors: int
    # of these, those of values that were still there
    failed_refreshes: int
    # loaded values and absences that were cached
    fills: int
    # fills refused because the key was invalidated, written or loaded anew meanwhile
    refused_fills: int
    # loads without a lease: the cache was down, or somebody was writing
    unfilled_loads: int
    # keys invalidated
    invalidations: int
    # reads that ended at their deadline
    timeouts: int
    # commands that the cache did not answer, or refused
    cache_errors: int
    # cached values that could not be decoded, counted as misses
    damaged: int
    # writes that were committed
    writes: int
    # writes that failed, or of which it is not known
    write_errors: int
    # values of writes that were cached
    written_values: int
    # values of writes that were not cached, because another writer was about
    refused_values: int
    # changes that the backlog has accepted (write=behind), counted as writes, too
    accepted: int
    # documents that this process has taken from the backlog to the store
    flushed: int
    # members whose accepted increments had nothing to be added to: there was no such document, or no integer, or Redis has lost whether they count already
    dropped_increments: int
    # documents that the store refused time and again, put aside by this process
    dead_letters: int
    # change events that were delivered
    events: int
    # change events that were given up: the broker failed in the midst of one, too many waited, or the pond was closed
    lost_events: int
    # intents renewed because a write took long
    renewed_intents: int
    # ends of writes that the cache did not take at once: repeated until it does
    failed_ends: int
    # of these, those that it took in the end
    delivered_ends: int
    # of these, those that were given up: too many of them, or the pond was closed
    lost_ends: int
    # hits and negative hits by all reads
    hit_rate: float
