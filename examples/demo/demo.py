"""Millpond's demo: a film catalogue served through the cache, in numbers that this run measured.

    python examples/demo/demo.py [--json]

First on memory: + sqlite: (a database in a temporary folder, no server at all), then the same through Redis where one answers:
MILLPOND_DEMO_REDIS, else redis://127.0.0.1:6379/0. It writes only below the namespace "millpond-demo-<pid>" there, with short TTLs.
Last a kill -9 while writes wait for the store (write_behind.py).
--json ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import itertools
import json
import os
import pathlib
import random
import re
import socket
import sys
import tempfile
import time
import urllib.parse

import millpond
import millpond.aio
import write_behind

MOVIES = pathlib.Path(__file__).resolve().parent / "data/movies.json"
CALLERS, LOADER_MS = 1000, 100
ABSENT_IDS, ABSENT_LOOKUPS = 1000, 10_000
LOOKUPS = 20_000
SEARCHES, QUESTIONS = 2000, 200
PAGES = 200
ZIPF = 1.0  # the n-th favourite film is asked for 1/n as often as the first


def films() -> dict[str, dict]:
    """The catalogue by id: fields in snake_case, the row number as the id (titles repeat, so they are none)."""
    def snake(name: str) -> str:
        return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")

    rows = json.loads(MOVIES.read_text(encoding="utf-8"))
    return {f"{number:04}": {snake(name): value for name, value in row.items()} for number, row in enumerate(rows)}


def ms(since: float) -> float:
    return round((time.perf_counter() - since) * 1000, 1)


class Printer:
    """A quiet table: what was done, what came of it."""

    def __init__(self, colour: bool):
        self.bold, self.dim, self.plain = ("\033[1m", "\033[2m", "\033[0m") if colour else ("", "", "")

    def title(self, words: str) -> None:
        print(f"\n{self.bold}{words}{self.plain}\n{'─' * len(words)}")

    def row(self, what: str, result: str, note: str = "") -> None:
        print(f"  {what:<50} {self.bold}{result:<22}{self.plain} {self.dim}{note}{self.plain}".rstrip())


# ---- the seven acts --------------------------------------------------------------------------------------------------

async def import_films(pond, catalogue: dict) -> dict:
    began = time.perf_counter()
    collection = pond.store("films")
    await collection.create()
    names = iter(catalogue.items())

    async def writer() -> None:
        for name, film in names:  # shared: each film goes to one writer
            await collection.put(name, film)

    await asyncio.gather(*(writer() for _ in range(8)))
    return {"films": len(catalogue), "ms": ms(began)}


async def stampede(pond) -> dict:
    """A thousand callers ask for one cold key at once; the loader takes 100 ms."""
    loads, returned, start = 0, 0.0, asyncio.Event()

    async def load():
        nonlocal loads, returned
        loads += 1
        await asyncio.sleep(LOADER_MS / 1000)
        returned = time.perf_counter()
        return {"top": ["The Godfather", "Inception"]}

    async def caller():
        await start.wait()
        return await pond.fetch("front-page", load)

    tasks = [asyncio.ensure_future(caller()) for _ in range(CALLERS)]
    await asyncio.sleep(0)
    began = time.perf_counter()
    start.set()
    answers = await asyncio.gather(*tasks)
    done = time.perf_counter()
    assert all(answer == answers[0] for answer in answers)
    return {"callers": CALLERS, "loads": loads, "load_ms": round((returned - began) * 1000, 1),
            "all_answered_ms": round((done - began) * 1000, 1), "after_load_ms": round((done - returned) * 1000, 1)}


async def negative(pond) -> dict:
    """Ids that do not exist, ten times over: the store is asked once for each."""
    loads = 0
    collection = pond.store("films")

    def loader(name: str):
        async def load():
            nonlocal loads
            loads += 1
            return await collection.get(name)
        return load

    began = time.perf_counter()
    names = [f"ghost-{number % ABSENT_IDS}" for number in range(ABSENT_LOOKUPS)]
    for first in range(0, len(names), 100):
        found = await asyncio.gather(*(pond.fetch(f"film:{name}", loader(name)) for name in names[first:first + 100]))
        assert not any(found)
    return {"lookups": ABSENT_LOOKUPS, "ids": ABSENT_IDS, "loads": loads, "ms": ms(began)}


async def lookups(pond, catalogue: dict) -> dict:
    """Films as visitors ask for them: few are asked for often, many now and then."""
    loads = 0
    collection = pond.store("films")

    def loader(name: str):
        async def load():
            nonlocal loads
            loads += 1
            return await collection.get(name)
        return load

    chance = random.Random(1)
    favourites = list(catalogue)
    chance.shuffle(favourites)
    weights = list(itertools.accumulate(1 / (rank + 1) ** ZIPF for rank in range(len(favourites))))
    wanted = iter(chance.choices(favourites, cum_weights=weights, k=LOOKUPS))
    before = {name: await pond.stat(name) for name in ("hits", "loads")}
    began = time.perf_counter()

    async def visitor() -> None:
        for name in wanted:
            film = await pond.fetch(f"film:{name}", loader(name))
            assert film["id"] == name

    await asyncio.gather(*(visitor() for _ in range(32)))
    took = ms(began)
    hits = (await pond.stat("hits")) - before["hits"]
    assert await pond.stat("loads") - before["loads"] == loads
    return {"count": LOOKUPS, "hits": hits, "loads": loads, "hit_rate": round(hits / LOOKUPS, 4), "ms": took,
            "per_second": round(LOOKUPS / took * 1000)}


def questions(catalogue: dict, chance: random.Random) -> list[list[str]]:
    """What visitors might look for: words that titles are made of, some with a filter, some in an order."""
    words = collections.Counter(word for film in catalogue.values() for word in re.findall("[a-z]{4,}", str(film["title"]).lower()))
    extras = [[], ["sort=-imdb_rating"], ["imdb_rating[gte]=6", "sort=-imdb_rating"], ["mpaa_rating[in]=PG,PG-13"],
              ["major_genre=Drama", "sort=title", "limit=10"]]
    asked = [[f"search={word}", *extra] for word, _ in words.most_common(QUESTIONS // len(extras)) for extra in extras]
    chance.shuffle(asked)
    return asked


async def searches(pond, catalogue: dict) -> dict:
    """Pages of films as visitors search for them: few questions are asked often. Each time the parameters come in another
    order; the question is the same, and so is its key."""
    films_there = pond.collection("films", searchable=["title"], filterable=["imdb_rating", "major_genre", "mpaa_rating"],
                                  sortable=["imdb_rating", "title"], search_ttl="1m")
    chance = random.Random(2)
    asked = questions(catalogue, chance)
    weights = list(itertools.accumulate(1 / (rank + 1) ** ZIPF for rank in range(len(asked))))
    wanted = [chance.sample(parts, len(parts)) for parts in chance.choices(asked, cum_weights=weights, k=SEARCHES)]
    different = len({tuple(sorted(parts)) for parts in wanted})
    row = (await films_there.explain("&".join(wanted[0])))["namespace"]  # where the statistics count pages
    before = {name: await pond.stat(name, row) for name in ("hits", "loads")}
    began = time.perf_counter()
    shared = iter(wanted)

    async def visitor() -> None:
        for parts in shared:
            page = await films_there.find("&".join(parts))
            word = next(part for part in parts if part.startswith("search=")).removeprefix("search=")
            assert all(word in str(film["title"]).lower() for film in page)

    await asyncio.gather(*(visitor() for _ in range(32)))
    took = ms(began)
    hits, loads = [await pond.stat(name, row) - before[name] for name in ("hits", "loads")]
    return {"queries": SEARCHES, "different": different, "hits": hits, "loads": loads, "hit_rate": round(hits / SEARCHES, 4),
            "ms": took, "per_second": round(SEARCHES / took * 1000)}


async def invalidation(pond, catalogue: dict) -> dict:
    """A film becomes the best of all: every page that is cached shows it with the next read, whatever was asked for, while visitors
    go on reading."""
    films_there = pond.collection("films", filterable=["imdb_rating"], sortable=["imdb_rating"], indexes=["-imdb_rating"])
    await films_there.prepare()
    asked = [f"imdb_rating[gte]={rating / 10}&sort=-imdb_rating&limit={limit}" for rating in range(PAGES // 4) for limit in (1, 5, 10, 20)]
    row = (await films_there.explain(asked[0]))["namespace"]
    best, written, stale, reads = next(iter(catalogue)), False, 0, 0

    async def read(query: str) -> None:
        nonlocal stale, reads
        new = written  # was it written when this read began?
        page = await films_there.find(query)
        reads += new
        stale += new and page.data[0]["id"] != best

    async def visitor(part: int) -> None:
        while not written:
            for query in asked[part::4]:
                await read(query)
                await asyncio.sleep(0)  # a hit in memory does not wait for anything, and lets nobody else run

    for query in asked:
        await read(query)
    hits = await pond.stat("hits", row)
    for query in asked:
        await read(query)
    cached = await pond.stat("hits", row) - hits
    visitors = asyncio.gather(*(visitor(part) for part in range(4)))
    await asyncio.sleep(0.01)
    began = time.perf_counter()
    await films_there.update(best, {"imdb_rating": 10.1})
    took, written = ms(began), True
    await visitors
    for query in asked:
        await read(query)
    return {"pages": cached, "write_ms": took, "stale_reads": stale, "reads": reads}


async def new_row(pond) -> dict:
    """A film that was absent a moment ago: created, invalidated, and there with the next read."""
    collection = pond.store("films")

    async def load():
        return await collection.get("new")

    await collection.delete("new")
    await pond.invalidate("film:new")
    before = await pond.fetch("film:new", load)
    cached = (await pond.lookup("film:new")).state
    await collection.put("new", {"title": "The Millpond"})
    began = time.perf_counter()
    await pond.invalidate("film:new")
    film = await pond.fetch("film:new", load)
    return {"before": before, "cached_as": cached, "after": film["title"] if film else None, "ms": ms(began)}


async def play(cache: str, namespace: str, catalogue: dict, printer: Printer) -> dict:
    with tempfile.TemporaryDirectory(prefix="millpond-demo-") as folder:
        pond = millpond.aio.open(cache, store=f"sqlite:{folder}/films.db", namespace=namespace, ttl="1m", negative_ttl="30s")
        try:
            results = {"import": await import_films(pond, catalogue)}
            result = results["import"]
            printer.row(f"imported {result['films']:,} films into SQLite", f"{result['ms']:,.0f} ms")
            result = results["stampede"] = await stampede(pond)
            printer.row(f"{CALLERS:,} callers, one cold key, a {LOADER_MS} ms loader", f"{result['loads']} load",
                        f"all answered after {result['all_answered_ms']} ms, {result['after_load_ms']} ms after the load")
            result = results["negative"] = await negative(pond)
            printer.row(f"{ABSENT_LOOKUPS:,} lookups of {ABSENT_IDS:,} films that are not there", f"{result['loads']:,} loads",
                        f"{result['ms']:,.0f} ms; the absences are cached for 30 s")
            result = results["lookups"] = await lookups(pond, catalogue)
            printer.row(f"{LOOKUPS:,} lookups, few films asked for often", f"{result['hit_rate']:.1%} hits",
                        f"{result['loads']:,} loads; {result['per_second']:,} lookups/s with JSON decode")
            result = results["search"] = await searches(pond, catalogue)
            printer.row(f"{SEARCHES:,} searches, {result['different']} different ones", f"{result['hit_rate']:.1%} hits",
                        f"{result['loads']:,} loads, each a scan of the films; {result['per_second']:,} pages/s")
            result = results["invalidation"] = await invalidation(pond, catalogue)
            printer.row(f"a film changed, which is on {result['pages']:,} cached pages", f"{result['stale_reads']} stale reads",
                        f"the write took {result['write_ms']} ms; {result['reads']:,} reads after it")
            result = results["new_row"] = await new_row(pond)
            printer.row("a film created and invalidated", f"{result['cached_as']} -> {result['after']!r}",
                        f"read again {result['ms']} ms after the write")
            return results
        finally:
            await pond.close()


# ---- the stage --------------------------------------------------------------------------------------------------------

def answers(url: str) -> bool:
    """Does a server answer there? A look at the port, so that the demo can say so without waiting."""
    parts = urllib.parse.urlsplit(url)
    try:
        with socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 6379), 0.3):
            return True
    except OSError:
        return False


async def main() -> None:
    parser = argparse.ArgumentParser(description="Millpond's demo")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    arguments = parser.parse_args()
    printer = Printer(sys.stdout.isatty() and "NO_COLOR" not in os.environ)
    began = time.perf_counter()
    catalogue = films()
    namespace = f"millpond-demo-{os.getpid()}"
    redis = os.environ.get("MILLPOND_DEMO_REDIS") or "redis://127.0.0.1:6379/0"
    shown = redis.rpartition("@")[2].removeprefix("redis://")

    printer.title(f"Millpond {millpond.__version__}: memory: + sqlite:, no server")
    results = await play("memory:", namespace, catalogue, printer)
    if answers(redis):
        printer.title(f"the same through Redis at {shown}")
        results["redis"] = await play(redis, namespace, catalogue, printer)
    else:
        printer.title("the same through Redis")
        printer.row("left out: nothing answers at", shown, "start redis-server, or set MILLPOND_DEMO_REDIS")
        results["redis"] = None
    printer.title("written behind: accepted by Redis, then taken to SQLite")
    result = results["write_behind"] = await asyncio.to_thread(write_behind.play, redis if results["redis"] else None, namespace)
    if result:
        printer.row(f"{result['accepted']:,} writes accepted, then kill -9 in a flush", f"{result['lost']} lost",
                    f"{result['killed_at']:,} films were in the store; all of it {result['recovered_ms'] / 1000:.1f} s later, when the dead worker's time was over")
    else:
        printer.row("left out: no Redis answers, and none can be started", "install redis-server")
    results["seconds"] = round(time.perf_counter() - began, 2)
    print(f"\n  {results['seconds']} s in all\n")
    if arguments.json:
        print(json.dumps(results, ensure_ascii=False))


if __name__ == "__main__":
    asyncio.run(main())
