"""Millpond: a cache in front of a store, with the caching patterns done right.

    pond = millpond.open("redis://127.0.0.1:6379/0", namespace="shop")
    user = pond.fetch("user:42", load_user, ttl="5m")     # load_user() gives a value, or None = there is no such user

The same names, awaited, are in millpond.aio.
"""

from __future__ import annotations

from . import _setup as _setup  # noqa: F401  (hands the C module what it needs; first)
from ._cached import Cached
from ._collection import Collection, Page
from ._dead import DeadLetter, DeadLetterList, DeadLetters
from ._errors import (
    Absent,
    CacheError,
    CanceledError,
    ClosedError,
    DeadlockError,
    DuplicateError,
    Error,
    Interrupted,
    InvalidKey,
    InvalidQuery,
    InvalidValue,
    LoaderError,
    MisuseError,
    OptionError,
    OutOfMemory,
    OverloadError,
    ProtocolError,
    StoreError,
    TimeoutError,
    UrlError,
    ValidationError,
)
from ._pond import Pond, open
from ._store import Store
from ._values import NULL, Entry, NullType
from ._core import Writing
from ._core import version as _version

__version__: str = _version()

__all__ = [
    "NULL",
    "Absent",
    "CacheError",
    "Cached",
    "CanceledError",
    "ClosedError",
    "Collection",
    "DeadLetter",
    "DeadLetterList",
    "DeadLetters",
    "DeadlockError",
    "DuplicateError",
    "Entry",
    "Error",
    "Interrupted",
    "InvalidKey",
    "InvalidQuery",
    "InvalidValue",
    "LoaderError",
    "MisuseError",
    "NullType",
    "OptionError",
    "OutOfMemory",
    "OverloadError",
    "Page",
    "Pond",
    "ProtocolError",
    "Store",
    "StoreError",
    "TimeoutError",
    "UrlError",
    "ValidationError",
    "Writing",
    "open",
]
