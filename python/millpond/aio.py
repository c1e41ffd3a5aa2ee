"""Millpond for asyncio: the names of millpond, awaited.

    pond = millpond.aio.open("redis://127.0.0.1:6379/0", namespace="shop")     # at import time, no loop needs to run
    user = await pond.fetch("user:42", load_user, ttl="5m")                    # load_user may be async or not

A pond binds itself to each event loop that uses it. A load runs in a task of its own: a caller that is cancelled does not end
a load that others wait for.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Awaitable, Callable, Iterable, Mapping, cast, overload

from . import _core, _loops
from . import _setup as _setup  # noqa: F401
from ._bulk import check as check_loader
from ._bulk import entries, pieces
from ._cached import AsyncCached, Cached
from ._changing import CREATE, DELETE, REPLACE, UPDATE, change, event_of, listener, listener_failed, member_name, validation, whole
from ._collection import split
from ._dead import AsyncDeadLetters as DeadLetters
from ._errors import Error
from ._options import milliseconds
from ._pond import opened
from ._store import document_text
from ._writing import check, failed, keys_of, takes_writing

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Coroutine

    from typing_extensions import ParamSpec, Self, TypeVar, Unpack

    from ._generated import CounterName, Duration
    from ._types import AsyncBulkLoader, CachedOptions, CallOptions, OpenOptions, Stats, ViewOptions, WriteOptions

    P = ParamSpec("P")
    R = TypeVar("R")

__all__ = ["Collection", "DeadLetters", "Pond", "Store", "open"]


def open(cache: str = "memory:", *, store: str | None = None, namespace: str | None = None, **options: Unpack[OpenOptions]) -> Pond:
    """As millpond.open(), for asyncio. Not awaited: nothing is connected yet, and no loop needs to run."""
    pond: Pond = opened(Pond, cache, store, {"namespace": namespace, **options})
    return pond


class Pond(_core.LoopHandle):
    """An open pond, or a view of one with its own defaults (namespace()). Any number of event loops may use it."""

    __slots__ = ("__weakref__",)

    # fetch, lookup, invalidate, explain and processes are _core.LoopHandle's.

    def namespace(self, name: str | None = None, **options: Unpack[CallOptions]) -> Self:
        """The same pond under another namespace, with other defaults for what its calls do not say."""
        settings: Any = options if name is None else {**options, "namespace": name}
        view: Self = self._derive(**settings)
        return view

    @overload
    async def write(self, keys: str | Iterable[str], writer: Callable[[], Awaitable[R]], *, tags: Iterable[str] | None = None,
                    not_written: Callable[[Any], object] | None = None, **options: Unpack[WriteOptions]) -> R: ...

    @overload
    async def write(self, keys: str | Iterable[str], writer: Callable[[_core.Writing], Awaitable[R]], *, tags: Iterable[str] | None = None,
                    not_written: Callable[[Any], object] | None = None, **options: Unpack[WriteOptions]) -> R: ...

    @overload
    async def write(self, keys: str | Iterable[str], writer: Callable[[], R] | Callable[[_core.Writing], R], *,
                    tags: Iterable[str] | None = None, not_written: Callable[[Any], object] | None = None,
                    **options: Unpack[WriteOptions]) -> R: ...

    async def write(self, keys: Any, writer: Any, *, tags: Any = None, not_written: Any = None, **options: Any) -> Any:
        """The caller's own write to its store, with what is cached of it kept right around it.

            await pond.write(["user:42"], lambda: db.save(user), tags=["users"])

        `keys` (one, or some) and `tags` are what the write changes. The cache is told before `writer` runs and after it has ended: meanwhile
        readers ask the store, and once write() has returned nobody is given what was read from the store before. If this
        process dies in between, readers pass by the cache until the intent has run out (option `intent`).

        The writer may be async or not, and runs in the task that awaits this: who cancels that in the midst of it cancels the writer.

        A writer that needs an argument is handed a Writing: writing.set(key, value) says what is to be cached under a key once the
        write is done. Returns what the writer gave. Its exception is passed on; what came of the write is then taken as unknown, and readers
        pass by the cache for a while, unless not_written(exception) says that nothing was, and will be, written (a duplicate, a failed
        validation, a rollback).

        Where the cache cannot be told before, nothing is written and CacheError is raised; when_cache_down_write="lenient" writes all
        the same, and tells the cache as soon as it can.
        """
        check(writer, not_written)
        takes = takes_writing(writer)
        begin, end = self._write(keys_of(keys), tags=tags, **options)
        try:
            writing = await begin
        except BaseException:
            end.cancel()  # nothing has been written
            raise
        try:
            result = writer(writing) if takes else writer()
            if hasattr(result, "__await__"):
                result = await result
        except BaseException as error:
            failed(writing, error, not_written)
            if isinstance(error, Exception):
                with contextlib.suppress(Error):  # the writer's own goes on; here only that the cache has been told
                    await end
            raise
        writing._done()
        await end
        return result

    async def fetch_many(self, keys: str | Iterable[str], loader: AsyncBulkLoader, *, tags: Iterable[str] | None = None,
                         **options: Unpack[CallOptions]) -> list[Any]:
        """As many fetches in one: the values in the order of the keys, None where there is none.

            users = await pond.fetch_many(["user:1", "user:2"], load_missing, ttl="5m")

        The keys are asked for in one round trip, and what the cache does not have is loaded by one call: load_missing(keys) gives a mapping of
        keys to values, or a list in the order of its keys. A key that a mapping leaves out is not there, and that is cached as an
        absence. The loader may be async or not, and runs in a task of its own, which ends with its caller. There is still one load per key however many ask: what others load already is waited for. If the loader raises,
        so does this call. The keys may be any number; of more than 2,048 one part is done after the other.
        """
        values: list[Any] = await self._many(keys_of(keys), loader, False, tags=tags, **options)
        return values

    async def _many(self, keys: tuple[str, ...], loader: AsyncBulkLoader, discard: bool, **options: Any) -> Any:
        check_loader(loader)
        step, end = self._fetch_many(keys, discard, **options)
        loading = None
        try:
            while True:
                batch = await step
                if not isinstance(batch, _core.Batch):
                    return batch
                step, loading = batch.next, _loops.load_batch(batch, loader)
        except asyncio.CancelledError:
            end.cancel()
            if loading is not None:
                loading.cancel()
            raise

    async def set_many(self, values: Mapping[str, Any] | Iterable[tuple[str, Any]], **options: Unpack[WriteOptions]) -> None:
        """Puts values into the cache, in two round trips for all: a mapping, or pairs; None says that there is no such thing.

        For what this program is the source of: a session, something computed. Not for what was read from a store, which somebody
        may have written since: fetch_many() and warm() read under a lease, and can tell.
        """
        await self._set_many(*entries(values), **options)

    async def warm(self, keys: Iterable[str], loader: AsyncBulkLoader, *, batch: int = 500, parallel: int = 1,
                   progress: Callable[[int], object] | None = None, tags: Iterable[str] | None = None,
                   **options: Unpack[CallOptions]) -> int:
        """Fills the cache ahead of traffic: of an iterable of keys, which may be long and lazy, `batch` at a time are asked for, and those
        that are not cached loaded by one call of the loader, as in fetch_many(). `parallel` batches are under way at once.
        `progress(done)` is called after each batch. Returns how many keys there were.
        """
        check_loader(loader)
        done = 0
        parts = pieces(keys, batch, parallel)

        async def worker() -> None:
            nonlocal done
            for part in parts:
                await self._many(part, loader, True, tags=tags, **options)
                done += len(part)
                if progress is not None:
                    progress(done)

        workers = [asyncio.ensure_future(worker()) for _ in range(parallel)]
        try:
            await asyncio.gather(*workers)
        finally:
            for task in workers:
                task.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        return done

    @overload
    def cached(self, key: Callable[P, Awaitable[R]], /) -> Cached[P, Coroutine[Any, Any, R]]: ...

    @overload
    def cached(
        self, key: str | None = None, /, **options: Unpack[CachedOptions]
    ) -> Callable[[Callable[P, Awaitable[R]]], Cached[P, Coroutine[Any, Any, R]]]: ...

    def cached(self, key: Any = None, /, *, tags: Any = None, **options: Any) -> Any:
        """A decorator: the function's results are cached under a key made from its arguments.

            @pond.cached("price:{sku}", ttl="1m")
            async def price(sku): ...

            await price("A7")               # fetch("price:A7", ...)
            await price.invalidate("A7")

        The function may be async or not; the cached one is async. Without a template the key is the function's full name with all
        its arguments, a method's `self` left out. `tags`: what the results depend on, or a function of the same arguments that says it.
        """
        if callable(key):
            return self.cached()(key)
        pond = self._derive(**options) if options else self
        return lambda function: AsyncCached(pond, function, key, tags)

    def collection(self, name: str, **options: Unpack[ViewOptions]) -> Collection:
        """A collection of the store, through the cache: as millpond.Pond.collection(), its methods awaited."""
        return Collection(self, name, **options)

    def store(self, collection: str) -> Store:
        """A collection of the store, past the cache."""
        return Store(self, collection)

    async def stats(self) -> Stats:
        """Counters since open, with one dict per namespace."""
        return _core.stats(self)

    async def stat(self, name: CounterName, namespace: str | None = None) -> int:
        """One counter ("hits", "misses", "negative_hits", "loads"...), of a namespace or of all together."""
        return _core.stat(self, namespace, name)

    async def metrics(self) -> str:
        """The counters and more for Prometheus: what its text format 0.0.4 has for them."""
        return _core.metrics(self)

    async def close(self, timeout: Duration = "30s") -> None:
        """Refuses new work, waits for what is under way, ends the rest with ClosedError. Again: nothing happens.

        What is written behind and is not in the store by then is taken there by another process.
        """
        wait = milliseconds("timeout", timeout)
        # In a thread: what is under way in this loop must go on meanwhile.
        await asyncio.get_running_loop().run_in_executor(None, _core.close, self, wait)
        queue = self._queue()
        if queue is not None:
            _loops.detach(queue)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<millpond.aio.Pond, namespace {self._namespace!r}>"

    def __reduce__(self) -> Any:
        raise TypeError("a pond is not pickled: open it in each process, or let a forked child inherit it")


class Collection(_core.LoopCollection):
    """As millpond.Collection, awaited. Any number of event loops may use it.

        films = pond.collection("films", filterable=["genre", "rating"], searchable=["title"])
        await films.get("0042")
        await films.find(request.query_params)
        await films.update("0042", {"rating": 8.1})

    validate= and on_change= may be async; they run in the task that awaits the change. Who cancels that before the store is written to
    changes nothing.
    """

    __slots__ = ("__weakref__", "_on_change", "_validate", "name")

    # prepare, get, get_many, find, explain and invalidate are _core.LoopCollection's.

    def __init__(self, pond: Pond, name: str, **options: Unpack[ViewOptions]) -> None:
        self._validate = validation(cast("dict[str, Any]", options))
        self._on_change = listener(cast("dict[str, Any]", options), False)
        view, texts = split(pond, options)
        super().__init__(view, name, texts)
        self.name = name

    async def _changed(self, kind: int, id: str | None, text: bytes | None) -> dict[str, Any] | None:
        if self._validate is None or text is None:
            made: dict[str, Any] | None = await self._change(kind, id, text, False)
        else:
            made = await change(self, kind, id, text, self._validate)
        if self._on_change is not None:
            try:
                told = self._on_change(event_of(self.name, kind, made["id"] if made is not None else cast("str", id), made))
                if hasattr(told, "__await__"):
                    await told
            except Exception:
                listener_failed(self.name)
        return made

    async def create(self, doc: dict[str, Any]) -> dict[str, Any]:
        """Writes a document that is not there yet, and gives it. Its id is its "id"; without one it gets one (24 hexadecimal digits).
        DuplicateError: there is one."""
        return cast("dict[str, Any]", await self._changed(CREATE, None, document_text(doc)))

    async def replace(self, id: str, doc: dict[str, Any]) -> dict[str, Any]:
        """Writes the whole of a document that is there, and gives it. Absent: there is none; written behind, it is not looked whether
        there is one: then there is now."""
        return cast("dict[str, Any]", await self._changed(REPLACE, id, document_text(doc)))

    async def update(self, id: str, patch: dict[str, Any]) -> dict[str, Any]:
        """Changes some members, and gives the whole document. The patch is a JSON merge patch (RFC 7386): None removes a member, dicts are
        merged, lists are replaced. Of several updates at once none is lost. Absent: there is no such document."""
        return cast("dict[str, Any]", await self._changed(UPDATE, id, document_text(patch)))

    async def delete(self, id: str) -> None:
        """Absent: there is none; written behind, it is not looked whether there is one."""
        await self._changed(DELETE, id, None)

    async def increment(self, id: str, field: str, by: int = 1) -> None:
        """Of a collection that is written behind: adds a whole number (up to 2**53 - 1 either way) to a member, which counts from 0
        if it is not there, of a document that is there: none is made. Every reader of the document sees it from then on, and it counts exactly once. No document is read for it, so the new value
        is not told; and where nobody knows yet that there is no such document, or that the member is no integer, it is dropped later, and counted in
        stats() as dropped_increments. InvalidValue: the field (a path with dots is none). Absent: it is known that there is no such document."""
        await self._increment(id, member_name(field), whole(by))

    async def flush(self, timeout: Duration = "30s") -> None:
        """Of a collection that is written behind: waits until all that was accepted before, by any process, is in the store.
        What the store refuses is waited for until it is a dead letter, and is no error here. TimeoutError: it is still on its way.
        CacheError: in all that time the cache could not be asked."""
        await self._flush(milliseconds("timeout", timeout))

    @property
    def dead_letters(self) -> DeadLetters:
        """Of a collection that is written behind: what the store would not have."""
        return DeadLetters(self)

    def __repr__(self) -> str:
        return f"<millpond.aio.Collection {self.name!r}>"


class Store:
    """A collection of the pond's store. What you cached of its documents is yours to invalidate."""

    __slots__ = ("_pond", "collection")

    def __init__(self, pond: Pond, collection: str) -> None:
        self._pond = pond
        self.collection = collection

    def __repr__(self) -> str:
        return f"<millpond.aio store {self.collection!r}>"

    async def create(self) -> None:
        """Makes the collection if it is not there."""
        await self._pond._store_create(self.collection)

    async def get(self, id: str) -> dict[str, Any] | None:
        """The document, its id first; None if there is none."""
        return await self._pond._store_get(self.collection, id)

    async def get_many(self, ids: Iterable[str]) -> list[dict[str, Any] | None]:
        """The documents in the order asked, None where there is none."""
        return await self._pond._store_get_many(self.collection, ids)

    async def put(self, id: str, doc: dict[str, Any]) -> None:
        """Inserts or replaces."""
        await self._pond._store_put(self.collection, id, document_text(doc))

    async def delete(self, id: str) -> bool:
        """Whether there was one."""
        return await self._pond._store_delete(self.collection, id)
