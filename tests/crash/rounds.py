"""One round: clients and workers as processes of their own on one Redis and one store, and what they leave behind."""

from __future__ import annotations

import collections
import contextlib
import os
import pathlib
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time

import millpond

from judge import Write, judge, read_log
from mongodb_server import MongoServer
from redis_server import RedisServer, ServerError
from trap import ACK, COMMIT, FENCED, FOLD, INCREMENT, OWN, OWN_IN_STORE, PUT, SUMS, TAKE, Trap

HERE = pathlib.Path(__file__).resolve().parent
TOOL = os.environ.get("MILLPOND_TOOL_CRASH", str(HERE.parents[1] / "build/dev/bin/tool_crash"))
WRONG = ("textbook", "unfenced")  # kinds of clients
NAMED = ("accept", "take", "fold", "flush", "commit", "ack", "takeover")
OPTIONS = {"store_timeout": "5s", "write_timeout": "3s", "command_timeout": "1s"}
SHARDS, OWN_KEYS, SHARED_KEYS, COUNTERS, LANES = 4, 12, 12, 6, 2
HINT = 10.0  # HINT_MS of core/src/pattern/behind/flush.c
DRAIN = 60.0


class ClientError(RuntimeError):
    """A client ended without having been asked to, or not well."""


class Servers:
    """One Redis with an append-only file; MongoDB, and a folder for SQLite."""

    def __init__(self, stores: set[str]):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="millpond-crash-"))
        self.redis = RedisServer(options={"appendonly": "yes", "appendfsync": "everysec"})
        self.mongo = MongoServer() if "mongodb" in stores else None

    def kill_redis(self) -> None:
        """While an fsync is under way Redis with `everysec` keeps back what it has answered for, up to 2 s. That is Redis's own loss, and not what is
        looked for here: so this one writes before it answers from here to its death."""
        self.redis.call("CONFIG", "SET", "appendfsync", "no")
        self.redis.call("SET", "crash:last", time.monotonic_ns())
        time.sleep(0.05)
        self.redis.kill()

    def start_redis(self) -> None:
        self.redis.start()
        while True:
            try:
                self.redis.call("GET", "crash:last")
                return
            except ServerError:  # it reads its file yet
                time.sleep(0.01)

    def close(self) -> None:
        self.redis.stop()
        if self.mongo:
            self.mongo.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


