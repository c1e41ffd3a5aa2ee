"""millpond.open() and Pond: the calls that block."""

from __future__ import annotations

import inspect
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any, Callable, Iterable, Mapping, overload

from . import _core
from ._bulk import body as loading_body
from ._bulk import check as check_loader
from ._bulk import entries, pieces
from ._cached import Cached
from ._collection import Collection
from ._options import milliseconds, option_text
from ._store import Store
from ._writing import body, check, keys_of

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import ParamSpec, Self, TypeVar, Unpack

    from ._generated import CounterName, Duration
    from ._types import BulkLoader, CachedOptions, CallOptions, OpenOptions, Stats, ViewOptions, WriteOptions

    P = ParamSpec("P")
    R = TypeVar("R")


def open_engine(cache: str, store: str | None, options: dict[str, Any]) -> tuple[_core.Engine, str]:
    """-> (the open pond, its namespace)"""
    config = _core.config_new()
    try:
        _core.config_set(config, "cache", cache)
        if store is not None:
            _core.config_set(config, "store", store)
        for name, value in options.items():
            if value is not None:
                _core.config_set(config, name, option_text(name, value))
        namespace = _core.config_get(config, "namespace")
        assert namespace is not None
        return _core.open(config), namespace
    finally:
        _core.config_free(config)


# What the core has no word for: how values come and go. The others are its own.
_OURS = ("encode", "decode", "model", "should_cache", "absent")


def opened(kind: Any, cache: str, store: str | None, options: dict[str, Any]) -> Any:
    """A pond of this kind, its calls' defaults included."""
    ours = {name: options.pop(name) for name in _OURS if name in options}
    pond = kind(*open_engine(cache, store, options))
    return pond._derive(**ours) if ours else pond


def open(cache: str = "memory:", *, store: str | None = None, namespace: str | None = None, **options: Unpack[OpenOptions]) -> Pond:
    """Opens a pond: a cache, perhaps in front of a store. Nothing is connected yet.

        millpond.open("redis://127.0.0.1:6379/0", namespace="shop", ttl="10m")
        millpond.open("memory:", store="sqlite:shop.db")

    Durations are milliseconds, texts ("250ms", "30s", "5m", "1h") or timedeltas. What a call may be told (`ttl`, `encode`, `decode`,
    `model`, `should_cache`, `absent`...) may be told here for all of them. The options are listed in the manual; one that is
    unknown or out of range raises OptionError, an address that cannot be used UrlError.
    """
    pond: Pond = opened(Pond, cache, store, {"namespace": namespace, **options})
    return pond


