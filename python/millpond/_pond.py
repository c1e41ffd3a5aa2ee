"""millpond.open() and Pond: the calls that block."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Callable, overload

from . import _core
from ._cached import Cached
from ._collection import Collection
from ._options import milliseconds, option_text
from ._store import Store

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import ParamSpec, Self, TypeVar, Unpack

    from ._generated import CounterName, Duration
    from ._types import CallOptions, OpenOptions, Stats, ViewOptions

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
    def cached(self, key: Callable[P, R], /) -> Cached[P, R]: ...

    @overload
    def cached(self, key: str | None = None, /, **options: Unpack[CallOptions]) -> Callable[[Callable[P, R]], Cached[P, R]]: ...

    def cached(self, key: Any = None, /, **options: Any) -> Any:
        """A decorator: the function's results are cached under a key made from its arguments.

            @pond.cached("price:{sku}", ttl="1m")
            def price(sku): ...

            price("A7")               # fetch("price:A7", ...)
            price.invalidate("A7")

        Without a template the key is the function's full name with all its arguments, a method's `self` left out.
        """
        if callable(key):
            return self.cached()(key)
        pond = self._derive(**options) if options else self

        def decorate(function: Any) -> Any:
            if inspect.iscoroutinefunction(function):
                raise TypeError(f"{function.__qualname__} is async, and this pond blocks: open one with millpond.aio.open()")
            return Cached(pond, function, key)

        return decorate

    def collection(self, name: str, **options: Unpack[ViewOptions]) -> Collection:
        """A collection of the store, through the cache: documents by id, and pages of queries.

        What a query may ask for is bounded by `filterable`, `sortable` and `searchable` (lists of fields; not given: all), `max_limit` and
        `default_limit`. `indexes` are made by prepare(). `ttl` is that of documents (default 1h), `find_ttl` and `search_ttl` those of pages.
        `absent="raise"`: get() raises Absent for what is not there.
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
        """Refuses new work, waits for what is under way, ends the rest with ClosedError. Again: nothing happens."""
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
