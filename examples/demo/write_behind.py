"""The demo's write-behind: a process accepts films faster than the store takes them, and is killed with a batch in its hands.

Redis is one of the demo's own where redis-server is on the path, with an append-only file; else the one that answers, where the write-behind's own keys (16 small hashes)
then stay. What `accept` has printed was accepted: none of that may be missing.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pathlib
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time

import millpond
import millpond.aio

LANES, STORED_FIRST, THEN_ACCEPTED = 16, 500, 500
PATIENCE = 30.0


async def accept(redis: str, store: str, namespace: str, films: dict[str, dict]) -> None:
    """Accepts versions of all films, again and again, until it is killed; prints each that was accepted."""
    async with millpond.aio.open(redis, store=store, namespace=namespace, ttl="1m") as pond:
        shelf = pond.collection("films", write="behind")
        await shelf.prepare()

        async def lane(names: list[str]) -> None:
            version = 0
            while True:
                version += 1
                for name in names:
                    await shelf.replace(name, {**films[name], "version": version})
                    os.write(1, f"{name} {version}\n".encode())

        names = list(films)
        await asyncio.gather(*(lane(names[number::LANES]) for number in range(LANES)))


@contextlib.contextmanager
def server(folder: str, otherwise: str | None):
    """-> the address of a Redis, or None."""
    program = shutil.which("redis-server")
    if not program:
        yield otherwise
        return
    path = f"{folder}/redis"  # not a port: another program may have it by the time that the server looks
    process = subprocess.Popen([program, "--port", "0", "--unixsocket", path, "--dir", folder, "--appendonly", "yes", "--save", ""], stdout=subprocess.DEVNULL)
    try:
        until(lambda: connects(path))
        yield f"unix:{path}"
    finally:
        process.kill()
        process.wait()


def connects(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(path) == 0


def until(true) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        if time.monotonic() > end:
            raise TimeoutError(f"the demo's write-behind waits for something that does not come in {PATIENCE:g} s")
        time.sleep(0.005)


def accepted(log: pathlib.Path) -> dict[str, int]:
    """The last version of each film; a line that the kill has cut was not told."""
    lines = log.read_bytes().split(b"\n")[:-1]
    return {name.decode(): int(version) for name, version in (line.split() for line in lines)}


def play(otherwise: str | None, namespace: str) -> dict | None:
    """None: there is no Redis."""
    with tempfile.TemporaryDirectory(prefix="millpond-demo-") as folder, server(folder, otherwise) as redis:
        if redis is None:
            return None
        database, log = f"{folder}/films.db", pathlib.Path(folder) / "accepted"
        shelf = sqlite3.connect(database, timeout=PATIENCE, isolation_level=None)
        with millpond.open(redis, store=f"sqlite:{database}", namespace=namespace, worker="off") as pond:
            pond.collection("films", write="behind").prepare()
        with log.open("wb") as out:
            child = subprocess.Popen([sys.executable, "-B", __file__, redis, f"sqlite:{database}", namespace], stdout=out)
        try:
            until(lambda: shelf.execute("SELECT count(*) FROM films").fetchone()[0] >= STORED_FIRST)
            shelf.execute("BEGIN IMMEDIATE")  # from here on its worker waits, with what it has taken
            lines = log.read_bytes().count(b"\n")
            until(lambda: log.read_bytes().count(b"\n") >= lines + THEN_ACCEPTED)
        finally:
            child.send_signal(signal.SIGKILL)
            child.wait()
        killed = time.perf_counter()
        stored = shelf.execute("SELECT count(*) FROM films").fetchone()[0]
        shelf.execute("ROLLBACK")
        told = accepted(log)
        with millpond.open(redis, store=f"sqlite:{database}", namespace=namespace) as pond:
            films = pond.collection("films", write="behind")
            films.flush("60s")
            recovered = (time.perf_counter() - killed) * 1000
            found = {name: pond.store("films").get(name) for name in told}
        shelf.close()
        lost = sum(found[name] is None or found[name]["version"] < version for name, version in told.items())
        return {"accepted": log.read_bytes().count(b"\n"), "killed_at": stored, "lost": lost, "recovered_ms": round(recovered, 1)}


if __name__ == "__main__":
    from demo import films as catalogue
    asyncio.run(accept(*sys.argv[1:4], catalogue()))
