"""A client of the histories: reads and writes a few keys from some lanes until its stdin ends, and logs every operation.

    client.py python|asyncio|textbook|too-early|value-only NAME=VALUE...        README.md has the names, and the log

The last three are wrong on purpose, for the judge: each writes its store as it should, and its cache as many do.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import threading
import time

import millpond
import millpond.aio

PHASE_NS = 40_000_000  # every third of them is one of writes, for all clients at the same time
PATHS = {"through": ("create", "replace", "replace", "update", "update", "delete"), "write": ("put", "put", "put", "remove")}
PATHS["aside"] = PATHS["through"]


class Log:
    def __init__(self, path: str):
        self.file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def say(self, *words: object) -> None:
        os.write(self.file, (" ".join(map(str, words)) + "\n").encode())  # one write: whoever is killed has said it or not


def answer_of(document) -> str:
    if document is None:
        return "absent"
    return f"document {document['v']}" + (f"/{document['w']}" if "w" in document else "")


def error_of(error: BaseException) -> str:
    code = error.code if isinstance(error, millpond.Error) else type(error).__name__
    known = {"POND_EABSENT": "absent", "POND_EDUPLICATE": "duplicate", "POND_ECACHE": "failed", "POND_EOVERLOAD": "failed"}
    return f"{known.get(code, 'unknown')} {code}"


class Client:
    """The calls, for threads and for tasks: what they give is awaited in one, and is there in the other."""

    def __init__(self, pond, asynchronous: bool):
        self.pond, self.asynchronous = pond, asynchronous
        self.collections = {how: pond.collection(how, write=how) for how in ("through", "aside")}
        self.store = pond.store("write")

    def call(self, path: str, op: str, id: str, number: int, rest: float):
        if path != "write":
            films = self.collections[path]
            return {"get": lambda: films.get(id), "create": lambda: films.create({"id": id, "v": number}),
                    "replace": lambda: films.replace(id, {"v": number}), "update": lambda: films.update(id, {"w": number}),
                    "delete": lambda: films.delete(id)}[op]()
        if op == "get":
            return self.fetch(id, rest)
        return self.write(id, {"v": number} if op == "put" else None, number % 2 == 0)

    def fetch(self, id: str, rest: float):
        def load():
            found = self.store.get(id)
            time.sleep(rest)  # what is read grows old on its way into the cache
            return found

        async def load_async():
            found = await self.store.get(id)
            await asyncio.sleep(rest)
            return found

        return self.pond.fetch(id, load_async if self.asynchronous else load)

    def change(self, id: str, document):
        return self.store.delete(id) if document is None else self.store.put(id, document)

    def write(self, id: str, document, through: bool):
        def write(writing):
            if through:
                writing.set(id, document)
            return self.change(id, document)

        return self.pond.write(id, write)


class Wrong(Client):
    """What the judge must find; threads only."""

    def __init__(self, pond, cache: str, namespace: str):
        import redis
        super().__init__(pond, False)
        self.redis, self.namespace = redis.Redis.from_url(cache), namespace


class Textbook(Wrong):
    """get, a miss, query, set; and delete after a write."""

    def fetch(self, id: str, rest: float):
        cached = self.redis.get(self.namespace + id)
        if cached is not None:
            return json.loads(cached)
        found = self.store.get(id)
        time.sleep(rest)
        self.redis.set(self.namespace + id, json.dumps(found), px=300_000)
        return found

    def write(self, id: str, document, through: bool):
        self.change(id, document)
        self.redis.delete(self.namespace + id)


class TooEarly(Wrong):
    """Millpond's reads; the cache is told before the store, and not after it."""

    def write(self, id: str, document, through: bool):
        self.pond.invalidate(id)
        self.change(id, document)


class ValueOnly(Wrong):
    """Millpond's reads; an invalidation that drops the value, and revokes no lease."""

    def write(self, id: str, document, through: bool):
        self.change(id, document)
        self.redis.delete(f"mp:v:{{{self.namespace}:{id}}}")


class Lane:
    def __init__(self, words: dict[str, str], lane: int):
        self.name, self.base = f"{words['number']}.{lane}", int(words["number"]) * 1_000_000 + lane * 100_000
        self.random = random.Random(f"{words['seed']} {self.name}")
        self.keys, self.seq = words["keys"].split(","), 0

    def next(self) -> tuple[str, str, str, str, int, float]:
        self.seq += 1
        path, _, id = self.random.choice(self.keys).partition("/")
        writes = 0.3 if time.monotonic_ns() // PHASE_NS % 3 == 0 else 0.01
        op = self.random.choice(PATHS[path]) if self.random.random() < writes else "get"
        return f"{self.name}.{self.seq}", path, op, id, self.base + self.seq, self.random.random() * 0.003

    def pause(self) -> float:
        return self.random.random() * 0.002


def thread(lane: Lane, client: Client, log: Log, over: threading.Event) -> None:
    while not over.is_set():
        name, path, op, id, number, rest = lane.next()
        log.say("S", name, time.monotonic_ns(), f"{path}/{id}", op, number)
        try:
            given = client.call(path, op, id, number, rest)
            answer = "done" if op in ("put", "delete", "remove") else answer_of(given)
        except Exception as error:
            answer = error_of(error)
        log.say("E", name, time.monotonic_ns(), answer)
        time.sleep(lane.pause())


async def task(lane: Lane, client: Client, log: Log, over: threading.Event) -> None:
    while not over.is_set():
        name, path, op, id, number, rest = lane.next()
        log.say("S", name, time.monotonic_ns(), f"{path}/{id}", op, number)
        try:
            given = await client.call(path, op, id, number, rest)
            answer = "done" if op in ("put", "delete", "remove") else answer_of(given)
        except Exception as error:
            answer = error_of(error)
        log.say("E", name, time.monotonic_ns(), answer)
        await asyncio.sleep(lane.pause())


async def main() -> None:
    kind, words = sys.argv[1], dict(word.split("=", 1) for word in sys.argv[2:])
    options = {name[4:]: value for name, value in words.items() if name.startswith("opt.")}
    over, log = threading.Event(), Log(words["log"])
    lanes = [Lane(words, lane) for lane in range(int(words["lanes"]))]
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    if kind == "asyncio":
        async with millpond.aio.open(words["cache"], **options) as pond:
            client = Client(pond, True)
            await asyncio.gather(*(task(lane, client, log, over) for lane in lanes))
            log.say("C", await pond.stat("hits"), await pond.stat("loads"))
        return
    with millpond.open(words["cache"], **options) as pond:
        wrong = {"textbook": Textbook, "too-early": TooEarly, "value-only": ValueOnly}.get(kind)
        client = wrong(pond, words["cache"], options["namespace"]) if wrong else Client(pond, False)
        threads = [threading.Thread(target=thread, args=(lane, client, log, over)) for lane in lanes]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        log.say("C", pond.stat("hits"), pond.stat("loads"))


if __name__ == "__main__":
    asyncio.run(main())