class Client:
    """A process that writes (`lanes`) and works, and the ways on which it can be caught."""

    def __init__(self, round: Round, kind: str, lanes: int = LANES, worker: bool = True):
        self.round, self.kind, self.killed, self.stopped, self.over = round, kind, False, False, False
        self.log = round.folder / f"{len(round.clients)}.log"
        servers = round.servers
        self.redis = None if round.journal else Trap(servers.redis.port)
        self.mongo = Trap(servers.mongo.ports[0]) if round.store == "mongodb" else None
        store = f"mongodb://127.0.0.1:{self.mongo.port}/{round.name}?directConnection=true" if self.mongo else round.address
        words = {"cache": f"redis://127.0.0.1:{self.redis.port}/0" if self.redis else "memory:", "log": self.log, "number": len(round.clients) + 1, "lanes": lanes,
                 "own": OWN_KEYS, "shared": SHARED_KEYS, "counters": COUNTERS, "seed": round.seed, "opt.namespace": round.name, "opt.store": store,
                 "opt.worker": "on" if worker else "off", **{f"opt.{name}": value for name, value in OPTIONS.items()}}
        if round.journal:
            words["opt.journal"] = round.journal
        programs = {"c": [TOOL], "node": [shutil.which("node") or "node", str(HERE / "client.mjs")]}
        program = programs.get(kind, [sys.executable, "-B", str(HERE / "client.py"), kind])
        self.errors = tempfile.TemporaryFile()
        self.process = subprocess.Popen([*program, *(f"{name}={value}" for name, value in words.items())], stdin=subprocess.PIPE,
                                        stdout=subprocess.DEVNULL, stderr=self.errors)
        round.clients.append(self)

    def says(self, word: str) -> bool:
        return self.log.exists() and any(line == word for line in self.log.read_text().splitlines())

    # ---- blows

    def signal(self, number: int) -> None:
        if self.process.poll() is None:
            self.process.send_signal(number)

    def kill(self) -> None:
        self.killed = True
        self.signal(signal.SIGKILL)

    def stop(self) -> None:
        """Returns when it stands: until one thread of it has had the processor, for the signal, the others go on."""
        self.stopped = True
        self.signal(signal.SIGSTOP)
        end = time.monotonic() + 2
        while not self.stands() and self.process.poll() is None and time.monotonic() < end:
            time.sleep(0.0002)

    def stands(self) -> bool:
        with contextlib.suppress(OSError):  # a thread that has just ended
            return all(task.read_text().rpartition(")")[2].split()[0] == "T" for task in pathlib.Path(f"/proc/{self.process.pid}/task").glob("*/stat"))
        return False

    def go_on(self) -> None:
        self.signal(signal.SIGCONT)
        self.stopped = False
        self.release()

    def release(self) -> None:
        for trap in filter(None, (self.redis, self.mongo)):
            trap.release()

    def trap(self, point: str, blow, deliver: bool, marks: tuple[bytes, ...] | None = None) -> Trap:
        """At the next moment of that name, or of `marks`: `blow`; then the command goes on its way, or, with `deliver` False, does not."""
        dice = self.round.random.random() < 0.5
        trap, named = {
            "accept": (self.redis, PUT + INCREMENT), "take": (self.redis, TAKE), "fold": (self.redis, FOLD if dice else SUMS), "ack": (self.redis, ACK),
            "flush": (self.mongo, FENCED + COMMIT), "commit": (self.mongo, COMMIT) if self.mongo else (self.redis, ACK),
            "takeover": (self.mongo, OWN_IN_STORE) if self.mongo and dice else (self.redis, OWN)}[point]
        trap.set(marks or named, blow, deliver)
        return trap

    # ---- its end

    def finish(self) -> None:
        """Asked to end: it writes no more, and closes."""
        if not self.over:
            self.over = True
            with contextlib.suppress(OSError):
                self.process.stdin.close()

    def wait(self, seconds: float = 45) -> None:
        self.finish()
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = f"{self.process.wait()}, {seconds:g} s after it was asked to"
        if status != 0 and not self.killed:
            self.errors.seek(0)
            raise ClientError(f"{self.kind} ended with {status}: {self.errors.read().decode(errors='replace')[-2000:]}")

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        self.errors.close()
        for trap in filter(None, (self.redis, self.mongo)):
            trap.release()
            trap.close()