class Pond(_core.SyncHandle):
    """An open pond, or a view of one with its own defaults (namespace()). Shared by all threads."""

    __slots__ = ("__weakref__",)

    # fetch, lookup, invalidate and explain are _core.SyncHandle's.

    def namespace(self, name: str | None = None, **options: Unpack[CallOptions]) -> Self:
        """The same pond under another namespace, with other defaults for what its calls do not say."""
        settings: Any = options if name is None else {**options, "namespace": name}
        view: Self = self._derive(**settings)
        return view

    @overload
    def write(self, keys: str | Iterable[str], writer: Callable[[], R], *, tags: Iterable[str] | None = None,
              not_written: Callable[[Any], object] | None = None, **options: Unpack[WriteOptions]) -> R: ...

    @overload
    def write(self, keys: str | Iterable[str], writer: Callable[[_core.Writing], R], *, tags: Iterable[str] | None = None,
              not_written: Callable[[Any], object] | None = None, **options: Unpack[WriteOptions]) -> R: ...

    def write(self, keys: Any, writer: Any, *, tags: Any = None, not_written: Any = None, **options: Any) -> Any:
        """The caller's own write to its store, with what is cached of it kept right around it.

            pond.write(["user:42"], lambda: db.save(user), tags=["users"])

        `keys` (one, or some) and `tags` are what the write changes. The cache is told before `writer` runs and after it has ended: meanwhile
        readers ask the store, and once write() has returned nobody is given what was read from the store before. If this
        process dies in between, readers pass by the cache until the intent has run out (option `intent`).

        A writer that needs an argument is handed a Writing: writing.set(key, value) says what is to be cached under a key once the
        write is done. Returns what the writer gave. Its exception is passed on; what came of the write is then taken as unknown, and readers
        pass by the cache for a while, unless not_written(exception) says that nothing was, and will be, written (a duplicate, a failed
        validation, a rollback).

        Where the cache cannot be told before, nothing is written and CacheError is raised; when_cache_down_write="lenient" writes all
        the same, and tells the cache as soon as it can.
        """
        check(writer, not_written)
        return self._write(keys_of(keys), body(writer, not_written), tags=tags, **options)

    def fetch_many(self, keys: str | Iterable[str], loader: BulkLoader, *, tags: Iterable[str] | None = None,
                   **options: Unpack[CallOptions]) -> list[Any]:
        """As many fetches in one: the values in the order of the keys, None where there is none.

            users = pond.fetch_many(["user:1", "user:2"], load_missing, ttl="5m")

        The keys are asked for in one round trip, and what the cache does not have is loaded by one call: load_missing(keys) gives a mapping of
        keys to values, or a list in the order of its keys. A key that a mapping leaves out is not there, and that is cached as an
        absence. There is still one load per key however many ask: what others load already is waited for. If the loader raises,
        so does this call. The keys may be any number; of more than 2,048 one part is done after the other.
        """
        check_loader(loader)
        return self._fetch_many(keys_of(keys), loading_body(loader), False, tags=tags, **options)

    def set_many(self, values: Mapping[str, Any] | Iterable[tuple[str, Any]], **options: Unpack[WriteOptions]) -> None:
        """Puts values into the cache, in two round trips for all: a mapping, or pairs; None says that there is no such thing.

        For what this program is the source of: a session, something computed. Not for what was read from a store, which somebody
        may have written since: fetch_many() and warm() read under a lease, and can tell.
        """
        self._set_many(*entries(values), **options)

    def warm(self, keys: Iterable[str], loader: BulkLoader, *, batch: int = 500, parallel: int = 1,
             progress: Callable[[int], object] | None = None, tags: Iterable[str] | None = None, **options: Unpack[CallOptions]) -> int:
        """Fills the cache ahead of traffic: of an iterable of keys, which may be long and lazy, `batch` at a time are asked for, and those
        that are not cached loaded by one call of the loader, as in fetch_many(). `parallel` batches are under way at once in threads.
        `progress(done)` is called after each batch. Returns how many keys there were.
        """
        check_loader(loader)
        run, done = loading_body(loader), 0

        def one(part: tuple[str, ...]) -> int:
            self._fetch_many(part, run, True, tags=tags, **options)
            return len(part)

        def report(count: int) -> None:
            nonlocal done
            done += count
            if progress is not None:
                progress(done)

        parts = pieces(keys, batch, parallel)
        if parallel == 1:
            for part in parts:
                report(one(part))
            return done
        with ThreadPoolExecutor(parallel, "millpond-warm") as threads:
            running: set[Future[int]] = set()
            for part in parts:
                running.add(threads.submit(one, part))
                while len(running) >= parallel:
                    ended, running = wait(running, return_when=FIRST_COMPLETED)
                    for future in ended:
                        report(future.result())
            for future in running:
                report(future.result())
        return done

    @overload
    def cached(self, key: Callable[P, R], /) -> Cached[P, R]: ...

    @overload
    def cached(self, key: str | None = None, /, **options: Unpack[CachedOptions]) -> Callable[[Callable[P, R]], Cached[P, R]]: ...

    def cached(self, key: Any = None, /, *, tags: Any = None, **options: Any) -> Any:
        """A decorator: the function's results are cached under a key made from its arguments.

            @pond.cached("price:{sku}", ttl="1m")
            def price(sku): ...

            price("A7")               # fetch("price:A7", ...)
            price.invalidate("A7")

        Without a template the key is the function's full name with all its arguments, a method's `self` left out. `tags`: what the
        results depend on, or a function of the same arguments that says it.
        """
        if callable(key):
            return self.cached()(key)
        pond = self._derive(**options) if options else self

        def decorate(function: Any) -> Any:
            if inspect.iscoroutinefunction(function):
                raise TypeError(f"{function.__qualname__} is async, and this pond blocks: open one with millpond.aio.open()")
            return Cached(pond, function, key, tags)

        return decorate

    def collection(self, name: str, **options: Unpack[ViewOptions]) -> Collection:
        """A collection of the store, through the cache: documents by id, and pages of queries.

        What a query may ask for is bounded by `filterable`, `sortable` and `searchable` (lists of fields; not given: all), `max_limit` and
        `default_limit`. `indexes` are made by prepare(). `ttl` is that of documents (default 1h), `find_ttl` and `search_ttl` those of pages.
        `absent="raise"`: get() raises Absent for what is not there. `write="behind"`: a change is accepted by the cache, and taken to the
        store later; a collection is written behind or not, for good, in all processes.
        """
        return Collection(self, name, **options)

    def store(self, collection: str) -> Store:
        """A collection of the store, past the cache."""
        return Store(self, collection)

    def stats(self) -> Stats:
        """Counters since open, with one dict per namespace."""
        return _core.stats(self)

    def stat(self, name: CounterName, namespace: str | None = None) -> int:
        """One counter ("hits", "misses", "negative_hits", "loads"...), of a namespace or of all together."""
        return _core.stat(self, namespace, name)

    def metrics(self) -> str:
        """The counters and more for Prometheus: what its text format 0.0.4 has for them."""
        return _core.metrics(self)

    def processes(self) -> list[dict[str, Any]]:
        """What the processes count that publish it to this cache (option publish_stats): their host, pid, total, namespaces..."""
        return _core.processes(self)

    def close(self, timeout: Duration = "30s") -> None:
        """Refuses new work, waits for what is under way, ends the rest with ClosedError. Again: nothing happens.

        What is written behind and is not in the store by then is taken there by another process.
        """
        _core.close(self, milliseconds("timeout", timeout))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<millpond.Pond, namespace {self._namespace!r}>"

    def __reduce__(self) -> Any:
        raise TypeError("a pond is not pickled: open it in each process, or let a forked child inherit it")


Pond.__module__ = "millpond"
