"""A TCP proxy that misbehaves on demand, for tests: a network that swallows, cuts or delays.

    with Proxy(server.port) as proxy:       # connections to proxy.port reach 127.0.0.1:server.port
        proxy.swallow()                     # packets vanish: nothing is refused, nothing arrives
        proxy.cut(1, 4000)                  # each connection is reset after so many bytes of answers, at random
        proxy.delay(1.0)                    # each way
        proxy.behave()                      # well again

A behaviour holds for the connections that stand as for new ones. All runs in one thread of its own; only the standard
library is used.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading

CHUNK = 65536


class Proxy:
    def __init__(self, target: int, seed: int | None = None):
        self.target = target
        self.port = 0
        self.connections = 0  # accepted so far
        self._random = random.Random(seed)
        self._swallow = False
        self._delay = 0.0
        self._cut: tuple[int, int] | None = None
        self._open: set[_Pair] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        ready = threading.Event()
        self._loop.call_soon(lambda: self._loop.create_task(self._listen(ready)))
        self._thread.start()
        ready.wait()

    # ---- from any thread ----

    def behave(self) -> None:
        self._call(self._set)

    def swallow(self) -> None:
        self._call(self._set, True)

    def delay(self, seconds: float) -> None:
        self._call(self._set, False, seconds)

    def cut(self, least: int, most: int) -> None:
        self._call(self._set, False, 0.0, (least, most))

    def close(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(5)

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _call(self, function, *arguments) -> None:
        done = threading.Event()
        self._loop.call_soon_threadsafe(lambda: (function(*arguments), done.set()))
        done.wait(5)

    # ---- in the proxy's thread ----

    def _set(self, swallow: bool = False, delay: float = 0.0, cut: tuple[int, int] | None = None) -> None:
        for pair in list(self._open):
            if self._swallow:  # what was swallowed is lost: as after a partition, only a new connection is whole
                pair.reset()
            elif cut:
                pair.left = self._random.randint(*cut)
        self._swallow, self._delay, self._cut = swallow, delay, cut

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        for pair in list(self._open):
            pair.reset()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    async def _listen(self, ready: threading.Event) -> None:
        server = await asyncio.start_server(self._accepted, "127.0.0.1", 0, backlog=1024)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        with contextlib.suppress(asyncio.CancelledError):
            await server.serve_forever()

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        pair = _Pair(writer)
        pair.left = self._random.randint(*self._cut) if self._cut else 0
        self._open.add(pair)
        try:
            if self._delay:
                await asyncio.sleep(self._delay)  # its SYN has a way, too
            to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self.target)
            pair.writers.append(to_writer)
            await asyncio.gather(self._pump(pair, reader, to_writer, False), self._pump(pair, to_reader, writer, True))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._open.discard(pair)
            pair.reset()

    async def _pump(self, pair: _Pair, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answers: bool) -> None:
        while data := await reader.read(CHUNK):
            if self._swallow:
                continue
            if self._cut and answers:
                data, pair.left = data[:pair.left], pair.left - len(data)
            if self._delay:
                self._loop.call_later(self._delay, pair.write, writer, data)
                continue
            pair.write(writer, data)
            if self._cut and answers and pair.left <= 0:
                await writer.drain()
                break
            await writer.drain()
        if self._swallow:
            await asyncio.Event().wait()  # not even the end of a connection arrives
        pair.reset()


class _Pair:
    """One connection: both its sockets."""

    def __init__(self, writer: asyncio.StreamWriter):
        self.writers = [writer]
        self.left = 0  # bytes of answers until it is cut

    @staticmethod
    def write(writer: asyncio.StreamWriter, data: bytes) -> None:
        if not writer.is_closing():
            writer.write(data)

    def reset(self) -> None:
        for writer in self.writers:
            if writer.is_closing():
                continue
            sock = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):  # a reset, not a polite end
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.close()
