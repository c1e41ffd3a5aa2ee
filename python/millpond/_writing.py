"""Writers: how they are called, and what is said of what came of it. The core does the rest (its intents, write.h)."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Callable, Iterable

if TYPE_CHECKING:
    from . import _core


def keys_of(keys: str | Iterable[str]) -> tuple[str, ...]:
    """One key, or some."""
    if isinstance(keys, str):
        return (keys,)
    if isinstance(keys, (bytes, bytearray)):
        raise TypeError(f"a key is a str, not {type(keys).__name__}")
    return tuple(keys)


def check(writer: Any, not_written: Any) -> None:
    if not callable(writer):
        raise TypeError(f"write() needs a writer, a callable, not {writer!r}")
    if not_written is not None and not callable(not_written):
        raise TypeError(f"not_written= is a callable, not {not_written!r}")


def takes_writing(writer: Callable[..., Any]) -> bool:
    """Does it need an argument? Then it is handed the writing; else it is called without."""
    try:
        parameters = inspect.signature(writer).parameters.values()
    except (ValueError, TypeError):  # a builtin that does not say
        return False
    return any(parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD) and parameter.default is parameter.empty
               for parameter in parameters)


def failed(writing: _core.Writing, error: BaseException, not_written: Callable[[Any], object] | None) -> None:
    """Only who wrote can know that nothing was written. Unless that is said, anything may have been."""
    sure = False
    try:
        sure = not_written is not None and bool(not_written(error))
    finally:
        writing._fail(sure)


def body(writer: Callable[..., Any], not_written: Callable[[Any], object] | None) -> Callable[[_core.Writing], Any]:
    """What a blocking write runs."""
    takes = takes_writing(writer)

    def run(writing: _core.Writing) -> Any:
        try:
            result = writer(writing) if takes else writer()
            if inspect.iscoroutine(result):
                result.close()
                raise TypeError(f"{writer!r} is async, and this pond blocks: open one with millpond.aio.open()")
        except BaseException as error:
            failed(writing, error, not_written)
            raise
        writing._done()
        return result

    return run
