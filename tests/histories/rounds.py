"""One round: clients as processes of their own on one Redis and one store, their logs, and the trouble that they are in."""

from __future__ import annotations

import collections
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time

import millpond

from faults import Fault
from mongodb_server import MongoServer
from proxy import Proxy
from redis_server import RedisServer

HERE = pathlib.Path(__file__).resolve().parent
TOOL = os.environ.get("MILLPOND_TOOL_HISTORY", str(HERE.parents[1] / "build/dev/bin/tool_history"))
KEYS = ("through/1", "aside/1", "write/1")
OURS = ("c", "node", "python", "asyncio", "c", "node")
LANES = 2
# The intents of who is killed run out soon, so that the cache is in use again. No client is stopped for so long.
OPTIONS = {"intent": "2s", "lease": "600ms", "store_timeout": "1500ms", "when_wait_ends": "load"}


class ClientError(RuntimeError):
    """A client ended without having been asked to, or not well."""


class Servers:
    """One Redis, and MongoDB or a folder for SQLite."""

    def __init__(self, kind: str):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="millpond-histories-"))
        self.redis = RedisServer()
        self.mongo = MongoServer() if kind == "mongodb" else None

    def store(self, name: str) -> str:
        return self.mongo.database(name) if self.mongo else f"sqlite:{self.folder}/{name}.db"

    def prepare(self, name: str) -> None:
        """The collections of a round. MongoDB makes them itself."""
        if self.mongo is None:
            with millpond.open("memory:", store=self.store(name)) as pond:
                for key in KEYS:
                    pond.store(key.split("/")[0]).create()

    def close(self) -> None:
        self.redis.stop()
        if self.mongo:
            self.mongo.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


class Client:
    def __init__(self, kind: str, log: pathlib.Path, words: dict[str, object]):
        programs = {"c": [TOOL], "node": [shutil.which("node") or "node", str(HERE / "client.mjs")]}
        program = programs.get(kind, [sys.executable, "-B", str(HERE / "client.py"), kind])
        self.kind, self.log, self.killed = kind, log, False
        self.errors = tempfile.TemporaryFile()
        self.process = subprocess.Popen([*program, f"log={log}", *(f"{name}={value}" for name, value in words.items())],
                                        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=self.errors)

    def lines(self) -> list[list[str]]:
        return [line.split() for line in self.log.read_text().splitlines()] if self.log.exists() else []

    def writes(self) -> bool:
        """Is a write under way, by the end of its log?"""
        if not self.log.exists():
            return False
        with self.log.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 300))
            end = [line.split() for line in log.read().decode().splitlines()[1:]]
        open_writes: set[str] = set()
        for words in end:
            if words[0] == "S" and len(words) == 6 and words[4] != "get":
                open_writes.add(words[1])
            elif words[0] == "E":
                open_writes.discard(words[1])
        return bool(open_writes)

    def kill(self) -> None:
        self.killed = True
        self.process.kill()

    def end(self) -> None:
        """It was asked to end by the end of its stdin."""
        self.process.stdin.close()
        try:
            status = self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = f"{self.process.wait()}, 30 s after it was asked to"
        if status != 0 and not self.killed:
            self.errors.seek(0)
            raise ClientError(f"{self.kind} ended with {status}: {self.errors.read().decode(errors='replace')[-2000:]}")
        self.errors.close()


class Round:
    def __init__(self, servers: Servers, fault: Fault, kinds: tuple[str, ...], seed: str):
        self.servers, self.fault, self.seed = servers, fault, seed
        self.random, self.over = random.Random(seed), threading.Event()
        self.folder = pathlib.Path(tempfile.mkdtemp(dir=servers.folder))
        self.name = f"h{time.monotonic_ns()}"
        servers.prepare(self.name)
        self.happened: collections.Counter[str] = collections.Counter()
        self.proxies: list[Proxy] = []
        self.notes = ""
        self.all: list[Client] = []
        self.clients = [self.client(kind) for kind in kinds]
        self.broken: BaseException | None = None

    # ---- for faults

    def client(self, kind: str) -> Client:
        redis, store = self.fault.ways(self)
        options = {"namespace": self.name, "store": store, **OPTIONS}
        self.all.append(Client(kind, self.folder / f"{len(self.all)}.log", {
            "cache": redis, "number": len(self.all) + 1, "lanes": LANES, "keys": ",".join(KEYS), "seed": self.seed,
            **{f"opt.{name}": value for name, value in options.items()}}))
        return self.all[-1]

    def replace(self, place: int) -> None:
        self.clients[place].kill()
        self.clients[place] = self.client(self.clients[place].kind)

    def proxy(self, proxy: Proxy) -> Proxy:
        self.proxies.append(proxy)
        return proxy

    def amid_write(self, client: Client) -> None:
        """Every second time: until the client writes, but not for long."""
        end = time.monotonic() + (0.2 if self.random.random() < 0.5 else 0)
        while time.monotonic() < end and not client.writes():
            time.sleep(0.001)
        time.sleep(self.random.random() * 0.004)

    def count(self, what: str) -> None:
        self.happened[what] += 1

    def note(self, *words: object) -> None:
        """For the judge."""
        self.notes += " ".join(map(str, words)) + "\n"

    # ---- the round

    def play(self, operations: int, limit: float) -> pathlib.Path:
        """Until each key has so many operations, or the time is over; -> the history, one file."""
        trouble = threading.Thread(target=self._trouble)
        trouble.start()
        end = time.monotonic() + limit
        while time.monotonic() < end and trouble.is_alive() and self.least() < operations:
            time.sleep(0.2)
        self.over.set()
        trouble.join()
        if self.broken:
            raise self.broken
        for client in self.all:
            client.end()
        if self.proxies:
            self.happened["connections"] = sum(proxy.connections for proxy in self.proxies)
        history = self.folder / "history"
        history.write_text(self.notes + "".join(client.log.read_text() for client in self.all if client.log.exists()))
        return history

    def least(self) -> int:
        found = collections.Counter(words[3] for client in self.all for words in client.lines() if words[0] == "S" and len(words) == 6)
        return min(found[key] for key in KEYS)

    def served(self) -> tuple[int, int]:
        """(hits, loads) of the clients that lived to say it."""
        said = [words for client in self.all for words in client.lines() if words[0] == "C" and len(words) == 3]
        return sum(int(words[1]) for words in said), sum(int(words[2]) for words in said)

    def _trouble(self) -> None:
        try:
            while not self.over.wait(self.random.uniform(0.1, 0.4)):
                self.fault.step(self)
        except BaseException as error:
            self.broken = error

    def close(self) -> None:
        self.over.set()
        for client in self.all:
            if client.process.poll() is None:
                client.kill()
                client.process.wait()
        for proxy in self.proxies:
            proxy.close()
        shutil.rmtree(self.folder, ignore_errors=True)
