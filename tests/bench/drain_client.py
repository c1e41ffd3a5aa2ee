"""A worker of write=behind, which begins when it is told to: drain_client.py PORT STORE

Reads `run NAMESPACE COUNT` lines: takes so many documents, which wait already, to the store, and answers with one JSON line. The clock runs from the end of the first
batch to the end of the last; what comes before, connecting and taking over 4 shards, is told apart (`opened_ms`).
"""

from __future__ import annotations

import sys
import time

import millpond

from py_client import answer, cpu_seconds


def run(port: str, store: str, namespace: str, count: int) -> None:
    opened = time.perf_counter()
    with millpond.open(f"redis://127.0.0.1:{port}/0", namespace=namespace, store=store) as pond:
        pond.collection("films", write="behind", backlog_max=100_000_000).prepare()
        while not (first := pond.stat("flushed")):
            time.sleep(0.0005)
        before, start = cpu_seconds(), time.perf_counter()
        while pond.stat("flushed") < count:
            time.sleep(0.001)
        took, cpu = time.perf_counter() - start, cpu_seconds() - before
    answer({"ops": count - first, "seconds": took, "cpu": cpu, "opened_ms": (start - opened) * 1000})


if __name__ == "__main__":
    answer({"ready": True, "version": millpond.__version__})
    for line in iter(sys.stdin.readline, ""):
        words = line.split()
        if not words or words[0] != "run":
            break
        run(sys.argv[1], sys.argv[2], words[1], int(words[2]))
