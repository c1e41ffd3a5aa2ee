"""Changes of documents: what create, replace, update and delete hand to the core, and how a validation is asked."""

from __future__ import annotations

import contextlib
import inspect
import logging
from typing import TYPE_CHECKING, Any, Callable

from . import _core
from ._errors import Error, InvalidValue, OptionError, ValidationError

if TYPE_CHECKING:
    Validate = Callable[[dict[str, Any]], Any]
    OnChange = Callable[[dict[str, Any]], Any]

# enum pond_change_kind
CREATE = 1
REPLACE = 2
UPDATE = 3
DELETE = 4

EVENTS = {CREATE: "created", REPLACE: "updated", UPDATE: "updated", DELETE: "deleted"}


def validation(options: dict[str, Any]) -> Validate | None:
    """Takes validate= out of a collection's options."""
    validate: Validate | None = options.pop("validate", None)
    if validate is not None and not callable(validate):
        raise OptionError(f"validate={validate!r} is not a callable")
    return validate


def listener(options: dict[str, Any], blocking: bool) -> OnChange | None:
    """Takes on_change= out of a collection's options."""
    on_change: OnChange | None = options.pop("on_change", None)
    if on_change is not None and not callable(on_change):
        raise OptionError(f"on_change={on_change!r} is not a callable")
    if blocking and inspect.iscoroutinefunction(on_change):
        raise TypeError(f"{on_change!r} is async, and this pond blocks: open one with millpond.aio.open()")
    return on_change


def member_name(field: str) -> str:
    if not isinstance(field, str):
        raise InvalidValue(f"increment: the field is the name of a member, not {field!r}")
    return field


def whole(by: int) -> int:
    """What the core says of numbers that are too large it says of those past 64 bits too."""
    if not isinstance(by, int) or isinstance(by, bool):
        raise InvalidValue(f"increment: by={by!r} is no whole number")
    return max(-(2**63), min(by, 2**63 - 1))


def event_of(collection: str, kind: int, id: str, document: dict[str, Any] | None) -> dict[str, Any]:
    return {"event": EVENTS[kind], "collection": collection, "id": id, "document": document}


def listener_failed(name: str) -> None:
    """The change has been made: who made it is not to be told otherwise."""
    logging.getLogger("millpond").exception("on_change of the collection %r failed", name)


def verdict(validate: Validate, result: Any) -> None:
    """Whatever a validation returns is fine, but for False."""
    if result is False:
        name = getattr(validate, "__qualname__", None) or repr(validate)
        raise ValidationError(f"{name} rejected the document")


def judge(validate: Validate) -> Validate:
    """What a blocking change runs."""

    def run(document: dict[str, Any]) -> None:
        result = validate(document)
        if inspect.iscoroutine(result):
            result.close()
            raise TypeError(f"{validate!r} is async, and this pond blocks: open one with millpond.aio.open()")
        verdict(validate, result)

    return run


async def change(collection: _core.LoopCollection, kind: int, id: str | None, document: bytes, validate: Validate) -> Any:
    """A change whose document is judged first, and again if somebody else changed it meanwhile: in the task that awaits it."""
    step, end = collection._change(kind, id, document, True)
    try:
        given = await step
        while isinstance(given, _core.Check):
            try:
                result = validate(given.document())
                if hasattr(result, "__await__"):
                    result = await result
                verdict(validate, result)
            except BaseException as error:
                given._fail()
                if isinstance(error, Exception):
                    with contextlib.suppress(Error):  # the validation's own goes on
                        await end
                raise
            given = await given._pass()
        return given
    except BaseException:
        end.cancel()  # does nothing where it has ended
        raise
