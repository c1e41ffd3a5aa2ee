"""JSON out. The core stores text; here is how Python's values become it, and what is said of those that cannot."""

from __future__ import annotations

import dataclasses
import datetime
import json
import json.encoder
import math
from typing import Any, Callable

from ._errors import InvalidValue


def _encoder(default: Callable[[Any], Any] | None = None) -> Callable[[Any], str]:
    """Shared by all languages: no spaces, no escapes that UTF-8 makes unnecessary, and no NaN, which is not JSON.

    JSONEncoder.encode() makes such a c_make_encoder for each call, which takes as long as a document of 300 bytes. Without markers who holds himself
    is found by the depth. Where Python has another, or none, that is what is used."""
    encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=default)
    try:
        make: Any = json.encoder.c_make_encoder  # type: ignore[attr-defined]
        chunks = make(None, encoder.default, json.encoder.encode_basestring, None, ":", ",", False, False, False)
        join = "".join
        if join(chunks({"a": [1.5, None, "é"]}, 0)) != encoder.encode({"a": [1.5, None, "é"]}):
            return encoder.encode
    except (AttributeError, TypeError):
        return encoder.encode
    return lambda value: join(chunks(value, 0))


_encode = _encoder()
scan = json.JSONDecoder().scan_once  # type: ignore[attr-defined]

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
_MILLISECOND = datetime.timedelta(milliseconds=1)


def _date(found: dict[str, Any]) -> Any:
    """{"$date": {"$numberLong": "0"}} -> datetime; what Python has no datetime for, and every other kind, stays as it is."""
    if len(found) != 1 or "$date" not in found:
        return found
    inner = found["$date"]
    text = inner.get("$numberLong") if type(inner) is dict and len(inner) == 1 else None
    if type(text) is not str or len(text) > 20:
        return found
    try:
        number = int(text)
        return _EPOCH + number * _MILLISECOND if str(number) == text else found
    except (ValueError, OverflowError):
        return found


def _dated(value: Any) -> Any:
    """The way back. Milliseconds are what stores keep of an instant."""
    if isinstance(value, datetime.datetime) and value.utcoffset() is not None:
        return {"$date": {"$numberLong": str((value - _EPOCH) // _MILLISECOND)}}
    raise TypeError(f"{_name(type(value))} is not JSON")


# Documents of a store: Extended JSON, of which dates have a word in Python.
scan_dates = json.JSONDecoder(object_hook=_date).scan_once  # type: ignore[attr-defined]
_encode_document = _encoder(_dated)


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


def encode_document(doc: dict[str, Any]) -> bytes:
    """As encode(), with aware datetimes."""
    try:
        return _encode_document(doc).encode()
    except (TypeError, ValueError, RecursionError, OverflowError) as error:
        raise InvalidValue(_complaint(doc, error, _DOCUMENT_HINTS, dates=True)) from error


_DOCUMENT_HINTS = "a document holds JSON, and datetimes with a time zone"


def _complaint(value: Any, error: Exception, hints: str = _HINTS, dates: bool = False) -> str:
    if isinstance(error, RecursionError) or "Circular reference" in str(error):
        return "the value refers to itself, or is nested too deeply for JSON"
    found = _find(value, "", dates)
    if found is None:
        return f"the value is not JSON: {error}"
    path, what = found
    return f"{path or 'the value'}: {what} is not JSON: {hints}"


def _find(value: Any, path: str, dates: bool = False) -> tuple[str, str] | None:
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
            found = found or _find(inner, f"{path}.{key}" if path else str(key), dates)
            if found:
                return found
        return None
    if isinstance(value, (list, tuple)):
        for row, inner in enumerate(value):
            found = _find(inner, f"{path}[{row}]", dates)
            if found:
                return found
        return None
    if dates and isinstance(value, datetime.datetime):
        return None if value.utcoffset() is not None else (path, "a datetime without a time zone")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return path, f"the dataclass {_name(type(value))}"
    return path, _name(type(value))


def _name(cls: type) -> str:
    return cls.__qualname__ if cls.__module__ in ("builtins", "datetime", "decimal", "uuid") else f"{cls.__module__}.{cls.__qualname__}"
