"""The benchmark's queries: 100,000 documents of about 400 bytes; what main.py needs for `--only queries`, and the client program.

    queries.py WORKLOAD PEER PLACES        reads `run CONCURRENCY SECONDS` lines, answers each with one JSON line

`...-find-indexed`: imdb_rating[gte]=x&sort=-imdb_rating, page 1 of 20 with the total (500 to 1,500 of the documents), through an
index. x is another one each time, so every call of ours misses the cache, loads, and fills it; a round counts the loads.
`page-hit-...`: find() of a cached page of 20 against fetch() of a cached value with the same content, both decoded.

By hand means: `sqlite3`, the very statements that explain() shows, on the index that prepare() made; `sqlite3-plain`, what one
would write instead, json_extract and an index on it; `pymongo`, find and count_documents on the index that prepare() made.
Before it is measured, every client answers one query whose answer was computed from the documents themselves.
"""

from __future__ import annotations

import bisect
import contextlib
import itertools
import json
import os
import pathlib
import random
import re
import shutil
import sqlite3
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
MOVIES = HERE.parents[1] / "examples/demo/data/movies.json"
COUNT, PAGE, PAGES = 100_000, 20, 64
TABLE, FIELD = "films", "imdb_rating"
# workload, client program, concurrency, goal, peers
WORKLOADS = [
    ("sqlite-find-indexed", "sqlite-find-indexed", 1, 0.5, ["sqlite3", "sqlite3-plain"]),
    ("mongodb-find-indexed", "mongodb-find-indexed", 1, 0.5, ["pymongo"]),
    ("page-hit-memory", "page-hit-memory", 1, 0.8, ["fetch"]),
    ("page-hit-redis", "page-hit-redis", 1, 0.8, ["fetch"]),
]


# ---- what is asked, for main.py ---------------------------------------------------------------------------------------


def films() -> list[tuple[str, dict]]:
    """The catalogue again and again, each time with ratings that are a little different, so that few are the same."""
    def snake(name: str) -> str:
        return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")

    rows = [{snake(name): value for name, value in row.items()} for row in json.loads(MOVIES.read_text(encoding="utf-8"))]
    chance, out = random.Random(1), []
    for number in range(COUNT):
        film = dict(rows[number % len(rows)])
        if film[FIELD] is not None:
            film[FIELD] = round(film[FIELD] + chance.uniform(-0.5, 0.5), 5)
        out.append((f"{number:06}", film))
    return out


def facts_of(documents: list[tuple[str, dict]]) -> dict:
    """Between which values x is chosen, and one answer."""
    best = sorted((-film[FIELD], name) for name, film in documents if film[FIELD] is not None)
    asked = -best[1000][0]
    total = bisect.bisect_right(best, (-asked, "~"))
    return {"low": -best[1500][0], "high": -best[500][0], "asked": asked, "ids": [name for _, name in best[:PAGE]], "total": total}


@contextlib.contextmanager
def stores(kinds: set[str], redis, cpu: int):
    """-> (the address of every store, for the client programs; why a workload cannot be measured, by its name)"""
    places, absent = {"redis": redis.port}, {}
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="millpond-bench-")))
        documents = films()
        places["facts"] = str(folder / "facts.json")
        (folder / "facts.json").write_text(json.dumps(facts_of(documents)))
        places["sqlite"], places["plain"] = fill_sqlite(folder, documents)
        if "mongodb-find-indexed" in kinds:
            try:
                places["mongodb"] = fill_mongodb(stack, documents, cpu)
            except Exception as error:  # no mongod for this machine, no pymongo, no plugin: the other workloads stand
                absent["mongodb-find-indexed"] = f"{type(error).__name__}: {error}"
        yield places, absent


