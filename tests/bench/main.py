"""The benchmark: Millpond beside its peers, hits through Redis, client and server pinned to one CPU.

    python tests/bench/main.py [--quick] [--json] [--only NAME] [--rounds N] [--seconds S]

Small machines are noisy, so: every client is a process of its own that stays alive; rounds are interleaved (ours, peer,
peer, ours, peer, peer ...) and a ratio compares neighbours of one round; client and server share one CPU, which
takes the cost of waking another CPU out of the figures; and beside the operations per second stands the client's CPU time
for 100,000 operations, the figure that carries over to other machines.

What each client does is in py_client.py, node_client.mjs and ../c/bench_link.c. The full mode writes results.json,
table.txt and two plots into build/bench. The groups `queries` (queries.py), `writes` (writes.py) and `behind` (behind.py) are measured when
they are asked for only: they need 100,000 documents and a MongoDB, a million pages in Redis, and both servers.

Environment: MILLPOND_BENCH_C, the built bench_link; MILLPOND_NODE, the folder of the npm package; without them
build/ and node/ are searched.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pathlib
import platform
import shutil
import statistics
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE.parent / "servers"))
sys.dont_write_bytecode = True

import behind  # noqa: E402
import queries  # noqa: E402
import writes  # noqa: E402
from client import Client, ClientError  # noqa: E402
from documents import documents  # noqa: E402
from redis_server import RedisServer  # noqa: E402

# workload, client program, concurrency, goal, peers
WORKLOADS = [
    ("asyncio-1", "asyncio", 1, 1.5, ["redis-py", "valkey-glide"]),
    ("asyncio-64", "asyncio", 64, 4.0, ["redis-py", "valkey-glide"]),
    ("threads-1", "threads", 1, 1.5, ["redis-py"]),
    ("threads-8", "threads", 8, 3.0, ["redis-py"]),
    ("node-1", "node", 1, 1.2, ["ioredis", "ioredis-auto"]),
    ("node-64", "node", 64, 1.8, ["ioredis", "ioredis-auto"]),
    ("c-64", "c", 64, 0.6, ["hiredis"]),
]
OURS = "millpond"


def command(kind: str, peer: str, port: int, documents_file: pathlib.Path) -> list[str]:
    if kind in ("asyncio", "threads"):
        return [sys.executable, "-B", str(HERE / "py_client.py"), kind, peer, str(port)]
    if kind == "node":
        return ["node", str(HERE / "node_client.mjs"), peer, str(port), str(documents_file)]
    return [c_program(), peer, str(port), str(documents_file)]


def c_program() -> str:
    named = os.environ.get("MILLPOND_BENCH_C")
    if named:
        return named
    built = sorted(ROOT.glob("build/**/bench_link"), key=lambda path: path.stat().st_mtime)
    if not built:
        raise ClientError("c: there is no build/**/bench_link; configure with -DPOND_BENCH=ON and build it")
    return str(built[-1])


def choose(only: str | None) -> list[tuple]:
    """The rows of a workload or a group; without either all of WORKLOADS."""
    if only is None:
        return WORKLOADS
    chosen = queries.WORKLOADS if only == "queries" else [row for row in WORKLOADS if only in (row[0], row[0].split("-")[0])]
    chosen = chosen or [row for row in queries.WORKLOADS if row[0] == only]
    if not chosen:
        raise SystemExit(f"--only: there is no workload {only}; they are "
                         + ", ".join([row[0] for row in WORKLOADS + queries.WORKLOADS] + writes.NAMES + behind.NAMES))
    return chosen


@contextlib.contextmanager
def programs(chosen: list[tuple], server: RedisServer, cpu: int, folder: pathlib.Path):
    """-> (the words that start a client, given kind and peer; why a kind cannot be measured, by its name)"""
    if chosen[0] in queries.WORKLOADS:
        with queries.stores({row[1] for row in chosen}, server, cpu) as (places, absent):
            yield (lambda kind, peer: queries.command(kind, peer, places)), absent
    else:
        documents_file = folder / "documents.jsonl"
        documents_file.write_bytes(b"\n".join(documents()) + b"\n")
        yield (lambda kind, peer: command(kind, peer, server.port, documents_file)), {}


def measure(arguments, chosen: list[tuple], words, absent: dict, cpu: int) -> tuple[list[dict], dict, list[str]]:
    """-> (samples per workload and client, versions, what could not be measured)"""
    results, versions, missing = [], {}, [f"{kind}: {why}" for kind, why in absent.items()]
    for kind in dict.fromkeys(row[1] for row in chosen if row[1] not in absent):
        rows = [row for row in chosen if row[1] == kind]
        clients: dict[str, Client] = {}
        try:
            for peer in [] if arguments.peers_only else [OURS]:
                clients[peer] = Client(kind, peer, words(kind, peer), cpu)
            for peer in dict.fromkeys(peer for row in rows for peer in row[4]):
                try:
                    clients[peer] = Client(kind, peer, words(kind, peer), cpu)
                except ClientError as error:
                    missing.append(str(error))
            versions.update({f"{kind} {peer}": client.version for peer, client in clients.items()})
            for name, _, concurrency, goal, _ in rows:
                samples: dict[str, list[dict]] = {peer: [] for peer in clients}
                for client in clients.values():
                    client.run(concurrency, arguments.seconds / 4)  # warm up: connections, caches, compiled code
                for _ in range(arguments.rounds):
                    for peer, client in clients.items():
                        samples[peer].append(client.run(concurrency, arguments.seconds))
                results.append({"workload": name, "goal": goal, "samples": samples})
        finally:
            for client in clients.values():
                client.close()
    return results, versions, missing


def rows_of(results: list[dict]) -> list[dict]:
    """The rows of the report: medians of the rates, and the ratios of neighbours."""
    rows = []
    for result in results:
        ours = result["samples"].get(OURS)
        for peer, theirs in result["samples"].items():
            if peer == OURS:
                continue
            row = {"workload": result["workload"], "peer": peer, "theirs": round(median(theirs, "rate")),
                   "their_cpu": round(min(sample["cpu"] for sample in theirs), 2)}
            if ours:
                ratios = [mine["rate"] / other["rate"] for mine, other in zip(ours, theirs)]
                ratio = statistics.median(ratios)
                row = {"workload": row["workload"], "ours": round(median(ours, "rate")), "peer": peer,
                       "theirs": row["theirs"], "ratio": round(ratio, 2), "ratio_min": round(min(ratios), 2),
                       "ratio_max": round(max(ratios), 2), "goal": result["goal"], "met": ratio >= result["goal"],
                       "our_cpu": round(min(sample["cpu"] for sample in ours), 2), "their_cpu": row["their_cpu"]}
            rows.append(row)
    return rows


def median(samples: list[dict], field: str) -> float:
    return statistics.median(sample[field] for sample in samples)


def spread(samples: list[dict]) -> str:
    rates = [sample["rate"] for sample in samples]
    return f"{min(rates):>9,.0f} {statistics.median(rates):>9,.0f} {max(rates):>9,.0f}"


def table(results: list[dict], rows: list[dict]) -> str:
    wide = max([11, *(len(result["workload"]) for result in results)])
    lines = [f"{'workload':<{wide}} {'client':<13} {'min':>9} {'median':>9} {'max':>9}  {'CPU s/100k':>10}  "
             f"{'ours / theirs (min..max)':<26} goal"]
    for result in results:
        for peer, samples in result["samples"].items():
            row = next((row for row in rows if row["workload"] == result["workload"] and row["peer"] == peer), {})
            verdict = ""
            if "ratio" in row:
                ratio = f"{row['ratio']:.2f}x ({row['ratio_min']:.2f}..{row['ratio_max']:.2f})"
                verdict = f"{ratio:<26} {row['goal']}x {'met' if row['met'] else 'NOT MET'}"
            cpu = min(sample["cpu"] for sample in samples)
            lines.append(f"{result['workload']:<{wide}} {peer:<13} {spread(samples)}  {cpu:>10.2f}  {verdict}".rstrip())
    return "\n".join(lines)


def plots(results: list[dict], folder: pathlib.Path) -> list[pathlib.Path]:
    try:
        import matplotlib
    except ImportError:
        print("no plots: pip install matplotlib", file=sys.stderr)
        return []
    matplotlib.use("Agg")
    from matplotlib import pyplot
    written = []
    for field, title, name in (("rate", "operations per second, one CPU (more is better)", "rate.png"),
                               ("cpu", "client CPU seconds per 100,000 operations (less is better)", "cpu.png")):
        figure, axes = pyplot.subplots(1, len(results), figsize=(2.6 * len(results), 3.6), squeeze=False)
        for axis, result in zip(axes[0], results):
            for place, (peer, samples) in enumerate(result["samples"].items()):
                values = [sample[field] for sample in samples]
                middle = statistics.median(values)
                axis.bar(place, middle, color="#1f6f8b" if peer == OURS else "#b8b8b8",
                         yerr=[[middle - min(values)], [max(values) - middle]], capsize=3)
            axis.set_xticks(range(len(result["samples"])), list(result["samples"]), rotation=35, ha="right", fontsize=8)
            axis.set_title(result["workload"], fontsize=10)
            axis.tick_params(axis="y", labelsize=7)
            axis.spines[["top", "right"]].set_visible(False)
        figure.suptitle(title, fontsize=11)
        figure.tight_layout()
        figure.savefig(folder / name, dpi=120)
        pyplot.close(figure)
        written.append(folder / name)
    return written


def main_of(part, arguments) -> int:
    """writes.py or behind.py, whose rows are their own."""
    start = time.monotonic()
    rows = part.measure(arguments.only, arguments.rounds, arguments.seconds, 10 if arguments.quick else 1)
    print(writes.table(rows))
    print(f"took {time.monotonic() - start:.1f} s")
    if arguments.json:
        print(json.dumps({"rows": rows}))
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description="Millpond beside its peers")
    parser.add_argument("--quick", action="store_true", help="short rounds, under 55 s in all")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--only", metavar="NAME", help="one workload (asyncio-64) or group (asyncio, threads, node, c, queries, writes, behind)")
    parser.add_argument("--rounds", type=int, help="interleaved rounds of each workload")
    parser.add_argument("--seconds", type=float, help="length of one client's turn")
    parser.add_argument("--peers-only", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.rounds = arguments.rounds or (5 if arguments.quick else 9)
    arguments.seconds = arguments.seconds or (0.3 if arguments.quick else 1.0)
    for name, part in (("writes", writes), ("behind", behind)):
        if arguments.only in (name, *part.NAMES):
            try:
                return main_of(part, arguments)
            except (ClientError, OSError) as error:
                print(f"bench: {error}", file=sys.stderr)
                return 1
    chosen = choose(arguments.only)
    if shutil.which("node") is None and any(row[1] == "node" for row in chosen):
        print("there is no node on the path", file=sys.stderr)
        return 2
    start = time.monotonic()
    cpu = max(os.sched_getaffinity(0))
    folder = ROOT / "build" / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with RedisServer(cpu=cpu) as server:
            with programs(chosen, server, cpu, folder) as (words, absent):
                results, versions, missing = measure(arguments, chosen, words, absent, cpu)
    except (ClientError, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    rows = rows_of(results)
    text = table(results, rows)
    what = "pages of 20 out of 100,000 documents" if chosen[0] in queries.WORKLOADS else "get + JSON decode of a 300 B document"
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}; client and server on CPU {cpu}; "
          f"{arguments.rounds} rounds of {arguments.seconds} s; {what}; ops/s")
    print(text)
    for sentence in missing:
        print("not measured: " + sentence)
    print(f"versions: {', '.join(f'{name} {version}' for name, version in versions.items())}")
    print(f"took {time.monotonic() - start:.1f} s")
    (folder / "results.json").write_text(json.dumps({"rows": rows, "samples": results, "versions": versions}, indent=1))
    if results and not arguments.quick:
        (folder / "table.txt").write_text(text + "\n")
        for path in plots(results, folder):
            print(f"wrote {path.relative_to(ROOT)}")
    if arguments.json:
        print(json.dumps({"rows": rows}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
