"""Puts from Python: an acceptance by write=behind, beside SET and XADD by hand. Reads `run CONCURRENCY SECONDS` lines, answers each with one JSON line.

    accept_client.py millpond|redis-py PORT FOLDER

Ours has so many calls in flight as the other has puts in a pipeline. Both encode a document, and every put is of another key.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time

from documents import documents
from py_client import answer, cpu_seconds

films = [{name: value for name, value in json.loads(document).items() if name != "id"} for document in documents()]


async def millpond_puts(port: int, folder: str):
    import millpond.aio
    pond = millpond.aio.open(f"redis://127.0.0.1:{port}/0", namespace="accept-py", store=f"sqlite:{folder}/accept-py.db", worker="off",
                              command_timeout="30s")
    docs = pond.collection("films", write="behind", backlog_max=100_000_000)
    await docs.prepare()
    numbers = itertools.count()

    async def lane(end: float) -> int:
        count, replace = 0, docs.replace
        while time.perf_counter() < end:
            for _ in range(16):
                number = next(numbers)
                await replace(f"{number:08}", films[number % len(films)])
            count += 16
        return count

    async def puts(depth: int, end: float) -> int:
        return sum(await asyncio.gather(*(lane(end) for _ in range(depth))))

    return millpond.__version__, puts, pond.close


async def redis_py_puts(port: int, folder: str):
    import redis
    client = redis.Redis.from_url(f"redis://127.0.0.1:{port}/1")
    numbers = itertools.count()

    async def puts(depth: int, end: float) -> int:
        count = 0
        while time.perf_counter() < end:
            pipeline = client.pipeline(transaction=False)
            for _ in range(depth):
                number = next(numbers)
                pipeline.set(f"film:{number:08}", json.dumps(films[number % len(films)]))
                pipeline.xadd("films", {"k": f"{number:08}"})
            pipeline.execute()
            count += depth
        return count

    async def close() -> None:
        client.close()

    return redis.__version__, puts, close


async def main(peer: str, port: int, folder: str) -> None:
    version, puts, close = await (millpond_puts if peer == "millpond" else redis_py_puts)(port, folder)
    answer({"ready": True, "version": version})
    loop = asyncio.get_running_loop()
    while True:
        words = (await loop.run_in_executor(None, sys.stdin.readline)).split()
        if not words or words[0] != "run":
            break
        before, start = cpu_seconds(), time.perf_counter()
        count = await puts(int(words[1]), start + float(words[2]))
        answer({"ops": count, "seconds": time.perf_counter() - start, "cpu": cpu_seconds() - before})
    await close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
