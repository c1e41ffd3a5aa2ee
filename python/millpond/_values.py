"""What stands for what JSON, or Python, has no word for."""

from __future__ import annotations

from typing import Any, Generic, Literal, TypeVar, final

T_co = TypeVar("T_co", covariant=True)


@final
class NullType:
    """The type of millpond.NULL: a null that is data. A loader returns None for 'there is no such thing', and NULL for 'there
    is one, and it is null'."""

    __slots__ = ()
    _only: NullType | None = None

    def __new__(cls) -> NullType:
        if cls._only is None:
            cls._only = super().__new__(cls)
        return cls._only

    def __bool__(self) -> Literal[False]:
        return False

    def __repr__(self) -> str:
        return "millpond.NULL"

    def __reduce__(self) -> str:
        return "NULL"  # found again by name, so there is one in every process

    def __copy__(self) -> NullType:
        return self

    def __deepcopy__(self, memo: Any) -> NullType:
        return self


NullType.__module__ = "millpond"
NULL = NullType()


class Entry(Generic[T_co]):
    """What lookup() or fetch_entry() found: `state` is "value", "absent" (known not to be there) or "miss" (nothing is known); `value` is
    None where there is none; `stale` is True if the value is past its ttl, and was served as grace and stale_if_error allow."""

    __slots__ = ("stale", "state", "value")
    __match_args__ = ("state", "value", "stale")
    state: Literal["value", "absent", "miss"]
    value: T_co | None
    stale: bool

    def __init__(self, state: Literal["value", "absent", "miss"], value: T_co | None = None, stale: bool = False) -> None:
        self.state = state
        self.value = value
        self.stale = stale

    def __repr__(self) -> str:
        if self.state != "value":
            return f"Entry({self.state!r})"
        return f"Entry({self.state!r}, {self.value!r}{', stale=True' if self.stale else ''})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Entry):
            return NotImplemented
        return bool(self.state == other.state and self.value == other.value and self.stale == other.stale)

    __hash__ = None  # type: ignore[assignment]


Entry.__module__ = "millpond"
