"""Processes that share a SQLite database, each with a memory: cache of its own: what one changes the others see."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import sqlite3
import threading
import time

import pytest

import millpond
import millpond.aio
from conftest import forks_with_threads


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "films.db"
    with millpond.open("memory:shared", store=f"sqlite:{path}", namespace="shared") as pond:
        pond.store("films").create()
        pond.store("films").put("1", {"n": 0})
    return str(path)


def stranger(path: str, n: int) -> None:
    """A program that knows nothing of us."""
    db = sqlite3.connect(path, timeout=20)
    with db:
        db.execute("UPDATE films SET doc = ? WHERE id = '1'", (f'{{"n": {n}}}',))
    db.close()


def serve(path: str, pipe) -> None:
    """In a process of its own: does as it is told with a pond of its own."""
    with millpond.open("memory:shared", store=f"sqlite:{path}", namespace="shared") as pond:
        films = pond.collection("films")
        pipe.send("ready")
        while (order := pipe.recv()) is not None:
            what, value = order
            if what == "update":
                pipe.send(films.update("1", {"n": value})["n"])
            elif what == "stranger":
                pipe.send(stranger(path, value))
            elif what == "get":
                pipe.send(films.get("1")["n"])
            elif what == "page":
                pipe.send(films.find(f"n={value}").total)
            elif what == "fetch":
                pipe.send(pond.fetch("k", lambda: value))
            elif what == "invalidate":
                pipe.send(pond.invalidate("k"))


def serve_asyncio(path: str, pipe) -> None:
    async def main():
        async with millpond.aio.open("memory:shared", store=f"sqlite:{path}", namespace="shared") as pond:
            films, loop = pond.collection("films"), asyncio.get_running_loop()
            pipe.send("ready")
            while (order := await loop.run_in_executor(None, pipe.recv)) is not None:
                what, value = order
                if what == "update":
                    pipe.send((await films.update("1", {"n": value}))["n"])
                elif what == "stranger":
                    pipe.send(stranger(path, value))
                elif what == "get":
                    pipe.send((await films.get("1"))["n"])
                elif what == "page":
                    pipe.send((await films.find(f"n={value}")).total)
                elif what == "fetch":
                    pipe.send(await pond.fetch("k", lambda: value))
                elif what == "invalidate":
                    pipe.send(await pond.invalidate("k"))
    asyncio.run(main())


class Other:
    def __init__(self, how: str, path: str, server=serve):
        context = multiprocessing.get_context(how)
        self.pipe, there = context.Pipe()
        self.process = context.Process(target=server, args=(path, there))
        self.process.start()
        there.close()
        assert self.pipe.recv() == "ready"

    def do(self, what: str, value=None):
        self.pipe.send((what, value))
        assert self.pipe.poll(20), what
        return self.pipe.recv()

    def end(self):
        self.pipe.send(None)
        self.process.join(20)
        assert self.process.exitcode == 0


@pytest.mark.parametrize("how, server", [("spawn", serve), ("spawn", serve_asyncio), pytest.param("fork", serve, marks=forks_with_threads)])
def test_each_sees_what_the_other_changes(how, server, path):
    a, b = Other(how, path), Other(how, path, server)
    for row in range(1, 41):
        writer, reader = (a, b) if row % 2 else (b, a)
        how_written = "stranger" if row % 5 == 0 else "update"
        writer.do(how_written, row)
        assert reader.do("get") == row, how_written
        assert reader.do("page", row) == 1 and reader.do("page", row - 1) == 0, how_written
        assert a.do("get") == b.do("get") == row
    assert a.do("fetch", "old") == "old" == b.do("fetch", "old")
    assert a.do("fetch", "new") == "old", "nobody has said anything"
    a.do("invalidate")
    assert b.do("fetch", "new") == "new"
    b.do("invalidate")
    assert a.do("fetch", "newer") == "newer"
    a.end()
    b.end()


def test_own_changes_cost_own_keys_only(path):
    with millpond.open("memory:shared", store=f"sqlite:{path}", namespace="few") as pond:
        films, loads = pond.collection("films"), lambda: pond.stat("loads", "few/films")
        for row in range(50):
            pond.store("films").put(f"x{row}", {})
            films.get(f"x{row}")
        before = loads()
        films.update("x7", {"n": 1})
        assert [films.get(f"x{row}")["id"] for row in range(50)] == [f"x{row}" for row in range(50)]
        assert loads() - before <= 2
        stranger(path, 1)
        films.get("x7")
        assert loads() - before >= 1


@forks_with_threads
def test_a_forked_child_goes_on_with_what_it_inherits(path):
    """As under gunicorn --preload: the pond is opened and warm before the fork."""
    with millpond.open("memory:shared", store=f"sqlite:{path}", namespace="shared") as pond:
        films = pond.collection("films")
        assert films.get("1")["n"] == 0
        orders, answers = os.pipe(), os.pipe()
        child = os.fork()
        if child == 0:
            try:
                for row in range(20):
                    os.read(orders[0], 1)
                    assert films.get("1")["n"] == 2 * row + 1
                    assert films.update("1", {"n": 2 * row + 2})["n"] == 2 * row + 2
                    os.write(answers[1], b".")
                os._exit(0)
            finally:
                os._exit(1)
        for row in range(20):
            stranger(path, 2 * row + 1) if row % 2 else films.update("1", {"n": 2 * row + 1})
            os.write(orders[1], b".")
            assert os.read(answers[0], 1) == b"."
            assert films.get("1")["n"] == 2 * row + 2
        assert os.waitpid(child, 0)[1] == 0
        for fd in (*orders, *answers):
            os.close(fd)


def test_threads_read_while_others_write(path):
    """Nobody reads an older value than anybody has seen before, whoever writes."""
    other = Other("spawn", path)
    with millpond.open("memory:shared", store=f"sqlite:{path}", namespace="shared") as pond:
        films, seen, wrong, stop = pond.collection("films"), [0], [], threading.Event()

        def read():
            while not stop.is_set():
                least = seen[0]
                n = films.get("1")["n"]
                if n < least:
                    wrong.append((n, least))
                seen[0] = max(seen[0], n)

        threads = [threading.Thread(target=read) for _ in range(2)]
        for thread in threads:
            thread.start()
        end = time.monotonic() + 2
        row = 0
        while time.monotonic() < end:
            row += 1
            other.do("stranger" if row % 7 == 0 else "update", row)
            n = films.get("1")["n"]
            if n != row:
                wrong.append((n, row))
        stop.set()
        for thread in threads:
            thread.join()
        assert wrong == [] and row > 5
    other.end()


def test_killed_in_mid_write(path):
    other = Other("spawn", path)
    with millpond.open("memory:shared", store=f"sqlite:{path}", namespace="shared") as pond:
        films = pond.collection("films")
        for row in range(5):
            films.get("1")
            other.pipe.send(("update", row))
            time.sleep(row / 1000)
            other.process.kill()
            other.process.join()
            db = sqlite3.connect(path)
            [(doc,)] = db.execute("SELECT doc FROM films WHERE id = '1'")
            db.close()
            assert films.get("1")["n"] == json.loads(doc)["n"]
            other = Other("spawn", path)
    other.end()
