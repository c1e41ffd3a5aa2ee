"""publish_stats and processes(): processes see what others count."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time

import pytest

import millpond
import millpond.aio


@pytest.fixture
def url(redis, name):
    redis.call("FLUSHALL")
    return redis.url


def await_rows(pond, names, within=10.0):
    """{namespace: row} of what is published, as soon as these are there and have loaded something."""
    end = time.monotonic() + within
    while True:
        rows = {namespace: row for row in pond.processes() for namespace in row["namespaces"]}
        if set(rows) == set(names) and all(row["total"]["loads"] for row in rows.values()):
            return rows
        assert time.monotonic() < end, f"{set(rows)}, not {set(names)}"
        time.sleep(0.01)


def test_processes(url, name):
    others = [subprocess.Popen([sys.executable, "-c", f"""if True:
        import sys, asyncio, millpond, millpond.aio
        async def main():
            async with millpond.aio.open({url!r}, namespace="aio", publish_stats=50) as pond:
                await pond.fetch("k", lambda: 1)
                await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        def sync():
            with millpond.open({url!r}, namespace="sync", publish_stats="50ms") as pond:
                pond.fetch("k", lambda: 1)
                sys.stdin.read()
        {call}
        """], stdin=subprocess.PIPE) for call in ("asyncio.run(main())", "sync()")]
    with millpond.open(url, namespace=name) as pond:
        rows = await_rows(pond, ["aio", "sync"])
        assert {row["pid"] for row in rows.values()} == {process.pid for process in others}
        for namespace, row in rows.items():
            assert row["host"] == socket.gethostname() and row["version"] == millpond.__version__ and row["every_ms"] == 50
            assert row["namespaces"][namespace]["loads"] == row["total"]["loads"] == 1 and 0 < row["left_ms"] <= 150
        for process in others:
            process.communicate(timeout=20)
            assert process.returncode == 0
        assert pond.processes() == [], "who closes its pond is gone at once"


def test_asyncio(url, name):
    async def main():
        async with millpond.aio.open(url, namespace=name, publish_stats="10ms") as pond:
            await pond.fetch("k", lambda: 1)
            end = time.monotonic() + 10
            while not (rows := await pond.processes()):
                assert time.monotonic() < end
                await asyncio.sleep(0.01)
            return rows

    [row] = asyncio.run(main())
    assert row["pid"] == os.getpid()


def test_memory_has_none(name):
    with millpond.open(f"memory:{name}", publish_stats="10ms") as pond:
        pond.fetch("k", lambda: 1)
        assert pond.processes() == []


def test_no_cache(name):
    with millpond.open("unix:/nobody/listens.sock") as pond, pytest.raises(millpond.CacheError):
        pond.processes()
    with pytest.raises(millpond.ClosedError):
        pond.processes()
    with pytest.raises(millpond.OptionError, match="publish_stats"):
        millpond.open(publish_stats="2h")
