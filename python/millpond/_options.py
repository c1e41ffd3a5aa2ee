"""Option values as the text that the core reads. What they mean, and whether they are allowed, the core alone knows."""

from __future__ import annotations

import datetime
import os
import re
from typing import Any

from ._errors import OptionError

_MILLISECOND = datetime.timedelta(milliseconds=1)


def option_text(name: str, value: Any) -> str:
    """bool -> on/off, int -> itself (milliseconds, bytes, a count), timedelta -> milliseconds, str and paths -> themselves."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, datetime.timedelta):
        return str(-(-value // _MILLISECOND))  # up: a short time is not none
    if isinstance(value, os.PathLike) and isinstance(path := os.fspath(value), str):
        return path
    hint = ": milliseconds are an int, other units a text such as \"1.5s\"" if isinstance(value, float) else ""
    raise OptionError(f"{name}={value!r} is a {type(value).__name__}; an option is a str, an int or a timedelta{hint}")


_UNITS = {"": 1, "ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def milliseconds(name: str, value: int | str | datetime.timedelta) -> int:
    """For close(timeout=), which the core takes as a number."""
    text = option_text(name, value)
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|)\s*", text)
    if match is None:
        raise OptionError(f"{name}={value!r} is not a duration: write 250, \"250ms\", \"30s\", \"5m\" or \"1h\"")
    return round(float(match[1]) * _UNITS[match[2]])
