"""Types of the public layer that need no module of their own at run time."""

from __future__ import annotations

from typing import Any, Awaitable, Callable, Iterable, Literal, Mapping, TypedDict, Union

from ._generated import CollectionOptions, Counters, PolicyOptions, PondOptions


# what find() takes: a query string; an object, nested or flat; parameters as frameworks have them; pairs
Query = Union[str, bytes, bytearray, Mapping[str, Any], Iterable[tuple[str, Any]], None]


class FetchOptions(PolicyOptions, total=False):
    # called with what the loader gave, unless it was None; false: handed out, but not cached
    should_cache: Callable[[Any], object] | None


class Conversions(TypedDict, total=False):
    encode: Callable[[Any], bytes | str] | None
    decode: Callable[[Any], Any] | None
    model: Any
    absent: Literal["none", "raise"] | None


class CallOptions(FetchOptions, Conversions, total=False):
    """What a namespace or a call may be told."""


class CachedOptions(CallOptions, total=False):
    """What cached() may be told."""

    # at most 16 str: who invalidates or writes one of them puts the value out of reach
    tags: Iterable[str] | Callable[..., Iterable[str]] | None


class WriteOptions(PolicyOptions, total=False):
    """What write() may be told beside its own arguments."""

    encode: Callable[[Any], bytes | str] | None
    model: Any


# takes keys, and gives a mapping of them to values, or a list of values in their order
BulkLoader = Callable[[list[str]], Union[Mapping[str, Any], Iterable[Any]]]
AsyncBulkLoader = Callable[[list[str]], Union[Mapping[str, Any], Iterable[Any], Awaitable[Union[Mapping[str, Any], Iterable[Any]]]]]


class OpenOptions(PondOptions, Conversions, total=False):
    """What open() may be told: the defaults of all calls among it."""

    should_cache: Callable[[Any], object] | None


class ViewOptions(CollectionOptions, total=False):
    """What collection() may be told."""

    absent: Literal["none", "raise"] | None
    # called with each document before it is written; what it raises is passed on, and nothing is touched
    validate: Callable[[dict[str, Any]], Any] | None
    # called with {"event", "collection", "id", "document"} after each change; what it raises is logged
    on_change: Callable[[dict[str, Any]], Any] | None


class DroppedIncrement(TypedDict):
    document_id: str
    field: str
    by: int
    why: str
    at_ms: int  # since 1970


class BehindStats(TypedDict):
    """Of a collection that is written behind, in this process."""

    shards: int  # of 4: those from which this process takes what was accepted to the store
    backlog: int  # documents that wait in these, or, while the store is away, in those that it looks after, as last seen
    lag_ms: int  # how long the oldest of them has waited at most, as far as this process has seen; 0: none waits
    problem: str | None  # what keeps them from the store, or from being as safe as they could be
    dropped_increments: int
    last_dropped: list[DroppedIncrement]  # the last 16 of these, oldest first


class EventStats(TypedDict):
    waiting: int  # in this process
    problem: str | None  # the broker's last


class PartStats(TypedDict, total=False):
    """What is there only if the pond has such a thing. About the cache itself: what is known of a kind is under its name."""

    memory: dict[str, Any]
    redis: dict[str, Any]
    behind: dict[str, BehindStats]  # by namespace and collection: "shop/views"
    events: EventStats


class Stats(PartStats):
    total: Counters
    namespaces: dict[str, Counters]
    calls: int  # under way
    overdue_ends: int  # of writes that the cache has not taken yet
