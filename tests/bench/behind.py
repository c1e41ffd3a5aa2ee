"""The benchmark's write-behind: what main.py needs for `--only behind`. A ratio is of neighbours in one round, and the median of the rounds.

`drain-insert`, `drain-update`: documents of about 300 bytes wait in Redis, and a worker that is started then takes them to MongoDB (w: majority, a
replica set of one): documents that are not there yet, and the same ones with other contents. Beside it a bare bulkWrite from C (bench_mongodb_bulk.c), of which the
documents are BSON before its clock runs. What stands in MongoDB afterwards is counted.
`bullmq`: jobs that wait in Redis, an updateOne a job, at concurrency 1, 10 and 50, the best of them, beside the updates.
`hot-key`: one document, written 100,000 times by 100 tasks while a worker runs, and in how many transactions the store got that.
`accept-python`, `accept-node`, `accept-c`: puts of other keys each, one a call, 100 in flight (accept_client.py), beside SET and XADD in pipelines of 100; client and
server on one CPU, Redis with an append-only file. `cpu_ratio` is theirs / ours of the CPU time of client and server together.
`accept-c-together`: the same with 512 in flight, which go as calls of 64, beside pipelines of 512; client and server each on a CPU of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pathlib
import shutil
import statistics
import sys
import tempfile
import time

from client import Client, ClientError
from documents import documents
from mongodb_server import MongoServer, ServerError
from redis_server import RedisServer

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
DRAINS = ["drain-insert", "drain-update", "bullmq"]
ACCEPTS = {"accept-python": ("redis-py", 0.7, 100), "accept-node": ("ioredis", 0.7, 100), "accept-c": ("hiredis", 0.3, 100),
           "accept-c-together": ("hiredis", 0.7, 512)}
NAMES = [*DRAINS, "hot-key", *ACCEPTS]
DOCUMENTS, JOBS, HOT, LANES = 20_000, 2_000, 100_000, 100
APPEND = {"appendonly": "yes", "appendfsync": "everysec"}
ACCEPTING = {**APPEND, "auto-aof-rewrite-percentage": "0"}  # its child would share the one processor that the server has


def program(name: str) -> str:
    built = sorted(ROOT.glob(f"build/**/{name}"), key=lambda path: path.stat().st_mtime)
    if not built:
        raise ClientError(f"there is no build/**/{name}; configure with -DPOND_BENCH=ON and build it (it wants libmongoc)")
    return str(built[-1])


def middle(samples: list[dict]) -> int:
    return round(statistics.median(sample["rate"] for sample in samples))


def beside(workload: str, ours: list[dict], peer: str, theirs: list[dict], goal: float, **more) -> dict:
    ratios = [mine["rate"] / other["rate"] for mine, other in zip(ours, theirs)]
    ratio = statistics.median(ratios)
    rates = [round(sample["rate"]) for sample in ours]
    return {"workload": workload, "ours": middle(ours), "ours_min": min(rates), "ours_max": max(rates), "peer": peer, "theirs": middle(theirs),
            "ratio": round(ratio, 2), "ratio_min": round(min(ratios), 2), "ratio_max": round(max(ratios), 2), "goal": goal, **more, "met": ratio >= goal}


# ---- drain ------------------------------------------------------------------------------------------------------------


async def fill(port: int, store: str, namespace: str, count: int, version: int) -> None:
    """They wait in Redis."""
    import millpond.aio
    films = [json.loads(document) for document in documents()]
    for film in films:
        del film["id"]
    numbers = iter(range(count))
    async with millpond.aio.open(f"redis://127.0.0.1:{port}/0", namespace=namespace, store=store, worker="off", command_timeout="30s") as pond:
        docs = pond.collection("films", write="behind", backlog_max=100_000_000)
        await docs.prepare()

        async def lane() -> None:
            for number in numbers:  # shared: each document goes to one lane
                await docs.replace(f"{number:08}", {"v": version, **films[number % len(films)]})

        await asyncio.gather(*(lane() for _ in range(LANES)))


class Drain:
    """Redis, MongoDB, and who moves documents from the one to the other."""

    def __init__(self, stack: contextlib.ExitStack, folder: pathlib.Path, count: int, jobs: int):
        self.count, self.jobs = count, jobs
        self.redis = stack.enter_context(RedisServer(options=APPEND))
        self.mongo = stack.enter_context(MongoServer())
        self.store = self.mongo.database("behind")
        films = folder / "documents.jsonl"
        films.write_bytes(b"\n".join(documents()) + b"\n")
        self.ours = Client("drain", "millpond", [sys.executable, "-B", str(HERE / "drain_client.py"), str(self.redis.port), self.store], None)
        self.bare = Client("drain", "bulkWrite", [program("bench_mongodb_bulk"), self.mongo.url, "bare", str(films), str(count)], None)
        self.bullmq = Client("drain", "BullMQ", ["node", str(HERE / "bullmq_client.mjs"), str(self.redis.port), self.mongo.url, "jobs", str(films)], None)
        for client in (self.ours, self.bare, self.bullmq):
            stack.callback(client.close)

    def check(self, database: str, collection: str, version: int) -> None:
        found = self.mongo.call({"count": collection, "query": {"v": version}}, database)["n"]
        if found != self.count:
            raise ClientError(f"{database}: {found} of {self.count} documents stand in MongoDB")

    def one_round(self, number: int, samples: dict[str, list[dict]]) -> None:
        namespace = f"round{number}"
        for version, name in ((1, "insert"), (2, "update")):
            asyncio.run(fill(self.redis.port, self.store, namespace, self.count, version))
            turns = [("ours", self.ours, (namespace, self.count)), ("bare", self.bare, ("films", version))]
            for whose, client, words in turns if number % 2 else turns[::-1]:  # who comes second finds another server
                samples[f"{whose}-{name}"].append(client.run(*words))
            self.check("behind", "films", version)
            self.check("bare", "films", version)
        for concurrency in (1, 10, 50):
            samples[f"bullmq-{concurrency}"].append(self.bullmq.run(concurrency, self.jobs))
        for database in ("behind", "bare", "jobs"):
            for collection in ("films", "jobs"):
                with contextlib.suppress(ServerError):
                    self.mongo.call({"drop": collection}, database)


def drain(folder: pathlib.Path, rounds: int, part: int) -> list[dict]:
    samples: dict[str, list[dict]] = {name: [] for name in ("ours-insert", "ours-update", "bare-insert", "bare-update", "bullmq-1", "bullmq-10", "bullmq-50")}
    with contextlib.ExitStack() as stack:
        bench = Drain(stack, folder, max(DOCUMENTS // part, 4_000), max(JOBS // part, 200))
        bench.one_round(0, {name: [] for name in samples})  # warm up
        for number in range(1, rounds + 1):
            bench.one_round(number, samples)
        best = max((1, 10, 50), key=lambda concurrency: middle(samples[f"bullmq-{concurrency}"]))
        return [beside("drain-insert", samples["ours-insert"], "bulkWrite", samples["bare-insert"], 0.9, documents=bench.count),
                beside("drain-update", samples["ours-update"], "bulkWrite", samples["bare-update"], 0.9, documents=bench.count),
                beside("bullmq", samples["ours-update"], "BullMQ", samples[f"bullmq-{best}"], 10, jobs=bench.jobs, best_concurrency=best,
                       **{f"at_{concurrency}": middle(samples[f"bullmq-{concurrency}"]) for concurrency in (1, 10, 50)})]


# ---- one key ----------------------------------------------------------------------------------------------------------


async def hot_key() -> list[dict]:
    import millpond.aio
    left, lost = iter(range(HOT)), 0
    with RedisServer(options=APPEND) as redis, MongoServer() as mongo:
        async with millpond.aio.open(redis.url, namespace="hot", store=mongo.database("hot"), command_timeout="30s") as pond:
            docs = pond.collection("films", write="behind")
            await docs.prepare()
            film = json.loads(documents()[0])
            began = time.perf_counter()

            async def lane() -> None:
                for number in left:
                    await docs.replace("0000", {**film, "v": number})

            await asyncio.gather(*(lane() for _ in range(LANES)))
            took = time.perf_counter() - began
            await docs.flush()
            lost = int((await pond.store("films").get("0000")) != (await docs.get("0000")))
            flushed = await pond.stat("flushed")
        fences = mongo.call({"find": "millpond_fence"}, "hot")["cursor"]["firstBatch"]
    writes = sum(fence.get("n", 0) for fence in fences)  # transactions, which had this one document
    return [{"workload": "hot-key", "puts": HOT, "puts_per_second": round(HOT / took), "store_writes": writes, "flushed": flushed, "goal": 1000, "lost": lost,
             "met": writes < 1000 and not lost}]


# ---- accept -----------------------------------------------------------------------------------------------------------


def accept_command(workload: str, peer: str, port: int, folder: pathlib.Path) -> list[str]:
    words = [peer, str(port), str(folder)]
    if workload == "accept-python":
        return [sys.executable, "-B", str(HERE / "accept_client.py"), *words]
    films = folder / "documents.jsonl"
    films.write_bytes(b"\n".join(documents()) + b"\n")
    return [*(["node", str(HERE / "accept_client.mjs")] if workload == "accept-node" else [program("bench_accept")]), *words, str(films)]


def server_cpu(server: RedisServer) -> float:
    words = pathlib.Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def least(samples: list[dict], what) -> float:
    """Seconds for 100,000 puts: the figure that a busy machine changes least."""
    return round(min(map(what, samples)), 2)


def accept(workload: str, folder: pathlib.Path, rounds: int, seconds: float) -> list[dict]:
    peer, goal, depth = ACCEPTS[workload]
    cpus = sorted(os.sched_getaffinity(0))
    cpu, own = cpus[-1], cpus[-2:][0] if workload.endswith("-together") else cpus[-1]
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(RedisServer(cpu=cpu, options=ACCEPTING))
        clients = [Client(workload, whose, accept_command(workload, whose, server.port, folder), own) for whose in ("millpond", peer)]
        for client in clients:
            stack.callback(client.close)
            client.run(depth, seconds / 4)  # warm up
        samples: list[list[dict]] = [[], []]
        for _ in range(rounds):
            for client, into in zip(clients, samples):
                before = server_cpu(server)
                sample = client.run(depth, seconds)
                into.append({**sample, "server": (server_cpu(server) - before) / sample["ops"] * 100_000})
        ours, theirs = samples
        alone, whole = (lambda one: one["cpu"]), (lambda one: one["cpu"] + one["server"])
        return [beside(workload, ours, peer, theirs, goal, our_cpu=least(ours, alone), their_cpu=least(theirs, alone), our_cpu_with_server=least(ours, whole),
                       their_cpu_with_server=least(theirs, whole), cpu_ratio=round(least(theirs, whole) / least(ours, whole), 2))]


def measure(only: str, rounds: int, seconds: float, part: int) -> list[dict]:
    """The rows of one workload, or of all. `part`: of the documents and jobs, one in so many."""
    wanted, rows = NAMES if only == "behind" else [only], []
    if shutil.which("node") is None and {"bullmq", "accept-node", *DRAINS} & set(wanted):
        raise ClientError("there is no node on the path")
    with tempfile.TemporaryDirectory(prefix="millpond-bench-") as name:
        folder = pathlib.Path(name)
        if set(DRAINS) & set(wanted):
            rows += [row for row in drain(folder, rounds, part) if row["workload"] in wanted]
        if "hot-key" in wanted:
            rows += asyncio.run(hot_key())
        for workload in ACCEPTS:
            if workload in wanted:
                rows += accept(workload, folder, rounds, seconds)
    return rows