def fill_sqlite(folder: pathlib.Path, documents: list[tuple[str, dict]]) -> tuple[str, str]:
    import millpond
    ours, plain = folder / "films.db", folder / "plain.db"
    with millpond.open("memory:bench-fill", store=f"sqlite:{ours}") as pond:
        pond.store(TABLE).create()
    database = sqlite3.connect(ours)
    with database:
        database.executemany(f"INSERT INTO {TABLE}(id, doc, ver) VALUES (?, ?, 1)",
                             ((name, json.dumps(film, ensure_ascii=False, separators=(",", ":"))) for name, film in documents))
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    shutil.copy(ours, plain)
    with millpond.open("memory:bench-fill", store=f"sqlite:{ours}") as pond:
        collection(pond).prepare()
    database = sqlite3.connect(plain)
    with database:
        database.execute(f"CREATE INDEX by_rating ON {TABLE}(json_extract(doc, '$.{FIELD}') DESC, id)")
    database.close()
    return str(ours), str(plain)


def fill_mongodb(stack: contextlib.ExitStack, documents: list[tuple[str, dict]], cpu: int) -> str:
    import millpond
    import pymongo
    sys.path.insert(0, str(HERE.parent / "servers"))
    from mongodb_server import MongoServer
    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})  # the server inherits it, with all of its threads
    try:
        server = stack.enter_context(MongoServer())
    finally:
        os.sched_setaffinity(0, cpus)
    address = server.database("bench")
    client = pymongo.MongoClient(address)
    films_there = client["bench"][TABLE]
    for first in range(0, len(documents), 5000):
        films_there.insert_many([{"_id": name, **film} for name, film in documents[first:first + 5000]], ordered=False)
    client.close()
    with millpond.open("memory:bench-fill", store=address) as pond:
        collection(pond).prepare()
    return address


def command(kind: str, peer: str, places: dict) -> list[str]:
    return [sys.executable, "-B", str(HERE / "queries.py"), kind, peer, json.dumps(places)]


# ---- the clients ------------------------------------------------------------------------------------------------------


def collection(pond):
    return pond.collection(TABLE, filterable=[FIELD], sortable=[FIELD], indexes=[f"-{FIELD}"])


def text(least: float) -> str:
    return f"{FIELD}[gte]={least!r}&sort=-{FIELD}&limit={PAGE}"


class Finder:
    """find(x) -> (the documents of page 1, the total) by a peer. before(), after(count): what must be true of a round."""

    def __init__(self, peer: str, store: str, places: dict):
        self.before, self.after = lambda: None, lambda count: None
        getattr(self, "_" + peer.replace("-", "_"))(places, store)

    def _millpond(self, places: dict, store: str) -> None:
        import millpond
        address = places["mongodb"] if store == "mongodb" else f"sqlite:{places['sqlite']}"
        pond = millpond.open("memory:", store=address, namespace="bench", ttl="1m", memory_max="64MiB")
        find = collection(pond).find
        counts: dict[str, int] = {}

        def before() -> None:
            counts.update({name: pond.stat(name) for name in ("hits", "loads")})

        def after(count: int) -> None:
            # A page and a total for each call, and nothing out of the cache.
            assert pond.stat("hits") == counts["hits"] and pond.stat("loads") == counts["loads"] + 2 * count, "some were hits"

        def found(least: float):
            page = find(text(least))
            return page.data, page.total

        self.version, self.find, self.before, self.after = millpond.__version__, found, before, after

    def _sqlite3(self, places: dict, _: str) -> None:
        import millpond
        with millpond.open("memory:", store=f"sqlite:{places['sqlite']}") as pond:
            page = collection(pond).explain(text(1.5))["statement"]
        count = "SELECT count(*)" + page[page.index(" FROM "):page.index(" ORDER BY ")]
        execute = sqlite3.connect(places["sqlite"], isolation_level=None).execute

        def found(least: float):
            execute("BEGIN")
            data = []
            for name, in execute(page, (None, 0, least)).fetchall():
                doc, = execute(f"SELECT doc FROM {TABLE} WHERE id = ?", (name,)).fetchone()
                data.append({"id": name, **json.loads(doc)})
            total, = execute(count, (None, 0, least)).fetchone()
            execute("COMMIT")
            return data, total

        self.version, self.find = sqlite3.sqlite_version, found

    def _sqlite3_plain(self, places: dict, _: str) -> None:
        execute = sqlite3.connect(places["plain"], isolation_level=None).execute
        rating = f"json_extract(doc, '$.{FIELD}')"

        def found(least: float):
            rows = execute(f"SELECT id, doc FROM {TABLE} WHERE {rating} >= ? ORDER BY {rating} DESC, id LIMIT ?", (least, PAGE))
            data = [{"id": name, **json.loads(doc)} for name, doc in rows]
            total, = execute(f"SELECT count(*) FROM {TABLE} WHERE {rating} >= ?", (least,)).fetchone()
            return data, total

        self.version, self.find = sqlite3.sqlite_version, found

    def _pymongo(self, places: dict, _: str) -> None:
        import pymongo
        there = pymongo.MongoClient(places["mongodb"])["bench"][TABLE]

        def found(least: float):
            asked = {FIELD: {"$gte": least}}
            data = [{"id": film.pop("_id"), **film} for film in there.find(asked).sort([(FIELD, -1), ("_id", 1)]).limit(PAGE)]
            return data, there.count_documents(asked)

        self.version, self.find = pymongo.version, found


