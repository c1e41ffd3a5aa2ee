"""Many keys in one call: what their loader gives, in what form it may, and how a long list is warmed."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Callable, Iterator

from ._writing import keys_of

if TYPE_CHECKING:
    from . import _core

__all__ = ["body", "check", "entries", "keys_of", "pieces", "settle"]


def check(loader: Any) -> None:
    if not callable(loader):
        raise TypeError(f"this needs a loader of many: a callable that takes a list of keys, not {loader!r}")


def settle(batch: _core.Batch, given: Any) -> None:
    """Answers the batch with what its loader gave."""
    keys = batch.keys
    if isinstance(given, Mapping):
        if given and not any(key in given for key in keys):  # ids, most likely: nothing would be found, and that would be cached
            raise TypeError(f"the loader of many gave a mapping with none of the keys that it was asked for ({keys[0]!r}...), but with "
                            f"{next(iter(given))!r}: map the keys as they came")
        batch._answer([given.get(key) for key in keys])
        return
    if not isinstance(given, Iterable) or isinstance(given, (str, bytes, bytearray)):
        raise TypeError(f"a loader of many gives a mapping of keys to values, or a list of values in the order of its keys, not {given!r}")
    values = list(given)
    if len(values) != len(keys):
        raise TypeError(f"the loader of {len(keys)} keys gave a list of {len(values)}: it takes one for each key (None: there is no such "
                        "thing), or a mapping, which may leave keys out")
    batch._answer(values)


def body(loader: Callable[[list[str]], Any]) -> Callable[[_core.Batch], None]:
    """What a blocking fetch_many runs."""

    def run(batch: _core.Batch) -> None:
        try:
            given = loader(batch.keys)
            if inspect.iscoroutine(given):
                given.close()
                raise TypeError(f"{loader!r} is async, and this pond blocks: open one with millpond.aio.open()")
            settle(batch, given)
        except BaseException as error:
            told = batch._fail(error)
            if not told or not isinstance(error, Exception):  # a signal handler's, perhaps, when all was answered already
                raise

    return run


def entries(values: Any) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    """A mapping, or pairs -> keys and values."""
    pairs = list(values.items() if isinstance(values, Mapping) else values)
    for pair in pairs:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise TypeError(f"set_many() takes a mapping, or pairs of a key and a value, not {pair!r}")
    return tuple(key for key, _ in pairs), tuple(value for _, value in pairs)


def pieces(keys: Any, batch: int, parallel: int) -> Iterator[tuple[str, ...]]:
    """An iterable of keys, which may be long and lazy, in tuples of `batch`."""
    if isinstance(keys, (str, bytes)):
        raise TypeError(f"warm() takes keys, not one text: {keys!r}")
    for name, value in (("batch", batch), ("parallel", parallel)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise TypeError(f"{name}= is a number from 1 on, not {value!r}")
    iterator = iter(keys)
    return iter(lambda: tuple(itertools.islice(iterator, batch)), ())
