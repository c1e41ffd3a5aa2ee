"""Readers and a writer of a collection that do not stop whatever happens to its store; see ../test_mongodb_faults.py.

    films_crowd.py python|asyncio STORE TIMEOUT_MS

Says {"ready": true} when each call has worked once, goes on until a line comes, and says what it saw. What is common to this and
films_crowd.mjs: a document is {"n": k, "twice": 2k}, and its n only grows. Nobody may ever be given another, nor an older one than
was written and invalidated before they asked, nor miss one that is there.
"""

from __future__ import annotations

import asyncio
import collections
import json
import sys
import threading
import time

import millpond
import millpond.aio

MODE, STORE, TIMEOUT = sys.argv[1], sys.argv[2], int(sys.argv[3])
IDS = [str(i) for i in range(8)]
OPTIONS = {"store": STORE, "store_timeout": TIMEOUT, "wait_timeout": 3 * TIMEOUT, "load_timeout": "2m", "store_threads": 16}


class Crowd:
    def __init__(self) -> None:
        self.over = False
        self.newest = dict.fromkeys(IDS, 0)
        self.done: collections.Counter[str] = collections.Counter()
        self.failed: collections.Counter[str] = collections.Counter()
        self.wrong: list[str] = []
        self.late: list[tuple[int, int, str]] = []  # deadline and end, ns of the monotonic clock
        self.pages = 0

    def told(self, what: str, start: int, limit: int, error: Exception | None = None) -> None:
        end, deadline = time.monotonic_ns(), start + limit * 1_000_000
        if end > deadline:
            self.late.append((deadline, end, f"{what}: {error}"))
        if error is None:
            self.done[what] += 1
            return
        self.failed[what] += 1
        if not isinstance(error, millpond.StoreError) or not error.retriable:
            self.wrong.append(f"{what}: {error!r}")

    def check(self, what: str, doc, before: dict[str, int]) -> None:
        if not doc or list(doc) != ["id", "n", "twice"] or doc["twice"] != 2 * doc["n"] or doc["n"] < before.get(doc["id"], 0):
            self.wrong.append(f"{what}: {doc} after {before}")

    def check_page(self, what: str, page, before: dict[str, int]) -> None:
        if [doc["id"] for doc in page.data] != IDS[:5] or (page.total, page.page, page.pages) != (8, 1, 2):
            self.wrong.append(f"{what}: {page}")
        for doc in page.data:
            self.check(what, doc, before)

    def report(self, hits: int) -> None:
        print(json.dumps({"done": self.done, "failed": self.failed, "wrong": self.wrong[:20], "late": self.late, "pages": self.pages,
                          "hits": hits}), flush=True)


crowd = Crowd()


def query(k: int) -> str:
    return f"n[gte]={-1 - k}&sort=id&limit=5"


# Each step: (what it is, its limit, the call, what to do with the answer). `films` and `store` are the same in both modes, but for await.

def writes(films, store):
    n = 0
    while not crowd.over:
        n += 1
        id = IDS[n % 8]
        # What failed may have been done, or may still be: it is made again until it is known to be.
        while (yield "put", TIMEOUT, lambda: store.put(id, {"n": n, "twice": 2 * n})) is FAILED:
            pass
        yield "invalidate", TIMEOUT, lambda: films.invalidate(id)
        crowd.newest[id] = n


def gets(films, store):
    while not crowd.over:
        for id in IDS:
            before = dict(crowd.newest)
            doc = yield "get", 2 * TIMEOUT, lambda: films.get(id)
            if doc is not FAILED:
                crowd.check("get", doc, before)


def get_manys(films, store):
    while not crowd.over:
        before = dict(crowd.newest)
        docs = yield "get_many", 2 * TIMEOUT, lambda: films.get_many([*IDS, "none"])
        if docs is not FAILED:
            for doc in docs[:8]:
                crowd.check("get_many", doc, before)
            if docs[8] is not None:
                crowd.wrong.append(f"get_many: {docs[8]}")


def finds(films, store):
    while not crowd.over:
        before = dict(crowd.newest)
        page = yield "find", 2 * TIMEOUT, lambda: films.find(query(crowd.pages))
        if page is not FAILED:
            crowd.check_page("find", page, before)
            again = yield "find again", 2 * TIMEOUT, lambda: films.find(query(crowd.pages))
            if again is not FAILED:
                crowd.check_page("find again", again, {})
            crowd.pages += 1


FAILED = object()
ROLES = (writes, gets, get_manys, finds)


def left(films, store):
    """Nobody writes any more: each cached document is the store's, and each cached page one that was there."""
    for id in IDS:
        found = kept = FAILED
        while found is FAILED:
            found = yield "get", 2 * TIMEOUT, lambda: films.get(id)
        while kept is FAILED:
            kept = yield "store get", TIMEOUT, lambda: store.get(id)
        if found != kept:
            crowd.wrong.append(f"left in the cache: {found}, and in the store: {kept}")
    for k in range(crowd.pages):
        page = FAILED
        while page is FAILED:
            page = yield "find", 2 * TIMEOUT, lambda: films.find(query(k))
        crowd.check_page("left in the cache", page, {})


# ---- threads ----

def play(steps) -> None:
    answer = None
    while True:
        try:
            what, limit, call = steps.send(answer)
        except StopIteration:
            return
        start = time.monotonic_ns()
        try:
            answer = call()
        except Exception as error:
            answer = FAILED
            crowd.told(what, start, limit, error)
        else:
            crowd.told(what, start, limit)
        time.sleep(0.001)


def in_threads() -> None:
    with millpond.open("memory:", **OPTIONS) as pond:
        films, store = pond.collection("films"), pond.store("films")
        warm(lambda: [store.put(id, {"n": 0, "twice": 0}) for id in IDS] and films.find("limit=5"))
        threads = [threading.Thread(target=play, args=(role(films, store),)) for role in ROLES]
        for thread in threads:
            thread.start()
        print('{"ready": true}', flush=True)
        sys.stdin.readline()
        crowd.over = True
        for thread in threads:
            thread.join()
        play(left(films, store))
        crowd.report(pond.stat("hits"))


def warm(call) -> None:
    end = time.monotonic() + 60
    while True:
        try:
            return call()
        except millpond.Error:
            if time.monotonic() > end:
                raise


# ---- asyncio ----

async def play_async(steps) -> None:
    answer = None
    while True:
        try:
            what, limit, call = steps.send(answer)
        except StopIteration:
            return
        start = time.monotonic_ns()
        try:
            answer = await call()
        except Exception as error:
            answer = FAILED
            crowd.told(what, start, limit, error)
        else:
            crowd.told(what, start, limit)
        await asyncio.sleep(0.001)


async def in_a_loop() -> None:
    async with millpond.aio.open("memory:", **OPTIONS) as pond:
        films, store = pond.collection("films"), pond.store("films")
        end = time.monotonic() + 60
        for id in IDS:
            while True:
                try:
                    await store.put(id, {"n": 0, "twice": 0})
                    await films.find("limit=5")
                    break
                except millpond.Error:
                    assert time.monotonic() < end
        tasks = [asyncio.create_task(play_async(role(films, store))) for role in ROLES]
        print('{"ready": true}', flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        crowd.over = True
        await asyncio.gather(*tasks)
        await play_async(left(films, store))
        crowd.report(await pond.stat("hits"))


if MODE == "python":
    in_threads()
else:
    asyncio.run(in_a_loop())
