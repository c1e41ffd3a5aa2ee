"""MongoDB's servers stopped, stepping down and killed while Python, asyncio and Node read and write a collection through the cache: every
call ends in its time, what fails says that it may be tried again, and nothing wrong is given or kept. What test_mongodb_faults.c
shows of the core, seen once from the other languages."""

from __future__ import annotations

import shutil
import sys
import time

import pytest

import harness
from heartbeat import Heartbeat
from mongodb_server import MongoServer

TIMEOUT = 1500  # ms: store_timeout
SLACK = 50
HOSTS = [language for language in ("python", "asyncio", "node") if language in harness.LANGUAGES]


@pytest.fixture(scope="module")
def servers():
    with MongoServer(members=3) as server:
        yield server


class Crowd:
    def __init__(self, host: str, store: str):
        tools = harness.HERE / "tools"
        words = [shutil.which("node"), str(tools / "films_crowd.mjs")] if host == "node" else [sys.executable, "-B", str(tools / "films_crowd.py"), host]
        self.host = host
        self.tool = harness.Tool(host, [*words, store, str(TIMEOUT)])

    def stop(self) -> None:
        self.tool.tell("stop")


def step_down(servers: MongoServer) -> None:
    servers.step_down(5)
    time.sleep(1)


def pause(servers: MongoServer) -> None:
    member = servers.primary()
    servers.pause(member)
    time.sleep(4)  # the others elect one of themselves
    servers.resume(member)
    time.sleep(1)


def kill(servers: MongoServer) -> None:
    member = servers.primary()
    servers.kill(member)
    time.sleep(2)
    servers.start(member)


def test_reads_while_servers_fail(servers, say):
    crowds = [Crowd(host, servers.database(f"faults_{host}")) for host in HOSTS]
    with Heartbeat() as heartbeat:
        for crowd in crowds:
            assert crowd.tool.answer(120) == {"ready": True}
        for fault in (step_down, pause, kill):
            fault(servers)
            servers.primary()
            time.sleep(2)
        for crowd in crowds:
            crowd.stop()
        reports = {crowd.host: crowd.tool.answer(120) for crowd in crowds}
    for crowd in crowds:
        crowd.tool.close()
    for host, seen in reports.items():
        over = [(heartbeat.left(start, end), what) for start, end, what in seen["late"]]
        worst = max(over, default=(0, ""))
        say(f"{host}: {sum(seen['done'].values())} calls, {sum(seen['failed'].values())} failed, {seen['hits']} hits, {seen['pages']} pages, "
            f"{len(over)} past their deadlines, by {worst[0]:.0f} ms at most")
        assert seen["wrong"] == [], host
        assert worst[0] <= SLACK, (host, worst)
        for what in ("put", "get", "get_many", "find", "find again"):
            assert seen["done"].get(what, 0) >= 3, (host, what, seen)
        assert seen["hits"] > 0 and seen["failed"], (host, seen)
