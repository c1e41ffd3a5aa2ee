"""What writes do to cached pages; what main.py needs for `--only writes`, and the client programs.

    writes.py getter PORT SECONDS      writes.py reader PORT STORE SHARED NUMBER BOUND

- `invalidate`: a write (update() of a collection on SQLite) that puts 1,000,000 cached pages out of reach, beside one that has a single
  page; on two servers, in turns. The pages are those that find() would have cached: the library caches one, and its bytes are
  set under the keys of a million queries that have the same answer (a key is the SHA-256 of the canonical query; a sample is read by find(),
  and must hit). Before each write the generation that they carry is put back, so each write has all of them to invalidate; after it a
  sample is read, and must show the new document.
- `get-p999`: GETs that are due at fixed times, and measured from when they were due, so that a server that stands still is
  seen by all that come meanwhile. Runs with writes, as above, and without, in turns; each run with writes has several of them, and
  the geometric means of the runs' p99.9 are compared. Server and client run before all others (SCHED_FIFO), if
  the system lets us. `beside_scan` is the same beside what one does without tags: SCAN and UNLINK.
- `pages-strict`, `pages-bounded`: 100,000 find() by four processes, with 1,000 updates by a fifth spread evenly over them. When each update had returned
  stands in shared memory. A page is stale if it shows a document as it was before an update that had returned
  (bounded: the bound) before the read began.
- `fetch-many`: fetch_many() of 1,000 keys through a proxy that makes every round trip last 100 ms, so that they can be counted by the clock:
  all cached, and with 100 missing (ask, lease, fill).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import mmap
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "servers"))

from proxy import Proxy  # noqa: E402
from redis_server import Connection, RedisServer  # noqa: E402

NAMES = ["invalidate", "get-p999", "pages-strict", "pages-bounded", "fetch-many"]
PAGES = 1_000_000
RATE = 2000  # GETs a second
SCANS = ("keys", "scan", "sscan", "hscan", "zscan", "smembers", "hgetall", "hkeys")
FIELD = "n"


# ---- a million pages --------------------------------------------------------------------------------------------------


class Shelf:
    """A Redis with cached pages, all of one collection, and who writes to it."""

    def __init__(self, folder: pathlib.Path, count: int, cpu: int):
        import millpond
        self.count, self.random, self.version = count, random.Random(count), 0
        self.redis = RedisServer(cpu=cpu)
        self.pond = millpond.open(self.redis.url, namespace="bench", store=f"sqlite:{folder}/{count}.db")
        self.films = self.pond.collection("films", find_ttl="1h")
        self.films.prepare()
        self.pond.store("films").put("00", {FIELD: 0, "v": 0})
        self.films.find(self.query(0))
        self.tag = "mp:g:{bench/films?:*}"
        self.generation, self.page = self.redis.call("GET", self.tag), self.redis.call("GET", self.key(0))
        self._fill()

    @staticmethod
    def query(number: int) -> str:
        return f"{FIELD}[lt]={number + 1}&sort=id&limit=1"

    @staticmethod
    def key(number: int) -> str:
        canonical = f'q1{{"filter":{{"{FIELD}":{{"lt":{number + 1}}}}},"limit":1,"page":1,"sort":["id"]}}'
        return f"mp:v:{{bench/films?:{hashlib.sha256(canonical.encode()).hexdigest()}}}"

    def _fill(self) -> None:
        connection, batch = self.redis.connect(), 1000
        for first in range(0, self.count, batch):
            here = range(first, min(first + batch, self.count))
            connection.send_all([("SET", self.key(number), self.page, "PX", 3_600_000) for number in here])
            for _ in here:
                connection.receive()
        connection.close()

    def sample(self) -> list[int]:
        return [self.random.randrange(self.count) for _ in range(min(20, self.count))]

    def put_back(self, numbers: list[int]) -> None:
        """What a write and the reads after it have changed: the pages are in reach again, all of them."""
        for number in numbers:
            self.redis.call("SET", self.key(number), self.page, "PX", 3_600_000)
        self.redis.call("SET", self.tag, self.generation, "PX", 3_600_000)

    def hits(self, numbers: list[int]) -> int:
        before = self.pond.stat("hits")
        for number in numbers:
            self.films.find(self.query(number))
        return self.pond.stat("hits") - before

    def write(self) -> float:
        """-> ms"""
        self.version += 1
        began = time.perf_counter()
        self.films.update("00", {"v": self.version})
        return (time.perf_counter() - began) * 1000

    def stale(self, numbers: list[int]) -> int:
        return sum(self.films.find(self.query(number)).data[0]["v"] != self.version for number in numbers)

    def close(self) -> None:
        self.pond.close()
        self.redis.stop()


def invalidate(shelves: list[Shelf], rounds: int) -> list[dict]:
    times: dict[int, list[float]] = {shelf.count: [] for shelf in shelves}
    server: dict[int, list[int]] = {shelf.count: [] for shelf in shelves}
    calls, stale, missed = {}, 0, 0
    for shelf in shelves:
        shelf.write()  # warm up
    for _ in range(rounds):
        for shelf in shelves:
            numbers = shelf.sample()
            shelf.put_back(numbers)
            missed += len(numbers) - shelf.hits(numbers)
            shelf.redis.call("CONFIG", "RESETSTAT")
            times[shelf.count].append(shelf.write())
            calls[shelf.count] = shelf.redis.stats()
            server[shelf.count].append(shelf.redis.script_us())
            stale += shelf.stale(numbers)
    one, many = shelves[0].count, shelves[1].count
    ratio = statistics.median(all / single for all, single in zip(times[many], times[one]))
    scans = sum(calls[count].get(name, 0) for count in calls for name in SCANS)
    scripts = {count: calls[count].get("evalsha", 0) for count in calls}
    return [{"workload": "invalidate", "pages": many, "write_ms": round(statistics.median(times[many]), 2),
             "one_page_ms": round(statistics.median(times[one]), 2), "ratio": round(ratio, 2), "goal": 1.25,
             "server_us": round(statistics.median(server[many])), "server_us_one_page": round(statistics.median(server[one])),
             "scripts": scripts[many], "scripts_one_page": scripts[one], "scans": scans, "stale": stale, "not_hit_before": missed,
             "met": ratio <= 1.25 and scans == stale == missed == 0 and scripts[many] == scripts[one]}]


# ---- who is beside a write --------------------------------------------------------------------------------------------


def before_others(process: int) -> bool:
    try:
        os.sched_setscheduler(process, os.SCHED_FIFO, os.sched_param(1))
        return True
    except PermissionError:
        return False


def get_p999(shelf: Shelf, rounds: int, seconds: float, cpu: int) -> list[dict]:
    first = before_others(shelf.redis.process.pid)
    writes, alone, beside = 0, [], []

    def write(end: float) -> None:
        nonlocal writes
        while time.monotonic() < end - 0.2:
            shelf.put_back([])
            shelf.write()
            writes += 1
            time.sleep(0.2)

    for _ in range(rounds):
        alone.append(p999(shelf, seconds, cpu, lambda end: None))
        beside.append(p999(shelf, seconds, cpu, write))
    took, scanned = 0.0, 0

    def by_scan(end: float) -> None:
        nonlocal took, scanned
        began = time.monotonic()
        scanned = scan(shelf.redis)
        took = time.monotonic() - began

    beside_scan = p999(shelf, seconds, cpu, by_scan)
    with_writes, without = statistics.geometric_mean(beside), statistics.geometric_mean(alone)
    ratio = with_writes / without
    return [{"workload": "get-p999", "pages": shelf.count, "writes": writes, "before_others": first, "beside_us": round(with_writes),
             "alone_us": round(without), "ratio": round(ratio, 2), "goal": 1.5, "scan_ms": round(took * 1000), "beside_scan_us": round(beside_scan), "met": ratio <= 1.5 and scanned >= shelf.count}]


def p999(shelf: Shelf, seconds: float, cpu: int, beside) -> float:
    process = subprocess.Popen([sys.executable, "-B", __file__, "getter", str(shelf.redis.port), str(seconds)], stdout=subprocess.PIPE,
                               text=True, preexec_fn=lambda: os.sched_setaffinity(0, {cpu}))
    before_others(process.pid)
    process.stdout.readline()  # it begins
    beside(time.monotonic() + seconds)
    return json.loads(process.communicate(timeout=seconds + 60)[0])


def scan(redis: RedisServer) -> int:
    """-> how many it found and unlinked"""
    connection, cursor, found = redis.connect(), b"0", 0
    while True:
        cursor, keys = connection.call("SCAN", cursor, "MATCH", "mp:v:{bench/films[?]:*", "COUNT", 1000)
        if keys:
            found += connection.call("UNLINK", *keys)
        if cursor == b"0":
            connection.close()
            return found


def getter(port: str, seconds: str) -> None:
    connection = Connection("127.0.0.1", int(port))
    connection.call("SET", "mp-bench", b"x" * 300)
    print("go", flush=True)
    start, times = time.perf_counter() + 0.01, []
    for number in range(int(float(seconds) * RATE)):
        due = start + number / RATE
        if time.perf_counter() < due:
            time.sleep(max(due - time.perf_counter(), 0))
            due = time.perf_counter()  # who wakes up late was kept by the machine, not by the server
        connection.call("GET", "mp-bench")
        times.append((time.perf_counter() - due) * 1e6)
    print(sorted(times)[int(len(times) * 0.999)], flush=True)


# ---- pages that are read while documents are written ------------------------------------------------------------------

DOCUMENTS, VERSIONS, READERS, WRITES, READS, QUERIES = 20, 1000, 4, 1000, 100_000, 40
BOUND_MS = 500


class Shared:
    """When each version of each document had been acknowledged (ns; 0: not yet), and how much each reader has read."""

    def __init__(self, path: str):
        self.file = open(path, "r+b")
        self.map = mmap.mmap(self.file.fileno(), 8 * (DOCUMENTS * VERSIONS + READERS))
        self.numbers = memoryview(self.map).cast("q")
        self.acked, self.read = self.numbers[:DOCUMENTS * VERSIONS], self.numbers[DOCUMENTS * VERSIONS:]


def collection(pond, bound: int):
    return pond.collection("films", search_consistency=f"bounded({bound}ms)" if bound else "strict")


def pages(folder: pathlib.Path, bound: int, part: int) -> list[dict]:
    """`part`: of the reads and writes, one in so many."""
    import millpond
    path, store = folder / f"shared-{bound}", f"sqlite:{folder}/pages-{bound}.db"
    path.write_bytes(bytes(8 * (DOCUMENTS * VERSIONS + READERS)))
    shared, chance, versions = Shared(str(path)), random.Random(1), [0] * DOCUMENTS
    with RedisServer() as redis, millpond.open(redis.url, namespace="pages", store=store) as pond:
        films = collection(pond, bound)
        films.prepare()
        for number in range(DOCUMENTS):
            pond.store("films").put(f"{number:02}", {FIELD: number, "v": 0})
        began = time.monotonic()
        readers = [subprocess.Popen([sys.executable, "-B", __file__, "reader", str(redis.port), store, str(path), str(number), str(bound), str(part)],
                                    stdout=subprocess.PIPE, text=True) for number in range(READERS)]
        for count in range(WRITES // part):
            while sum(shared.read) < (count + 1) * READS // WRITES and all(reader.poll() is None for reader in readers):
                time.sleep(0.0005)
            number = chance.randrange(DOCUMENTS)
            versions[number] += 1
            films.update(f"{number:02}", {"v": versions[number]})
            shared.acked[number * VERSIONS + versions[number]] = time.monotonic_ns()
        seen = [json.loads(reader.communicate(timeout=120)[0]) for reader in readers]
    reads, stale = sum(one["reads"] for one in seen), sum(one["stale"] for one in seen)
    row = {"workload": "pages-bounded" if bound else "pages-strict", "reads": reads, "writes": sum(versions), "stale": stale,
           "hit_rate": round(sum(one["hits"] for one in seen) / reads, 2), "seconds": round(time.monotonic() - began, 1), "goal": 0,
           "met": stale == 0 and reads >= READS // part}
    if bound:
        row.update(bound_ms=bound, oldest_ms=round(max(one["oldest"] for one in seen) / 1e6))
    return [row]


async def reader(port: str, store: str, path: str, me: str, bound: str, part: str) -> None:
    import millpond.aio
    shared, chance, left = Shared(path), random.Random(int(me)), READS // READERS // int(part)
    stale = oldest = done = 0

    async def task() -> None:
        nonlocal left, stale, oldest, done
        while left > 0:
            left -= 1
            number = chance.randrange(QUERIES)
            began = time.monotonic_ns()
            page = await films.find(f"{FIELD}[gte]={number % 10}&sort={'-' if number % 20 < 10 else ''}{FIELD}&limit={5 + number // 20}")
            for document in page.data:
                acked = shared.acked[document[FIELD] * VERSIONS + document["v"] + 1]
                if acked and acked <= began:
                    oldest = max(oldest, began - acked)
                    stale += began - acked >= int(bound) * 1_000_000
            done += 1
            shared.read[int(me)] = done

    async with millpond.aio.open(f"redis://127.0.0.1:{port}/0", namespace="pages", store=store) as pond:
        films = collection(pond, int(bound))
        await asyncio.gather(*(task() for _ in range(8)))
        print(json.dumps({"reads": done, "stale": stale, "oldest": oldest, "hits": await pond.stat("hits")}), flush=True)


# ---- many keys --------------------------------------------------------------------------------------------------------


def fetch_many(rounds: int) -> list[dict]:
    import millpond
    keys, trip, times, calls, asked = [f"k{number}" for number in range(1000)], 0.1, {"hits": [], "missing": []}, 0, 0

    def load(missing):
        nonlocal calls, asked
        calls, asked = calls + 1, asked + len(missing)
        return {key: {"key": key} for key in missing}

    with RedisServer() as redis, Proxy(redis.port) as proxy:
        with millpond.open(f"redis://127.0.0.1:{proxy.port}/0", namespace="many", command_timeout="10s") as pond:
            pond.fetch_many(keys, load)
            proxy.delay(trip / 2)
            calls = asked = 0
            for _ in range(rounds):
                for what in times:
                    if what == "missing":
                        pond.invalidate(*keys[::10])
                    began = time.perf_counter()
                    values = pond.fetch_many(keys, load)
                    times[what].append(time.perf_counter() - began)
                    assert [value["key"] for value in values] == keys
    hits, missing = (int(min(times[what]) / trip) for what in ("hits", "missing"))
    return [{"workload": "fetch-many", "keys": len(keys), "hits_round_trips": hits, "hits_ms": round(min(times["hits"]) * 1000 - trip * 1000 * hits, 1),
             "missing": asked // rounds, "missing_round_trips": missing, "loader_calls": calls / rounds, "goal": 1,
             "met": hits == 1 and calls == rounds and asked == 100 * rounds}]


# ---- all of it --------------------------------------------------------------------------------------------------------


def measure(only: str, rounds: int, seconds: float, part: int) -> list[dict]:
    """The rows of one workload, or of all."""
    wanted, rows = NAMES if only == "writes" else [only], []
    cpus = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="millpond-bench-") as name, contextlib.ExitStack() as stack:
        folder = pathlib.Path(name)
        if {"invalidate", "get-p999"} & set(wanted):
            shelves = []
            for count in (1, PAGES):
                shelves.append(Shelf(folder, count, cpus[-1]))
                stack.callback(shelves[-1].close)
            if "invalidate" in wanted:
                rows += invalidate(shelves, 5 * rounds)
            if "get-p999" in wanted:  # the last: it ends with all pages gone
                rows += get_p999(shelves[1], rounds, 2 * seconds, cpus[0])
        for workload, bound in (("pages-strict", 0), ("pages-bounded", BOUND_MS)):
            if workload in wanted:
                rows += pages(folder, bound, part)
        if "fetch-many" in wanted:
            rows += fetch_many(rounds)
    return rows


def table(rows: list[dict]) -> str:
    return "\n".join(f"{row['workload']:<14} " + ", ".join(f"{name} {value}" for name, value in row.items() if name not in ("workload", "met"))
                     + ("" if row["met"] else "  NOT MET") for row in rows)


if __name__ == "__main__":
    if sys.argv[1] == "getter":
        getter(*sys.argv[2:])
    else:
        asyncio.run(reader(*sys.argv[2:]))
