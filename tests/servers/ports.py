"""Ports of one's own: nobody else gets one while its server is down, so a server that was killed comes back on the port that it had.

    port = ports.take()         # the first free one of 7700..7799 (MILLPOND_TEST_PORTS: another first one)
    ports.give_back(port)       # the end of the process does that too

They lie below those that the system gives to connections and to whoever asks for any port (32768 and up, on Linux): of these another suite's
connection may have a server's by the time that it starts again. And who takes one holds an abstract socket of that name, which lives as
long as its process and no longer, so suites that run side by side share the range.
"""

from __future__ import annotations

import os
import socket

FIRST = int(os.environ.get("MILLPOND_TEST_PORTS", "7700"))
COUNT = 100

_held: dict[int, socket.socket] = {}


def take(first: int = FIRST) -> int:
    """The first port of `first` and those behind it that nobody has taken and nobody listens on."""
    for port in range(first, first + COUNT):
        held = socket.socket(socket.AF_UNIX)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                held.bind(f"\0millpond-test-port-{port}")
                probe.bind(("127.0.0.1", port))
            except OSError:
                held.close()
                continue
        _held[port] = held
        return port
    raise RuntimeError(f"no free port in {first}..{first + COUNT - 1}")


def give_back(port: int) -> None:
    _held.pop(port).close()
