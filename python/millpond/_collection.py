"""Collections: documents by id and pages of queries, cached."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Iterator, cast

from . import _core
from ._changing import CREATE, DELETE, REPLACE, UPDATE, event_of, judge, listener, listener_failed, member_name, validation, whole
from ._dead import DeadLetters
from ._errors import OptionError
from ._options import milliseconds, option_text
from ._store import document_text

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._generated import Duration
    from ._pond import Pond
    from ._types import ViewOptions

_NAMES = frozenset({"filterable", "sortable", "searchable", "search_fields", "indexes"})
_NONE = " "  # the text of a list without names: an empty one is 'not given'


def split(pond: Any, options: Any) -> tuple[Any, tuple[str, ...]]:
    """-> (the pond, which knows what becomes of an absence; (name, text, name, text...) of what else was given)"""
    absent = options.pop("absent", None)
    out: list[str] = []
    for name, value in options.items():
        if value is not None:
            out += (name, names_text(name, value) if name in _NAMES and not isinstance(value, str) else option_text(name, value))
    return pond if absent is None else pond._derive(absent=absent), tuple(out)


def names_text(option: str, names: Any) -> str:
    try:
        listed = list(names)
    except TypeError:
        raise OptionError(f"{option}={names!r} is neither a list of names nor a text") from None
    for name in listed:
        if not isinstance(name, str) or not name.strip() or "," in name:
            raise OptionError(f"{option}: {name!r} is not the name of a field")
    return ",".join(listed) or _NONE


@dataclasses.dataclass(slots=True)
class Page:
    """What find() gives: the documents of one page, and how many there are on all of them together."""

    data: list[dict[str, Any]]
    total: int
    page: int
    pages: int
    limit: int

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.data)

    def __len__(self) -> int:
        return len(self.data)


class Collection(_core.SyncCollection):
    """A collection of the store, through the cache: pond.collection(). Shared by all threads.

        films = pond.collection("films", filterable=["genre", "rating"], searchable=["title"], indexes=["rating"])
        films.get("0042")                                                    # the document, or None
        films.find("genre=Drama&rating[gte]=8&sort=-rating&page=2")          # a query string...
        films.find({"genre": "Drama", "rating": {"gte": 8}, "page": 2})      # ... or the same as an object
        films.update("0042", {"rating": 8.1})                                # the store, then the cache and every page

    validate= is called with each document as it would be in the store, before anything is written: whatever it raises is passed on, and
    nothing is touched; returning False does the same by ValidationError.

    on_change= is called with {"event", "collection", "id", "document"} after each change by this collection, before the call returns; what
    it raises is logged.
    """

    __slots__ = ("__weakref__", "_judge", "_on_change", "name")

    # prepare, get, get_many, find, explain and invalidate are _core.SyncCollection's.

    def __init__(self, pond: Pond, name: str, **options: Unpack[ViewOptions]) -> None:
        validate, on_change = validation(cast("dict[str, Any]", options)), listener(cast("dict[str, Any]", options), True)
        view, texts = split(pond, options)
        super().__init__(view, name, texts)
        self._judge = None if validate is None else judge(validate)
        self._on_change = on_change
        self.name = name

    def _changed(self, kind: int, id: str | None, doc: bytes | None) -> dict[str, Any] | None:
        made: dict[str, Any] | None = self._change(kind, id, doc, None if kind == DELETE else self._judge)
        if self._on_change is not None:
            try:
                self._on_change(event_of(self.name, kind, made["id"] if made is not None else cast("str", id), made))
            except Exception:
                listener_failed(self.name)
        return made

    def create(self, doc: dict[str, Any]) -> dict[str, Any]:
        """Writes a document that is not there yet, and returns it. Its id is its "id"; without one it gets one (24 hexadecimal digits).
        DuplicateError: there is one."""
        return cast("dict[str, Any]", self._changed(CREATE, None, document_text(doc)))

    def replace(self, id: str, doc: dict[str, Any]) -> dict[str, Any]:
        """Writes the whole of a document that is there, and returns it. Absent: there is none; written behind, it is not looked whether
        there is one: then there is now."""
        return cast("dict[str, Any]", self._changed(REPLACE, id, document_text(doc)))

    def update(self, id: str, patch: dict[str, Any]) -> dict[str, Any]:
        """Changes some members, and returns the whole document. The patch is a JSON merge patch (RFC 7386): None removes a member, dicts are
        merged, lists are replaced. Of several updates at once none is lost. Absent: there is no such document."""
        return cast("dict[str, Any]", self._changed(UPDATE, id, document_text(patch)))

    def delete(self, id: str) -> None:
        """Absent: there is none; written behind, it is not looked whether there is one."""
        self._changed(DELETE, id, None)

    def increment(self, id: str, field: str, by: int = 1) -> None:
        """Of a collection that is written behind: adds a whole number (up to 2**53 - 1 either way) to a member, which counts from 0
        if it is not there, of a document that is there: none is made. Every reader of the document sees it from then on, and it counts exactly once. No document is read for it, so the new value
        is not told; and where nobody knows yet that there is no such document, or that the member is no integer, it is dropped later, and counted in
        stats() as dropped_increments. InvalidValue: the field (a path with dots is none). Absent: it is known that there is no such document."""
        self._increment(id, member_name(field), whole(by))

    def flush(self, timeout: Duration = "30s") -> None:
        """Of a collection that is written behind: waits until all that was accepted before, by any process, is in the store.
        What the store refuses is waited for until it is a dead letter, and is no error here. TimeoutError: it is still on its way.
        CacheError: in all that time the cache could not be asked."""
        self._flush(milliseconds("timeout", timeout))

    @property
    def dead_letters(self) -> DeadLetters:
        """Of a collection that is written behind: what the store would not have."""
        return DeadLetters(self)

    def __repr__(self) -> str:
        return f"<millpond.Collection {self.name!r}>"


Page.__module__ = Collection.__module__ = "millpond"
