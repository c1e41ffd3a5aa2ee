"""The error classes: written from the core's table (_generated.py), and shown as millpond's own."""

from __future__ import annotations

from ._generated import (
    ERRORS,
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

for _class in (Error, *ERRORS):
    _class.__module__ = "millpond"
del _class

__all__ = [
    "ERRORS",
    "Absent",
    "CacheError",
    "CanceledError",
    "ClosedError",
    "DeadlockError",
    "DuplicateError",
    "Error",
    "Interrupted",
    "InvalidKey",
    "InvalidQuery",
    "InvalidValue",
    "LoaderError",
    "MisuseError",
    "OptionError",
    "OutOfMemory",
    "OverloadError",
    "ProtocolError",
    "StoreError",
    "TimeoutError",
    "UrlError",
    "ValidationError",
]
