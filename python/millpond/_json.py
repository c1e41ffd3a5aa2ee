"""JSON out. The core stores text; here is how Python's values become it, and what is said of those that cannot."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

from ._errors import InvalidValue

# Shared by all languages: no spaces, no escapes that UTF-8 makes unnecessary, and no NaN, which is not JSON.
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
scan = json.JSONDecoder().scan_once  # type: ignore[attr-defined]


def parse(payload: bytes | str) -> Any:
    try:
        return json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise InvalidValue(f"what is stored is not JSON that Python can read: {error}") from error


_HINTS = "give encode= and decode=, or model="


def encode(value: Any) -> bytes:
    """The JSON text of a value, as UTF-8. InvalidValue names the path of what cannot be stored: `user.created: datetime`."""
    try:
        return _encode(value).encode()
    except (TypeError, ValueError, RecursionError, OverflowError) as error:
        if hasattr(value, "__await__"):
            if hasattr(value, "close"):
                value.close()  # or Python warns that it was never awaited
            raise InvalidValue("the loader gave something to await: async loaders are for millpond.aio") from None
        raise InvalidValue(_complaint(value, error)) from error


def _complaint(value: Any, error: Exception) -> str:
    if isinstance(error, RecursionError) or "Circular reference" in str(error):
        return "the value refers to itself, or is nested too deeply for JSON"
    found = _find(value, "")
    if found is None:
        return f"the value is not JSON: {error}"
    path, what = found
    return f"{path or 'the value'}: {what} is not JSON: {_HINTS}"


def _find(value: Any, path: str) -> tuple[str, str] | None:
    """-> (path, what is there) of the first thing that JSON cannot hold."""
    if value is None or isinstance(value, (bool, int)):
        return None
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return path, "a text with a lone surrogate"
        return None
    if isinstance(value, float):
        return None if math.isfinite(value) else (path, repr(float(value)))
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, (str, int, float, bool)) and key is not None:
                return path, f"a {_name(type(key))} as the key of a dict"
            found = _find(key, path + "." * bool(path) + repr(key)) if isinstance(key, (str, float)) else None
            found = found or _find(inner, f"{path}.{key}" if path else str(key))
            if found:
                return found
        return None
    if isinstance(value, (list, tuple)):
        for row, inner in enumerate(value):
            found = _find(inner, f"{path}[{row}]")
            if found:
                return found
        return None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return path, f"the dataclass {_name(type(value))}"
    return path, _name(type(value))


def _name(cls: type) -> str:
    return cls.__qualname__ if cls.__module__ in ("builtins", "datetime", "decimal", "uuid") else f"{cls.__module__}.{cls.__qualname__}"