class Round:
    """Where a round takes place; what happens in it is told in storms.py and directed.py."""

    def __init__(self, servers: Servers, store: str, seed: str, quick: bool, embedded: bool = False):
        self.servers, self.store, self.seed, self.quick = servers, store, seed, quick
        self.random = random.Random(seed)
        self.folder = pathlib.Path(tempfile.mkdtemp(dir=servers.folder))
        self.name = f"c{time.monotonic_ns()}"
        self.address = servers.mongo.database(self.name) if store == "mongodb" else f"sqlite:{self.folder}/docs.db"
        self.journal = self.folder / "journal" if embedded else None  # what was accepted waits there, and not in Redis
        self.clients: list[Client] = []
        self.writes: list[Write] = []  # made here, not by a client
        self.lock = threading.Lock()
        self.hits: collections.Counter[str] = collections.Counter()
        self.events: collections.Counter[str] = collections.Counter()
        cache, more = ("memory:", {"journal": self.journal}) if embedded else (servers.redis.url, {})
        with millpond.open(cache, store=self.address, namespace=self.name, worker="off", **more) as pond:
            pond.collection("docs", write="behind").prepare()
            for i in range(COUNTERS):
                pond.store("docs").put(f"counter.{i}", {"n": 0})

    # ---- the backlog

    def keys(self, kind: str) -> list[str]:
        return [f"mp:{kind}:{{{self.name}/docs:{shard}}}" for shard in range(SHARDS)]

    def waiting(self) -> int:
        """Entries of what waits; of what waits without one, if there is none; and what waits in the textbook's queue."""
        if self.journal:
            with contextlib.closing(sqlite3.connect(self.journal, timeout=30)) as journal:
                return journal.execute("SELECT count(*) FROM waiting").fetchone()[0]
        redis = self.servers.redis.call
        return sum(redis("LLEN", key) for key in self.keys("q")) + redis("LLEN", f"{self.name}:queue") or self.forgotten()

    def forgotten(self) -> int:
        """Records that are not cached ones, those that increments wait to be added to, and increments."""
        redis, cursor, found = self.servers.redis.call, None, sum(self.servers.redis.call("HLEN", key) for key in self.keys("d"))
        while cursor != b"0":
            cursor, names = redis("SCAN", cursor or 0, "MATCH", f"mp:[bi]:{{{self.name}/docs:*", "COUNT", 1000)
            found += sum(redis("PTTL", name) == -1 for name in names)
        return found

    def drained(self, seconds: float = DRAIN) -> bool:
        end = time.monotonic() + seconds
        while self.waiting():
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
        return True

    def take_hints(self) -> None:
        """Nobody may try to be the worker of a shard, until the hints are ended."""
        for key in self.keys("t"):
            self.servers.redis.call("SET", key, "nobody", "PX", 60_000)

    def end_hints(self) -> None:
        """Who may be the worker of a shard is not settled any more, as after HINT without a word of the one who was. Nothing rests on it."""
        self.servers.redis.call("DEL", *self.keys("t"))

    # ---- kill points

    def strike(self, clients: list[Client], point: str, blow, deliver: bool, seconds: float = 3,
               marks: tuple[bytes, ...] | None = None, then=None) -> Client | None:
        """The first of them that comes to this point (of more than one command: to those `marks`) gets the blow, at this moment. `then` is called when all is set
        for that. -> who it was"""
        struck: list[Client] = []

        def once(client: Client) -> bool:
            with self.lock:
                if struck:
                    return False
                struck.append(client)
            blow(client)
            return True
        traps = [client.trap(point, lambda client=client: once(client), deliver, marks) for client in clients]
        if then:
            then()
        end = time.monotonic() + seconds
        while not struck and time.monotonic() < end:
            time.sleep(0.002)
        for trap in traps:
            trap.unset()
        self.hits[point] += len(struck)
        return struck[0] if struck else None

    @contextlib.contextmanager
    def locked(self):
        """SQLite: nobody else writes."""
        with contextlib.closing(sqlite3.connect(self.address.partition(":")[2], timeout=5, isolation_level=None)) as other:
            for tries in range(6):
                try:
                    other.execute("BEGIN IMMEDIATE")
                    break
                except sqlite3.OperationalError:  # who was stopped in a transaction of its own has the lock
                    if tries == 5:
                        raise
                    for client in self.clients:
                        if client.stopped:
                            client.go_on()
            yield other
            other.execute("ROLLBACK")

    # ---- the end

    def end(self) -> dict:
        """All goes on, what waits gets into the store, and is compared."""
        for client in self.clients:
            client.go_on()
            client.finish()
        last = Client(self, next((client.kind for client in self.clients if client.kind in WRONG), "python"), lanes=0)
        for client in self.clients:
            if client is not last:
                client.wait()
        drained = self.drained()
        last.wait()
        writes = self.writes + [write for client in self.clients for write in read_log(client.log)]
        with millpond.open("memory:", store=self.address) as pond:
            store = pond.store("docs")

            def stands(key: str) -> int | None:
                found = store.get(key)
                return None if found is None else found["n" if "n" in found else "v"]
            counts, found = judge(writes, stands)
        return {"accepted": sum(write.outcome == "done" for write in writes), "unknown": sum(write.outcome == "unknown" for write in writes),
                "increments": sum(write.outcome == "done" and write.counts for write in writes),
                "deletes": sum(write.outcome == "done" and write.number is None and not write.counts for write in writes),
                **counts, "left_dirty": 0 if drained else self.waiting(), "found": found}

    def close(self) -> None:
        for client in self.clients:
            client.close()
        shutil.rmtree(self.folder, ignore_errors=True)


__all__ = ["HINT", "NAMED", "Client", "ClientError", "Round", "ServerError", "Servers", "Write"]
