"""Dead letters: changes of a collection that is written behind which the store would not have."""

from __future__ import annotations

import dataclasses
import datetime
from typing import TYPE_CHECKING, Any, AsyncIterator, Iterator, Literal

if TYPE_CHECKING:
    from . import aio
    from ._collection import Collection

LIST, SHOW, RETRY, DROP = range(4)
_1970 = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


@dataclasses.dataclass(slots=True)
class DeadLetter:
    """A change that the store refused: which, when, and why."""

    id: str  #: of the letter
    document_id: str
    version: int  #: of the change
    at: datetime.datetime  #: when it was put aside
    error: str  #: what the store said
    #: deleted: the change was a deletion; increments: they are all there is, for the document that the store has; damaged: it cannot be read
    state: Literal["document", "deleted", "increments", "damaged"]
    document: dict[str, Any] | None
    increments: dict[str, int] | None  #: that are to be added to it, by the member


@dataclasses.dataclass(slots=True)
class DeadLetterList:
    """Some dead letters, oldest first."""

    letters: list[DeadLetter]
    total: int  #: how many there are in all
    next: str | None  #: what to give as `after` for those that follow

    def __iter__(self) -> Iterator[DeadLetter]:
        return iter(self.letters)

    def __len__(self) -> int:
        return len(self.letters)


def letter_of(row: dict[str, Any]) -> DeadLetter:
    at = _1970 + datetime.timedelta(milliseconds=row["at_ms"])
    return DeadLetter(row["id"], row["document_id"], row["version"], at, row["error"], row["state"], row["document"], row["increments"])


def list_of(found: dict[str, Any]) -> DeadLetterList:
    return DeadLetterList([letter_of(row) for row in found["letters"]], found["total"], found["next"])


class DeadLetters:
    """A collection's dead letters: what a worker tried three times to take to the store, in vain. Iterating gives all of them.

        for letter in films.dead_letters:
            print(letter.document_id, letter.error)
            films.dead_letters.retry(letter.id)
    """

    __slots__ = ("_collection",)

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    def list(self, after: str | None = None, limit: int = 100) -> DeadLetterList:
        """The oldest `limit` (1 to 1000) of them, behind the letter `after`. Of large documents fewer come at once."""
        return list_of(self._collection._dead(LIST, after or "", limit))

    def get(self, id: str) -> DeadLetter:
        """Absent: there is no such letter."""
        return letter_of(self._collection._dead(SHOW, id, 0))

    def retry(self, id: str) -> None:
        """The change waits for the store again, in its old place among the changes of its document.
        DuplicateError: something newer was accepted or stored since: it stays a dead letter. Absent: there is no such letter."""
        self._collection._dead(RETRY, id, 0)

    def drop(self, id: str) -> None:
        """Forgets it. Absent: there is no such letter."""
        self._collection._dead(DROP, id, 0)

    def __iter__(self) -> Iterator[DeadLetter]:
        found = self.list()
        yield from found
        while found.next is not None:
            found = self.list(found.next)
            yield from found

    def __repr__(self) -> str:
        return f"<millpond dead letters of {self._collection.name!r}>"


class AsyncDeadLetters:
    """As millpond.DeadLetters, awaited: `async for letter in films.dead_letters` gives all of them."""

    __slots__ = ("_collection",)

    def __init__(self, collection: aio.Collection) -> None:
        self._collection = collection

    async def list(self, after: str | None = None, limit: int = 100) -> DeadLetterList:
        """The oldest `limit` (1 to 1000) of them, behind the letter `after`. Of large documents fewer come at once."""
        return list_of(await self._collection._dead(LIST, after or "", limit))

    async def get(self, id: str) -> DeadLetter:
        """Absent: there is no such letter."""
        return letter_of(await self._collection._dead(SHOW, id, 0))

    async def retry(self, id: str) -> None:
        """The change waits for the store again, in its old place among the changes of its document.
        DuplicateError: something newer was accepted or stored since: it stays a dead letter. Absent: there is no such letter."""
        await self._collection._dead(RETRY, id, 0)

    async def drop(self, id: str) -> None:
        """Forgets it. Absent: there is no such letter."""
        await self._collection._dead(DROP, id, 0)

    async def __aiter__(self) -> AsyncIterator[DeadLetter]:
        found = await self.list()
        for letter in found:
            yield letter
        while found.next is not None:
            found = await self.list(found.next)
            for letter in found:
                yield letter

    def __repr__(self) -> str:
        return f"<millpond.aio dead letters of {self._collection.name!r}>"


AsyncDeadLetters.__module__ = "millpond.aio"
DeadLetter.__module__ = DeadLetterList.__module__ = DeadLetters.__module__ = "millpond"
