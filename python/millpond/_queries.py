"""Queries out: whatever a program or a framework has for a query, as the JSON that the core reads. What it means, the core alone
knows: nothing is parsed here."""

from __future__ import annotations

import datetime
import decimal
import json
import uuid
from collections.abc import ItemsView, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from ._errors import InvalidQuery

if TYPE_CHECKING:
    from ._generated import QueryReason

_UTC = datetime.timezone.utc


def refuse(reason: QueryReason, text: str) -> NoReturn:
    error = InvalidQuery(text)
    error.reason = reason
    raise error


def encode_query(query: Any) -> bytes:
    """-> JSON. Lone surrogates become bytes that are not UTF-8, NaN stays NaN: it is for the core to refuse them."""
    try:
        return _encode(query if type(query) is dict else _plain(query)).encode("utf-8", "surrogatepass")
    except _Unfit as unfit:
        refuse("bad_value", f"{_path(query, unfit.value) or 'the query'}: {unfit}")
    except RecursionError:
        refuse("bad_operator", "the query is nested too deeply: write {field: {operator: value}}")
    except OverflowError as error:
        refuse("bad_value", f"the query holds a date that is out of range: {error}")
    except ValueError as error:
        if "Circular" in str(error):
            refuse("bad_operator", "the query contains itself: write {field: {operator: value}}")
        refuse("too_long", f"the query holds a number that is too long: {error}")
    except TypeError as error:
        if isinstance(query, (Mapping, list, tuple)):
            refuse("bad_field", f"a query's fields are named by str: {error}")
        raise


# ---- what it is ----


def _plain(query: Any) -> Any:
    """Parameters as they came by HTTP become a dict with a list where one was repeated."""
    if hasattr(query, "multi_items"):  # Starlette, FastAPI, httpx
        return _group(query.multi_items())
    if hasattr(query, "lists"):  # Werkzeug and Flask, Django
        return {key: values[0] if len(values) == 1 else list(values) for key, values in query.lists() if values}
    if isinstance(query, Mapping):
        return _group(query.items()) if hasattr(query, "getall") else dict(query)  # aiohttp and yarl: a pair for each value
    if isinstance(query, (Iterator, ItemsView)):
        query = list(query) or {}
    if isinstance(query, (list, tuple)) and query and all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in query):
        return _group(query)
    if query is None or isinstance(query, (bool, int, float, list, tuple, dict)):
        return query  # the core says why it is no query
    raise TypeError(f"a query is a str, bytes, a dict, a list of pairs or a framework's query parameters, not {type(query).__name__}")


def _group(pairs: Iterable[Any]) -> dict[Any, Any]:
    out: dict[Any, Any] = {}
    repeated: set[Any] = set()
    for key, value in pairs:
        if key not in out:
            out[key] = value
        elif key in repeated:
            out[key].append(value)
        else:
            repeated.add(key)
            out[key] = [out[key], value]
    return out


# ---- values that JSON has no word for ----


class _Unfit(Exception):
    def __init__(self, value: object, text: str) -> None:
        super().__init__(text)
        self.value = value


def _special(value: Any) -> Any:
    if isinstance(value, datetime.datetime):
        if value.utcoffset() is None:
            raise _Unfit(value, f"{value!r} has no time zone, so it is no instant: give it one (tzinfo=datetime.timezone.utc)")
        return value.astimezone(_UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
    if isinstance(value, decimal.Decimal):
        return _number(value)
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (set, frozenset)):
        return list(value)
    if isinstance(value, (bytes, bytearray)):
        return value.decode("utf-8", "surrogateescape")
    raise _Unfit(value, f"what is of type {type(value).__qualname__} has no meaning in a query")


def _number(value: decimal.Decimal) -> int | float:
    """Exact within 64 bits, else the nearest double, as stores keep it."""
    if value.is_finite() and abs(value.adjusted()) < 20 and value == value.to_integral_value():
        return int(value)
    return float(value) if not value.is_snan() else float("nan")


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=_special).encode


def _path(query: Any, wanted: object, path: str = "", depth: int = 8) -> str | None:
    """Where in the query it is."""
    if query is wanted:
        return path
    if depth == 0:
        return None
    try:
        inner = [(f"{path}[{key}]" if path else str(key), value) for key, value in query.items()] if isinstance(query, Mapping) else (
            [(path, value) for value in query] if isinstance(query, (list, tuple, set, frozenset)) else [])
    except Exception:
        return None
    for at, value in inner:
        found = _path(value, wanted, at, depth - 1)
        if found is not None:
            return found
    return None
