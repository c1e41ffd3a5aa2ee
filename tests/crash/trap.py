"""A way to a server on which a process can be caught at a certain command: killed or stopped, the moment that it has sent it.

    with Trap(server.port) as trap:
        trap.set(COMMANDS["ack"], kill, deliver=False)      # once: `kill` is called when an ack comes by, and the ack goes no further
        trap.caught.wait(3)

So it needs no stop point in the library, and is the same for every language.
"""

from __future__ import annotations

import asyncio
import hashlib
import pathlib
import threading

from proxy import CHUNK, Proxy

SCRIPTS = pathlib.Path(__file__).resolve().parents[2] / "core/src/cache/lua"


def script(name: str) -> tuple[bytes, ...]:
    """What a call of the script has in it: its digest, or its text."""
    return hashlib.sha1((SCRIPTS / f"{name}.lua").read_bytes()).hexdigest().encode(), f"-- {name}: ".encode()


PUT = script("wb_put") + script("wb_puts")
INCREMENT, TAKE, SUMS, FOLD, ACK, OWN = (script(f"wb_{name}") for name in ("incr", "take", "sums", "fold", "ack", "own"))
FENCED, COMMIT, OWN_IN_STORE = (b"startTransaction",), (b"commitTransaction",), (b"killSessions", b"millpond_fence")
ROWS = (b"$replaceWith",)
POP = (b"BRPOP",)  # the textbook's
TAIL = 64  # a mark may come in two pieces


class Trap(Proxy):
    """It catches once each time that it is set."""

    def __init__(self, target: int):
        self.caught, self.answered = threading.Event(), threading.Event()
        self._marks: tuple[bytes, ...] = ()
        self._signal, self._deliver = None, True
        self._go_on: asyncio.Event | None = None
        self._held = None
        super().__init__(target)

    def set(self, marks: tuple[bytes, ...], signal, deliver: bool) -> None:
        """`signal` is called in the proxy's thread, and says whether it did anything. `deliver` False: what was caught waits for
        release(), and so does what comes behind it."""
        self._call(self._arm, marks, signal, deliver)

    def unset(self) -> bool:
        """-> was anything caught?"""
        self._call(self._arm, (), None, True)
        return self.caught.is_set()

    def release(self) -> None:
        self._call(self._let_go)

    def pass_on(self, seconds: float = 10) -> None:
        """What was caught goes to the server, or has gone there; returns when it was answered."""
        self.release()
        if not self.answered.wait(seconds):
            raise TimeoutError("the server did not answer what was caught")

    def _arm(self, marks: tuple[bytes, ...], signal, deliver: bool) -> None:
        if marks:
            self.caught.clear()
        self._marks, self._signal, self._deliver = marks, signal, deliver

    def _let_go(self) -> None:
        if self._go_on:
            self._go_on.set()
            self._go_on = None

    def _came(self, pair) -> None:
        if pair is self._held:
            self.answered.set()

    async def _pump(self, pair, reader, writer, answers: bool) -> None:
        if answers:
            await super()._pump(pair, _Answers(reader, lambda: self._came(pair)), writer, answers)
            return
        tail = b""
        while data := await reader.read(CHUNK):
            seen, tail = tail + data, (tail + data)[-TAIL:]
            if self._marks and any(mark in seen for mark in self._marks):
                signal, deliver, self._marks, self._held = self._signal, self._deliver, (), pair
                self.answered.clear()
                caught = signal()
                if caught:
                    self.caught.set()
                if caught and not deliver:
                    self._go_on = asyncio.Event()
                    await self._go_on.wait()
            pair.write(writer, data)
            await writer.drain()
        pair.reset()


class _Answers:
    """A reader that says when something came."""

    def __init__(self, reader: asyncio.StreamReader, came):
        self._reader, self._came = reader, came

    async def read(self, count: int) -> bytes:
        data = await self._reader.read(count)
        self._came()
        return data
