"""The store, past the cache: JSON documents by id."""

from __future__ import annotations

from typing import Any, Iterable

from . import _core, _json
from ._errors import InvalidValue

Document = "dict[str, Any]"


def document_text(doc: Any) -> bytes:
    if not isinstance(doc, dict):
        raise InvalidValue(f"a document is a dict, not {type(doc).__name__}")
    return _json.encode_document(doc)


class Store:
    """A collection of the pond's store. What you cached of its documents is yours to invalidate."""

    __slots__ = ("_pond", "collection")

    def __init__(self, pond: Any, collection: str) -> None:
        self._pond = pond
        self.collection = collection

    def __repr__(self) -> str:
        return f"<millpond store {self.collection!r}>"

    def create(self) -> None:
        """Makes the collection if it is not there."""
        _core.store_create(self._pond, self.collection)

    def get(self, id: str) -> dict[str, Any] | None:
        """The document, its id first; None if there is none."""
        found: dict[str, Any] | None = _core.store_get(self._pond, self.collection, id)
        return found

    def get_many(self, ids: Iterable[str]) -> list[dict[str, Any] | None]:
        """The documents in the order asked, None where there is none."""
        found: list[dict[str, Any] | None] = _core.store_get_many(self._pond, self.collection, ids)
        return found

    def put(self, id: str, doc: dict[str, Any]) -> None:
        """Inserts or replaces."""
        _core.store_put(self._pond, self.collection, id, document_text(doc))

    def delete(self, id: str) -> bool:
        """Whether there was one."""
        existed: bool = _core.store_delete(self._pond, self.collection, id)
        return existed