def find_client(kind: str, peer: str, places: dict):
    """-> (version, next operation, before, after)"""
    facts = json.loads(pathlib.Path(places["facts"]).read_text())
    finder = Finder(peer, kind.split("-")[0], places)
    data, total = finder.find(facts["asked"])
    assert [film["id"] for film in data] == facts["ids"] and total == facts["total"], f"{peer} answers {total}: {data[:1]}"
    assert all("title" in film for film in data)
    chance, find = random.Random(os.getpid()), finder.find
    low, high = facts["low"], facts["high"]
    return finder.version, lambda: find(chance.uniform(low, high)), finder.before, finder.after


def page_client(kind: str, peer: str, places: dict):
    """find() of cached pages, or fetch() of values that look like them. No load may happen in a round."""
    import millpond
    facts = json.loads(pathlib.Path(places["facts"]).read_text())
    address = "memory:" if kind == "page-hit-memory" else f"redis://127.0.0.1:{places['redis']}/{3 if peer == 'fetch' else 4}"
    pond = millpond.open(address, store=f"sqlite:{places['sqlite']}", namespace="bench", ttl="1h")
    films_there = collection(pond)
    step = (facts["high"] - facts["low"]) / PAGES
    queries = [text(facts["low"] + step * number) + f"&page={1 + number % 20}" for number in range(PAGES)]
    pages = [films_there.find(query) for query in queries]
    assert all(len(page) == PAGE for page in pages)
    if peer == "fetch":
        for number, page in enumerate(pages):
            pond.fetch(f"page:{number}", lambda page=page: {"data": page.data, "page": page.page, "limit": page.limit,
                                                            "total": page.total, "pages": page.pages})
        keys, fetch = itertools.cycle([f"page:{number}" for number in range(PAGES)]), pond.fetch

        def must_hit():
            raise AssertionError("the benchmark measures hits, and this was a miss")

        def operation():
            return fetch(next(keys), must_hit)["data"]
    else:
        cycle, find = itertools.cycle(queries), films_there.find

        def operation():
            return find(next(cycle)).data

    loads = [0]

    def before() -> None:
        loads[0] = pond.stat("loads")

    def after(_: int) -> None:
        assert pond.stat("loads") == loads[0], "some were no hits"

    assert len(operation()) == PAGE
    return millpond.__version__, operation, before, after


def main(kind: str, peer: str, places: dict) -> None:
    from py_client import answer, cpu_seconds
    batch = 4 if kind.startswith("page-hit") else 1  # operations between two looks at the clock
    version, operation, before, after = (page_client if kind.startswith("page-hit") else find_client)(kind, peer, places)
    answer({"ready": True, "version": version})
    for line in iter(sys.stdin.readline, ""):
        words = line.split()
        if not words or words[0] != "run":
            break
        before()
        count, used, start = 0, cpu_seconds(), time.perf_counter()
        end = start + float(words[2])
        while time.perf_counter() < end:
            for _ in range(batch):
                operation()
            count += batch
        seconds, used = time.perf_counter() - start, cpu_seconds() - used
        after(count)
        answer({"ops": count, "seconds": seconds, "cpu": used})


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))
