"""A Python client of the benchmark. Reads `run CONCURRENCY SECONDS` lines, answers each with one JSON line.

    py_client.py asyncio|threads millpond|redis-py|valkey-glide PORT

Every peer does what its own manual recommends: redis-py with the hiredis parser and a pool that is as large as the
concurrency; valkey-glide with its one multiplexed connection. All of them decode the JSON, as a service would.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import resource
import sys
import threading
import time

from documents import KEYS, documents, key

BATCH = 16  # operations between two looks at the clock


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def shuffled_keys(seed: int) -> list[str]:
    keys = [key(row) for row in range(KEYS)]
    random.Random(seed).shuffle(keys)
    return keys


def answer(message: dict) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def must_hit():
    raise AssertionError("the benchmark measures hits, and this was a miss")


# ---- asyncio ------------------------------------------------------------------------------------------------------

async def asyncio_getter(peer: str, port: int):
    """-> (version, async get(key) -> decoded document, async close())"""
    if peer == "millpond":
        import millpond
        import millpond.aio
        pond = millpond.aio.open(f"redis://127.0.0.1:{port}/0", namespace="bench", ttl="1h")
        for row, document in enumerate(documents()):
            await pond.fetch(key(row), lambda document=document: json.loads(document))
        fetch = pond.fetch

        async def get(name):
            return await fetch(name, must_hit)

        return millpond.__version__, get, pond.close
    if peer == "redis-py":
        import redis
        import redis.asyncio
        pool = redis.asyncio.ConnectionPool.from_url(f"redis://127.0.0.1:{port}/1", max_connections=64)
        client = redis.asyncio.Redis(connection_pool=pool)
        for row, document in enumerate(documents()):
            await client.set(key(row), document, ex=3600)

        async def get(name):
            return json.loads(await client.get(name))

        return redis.__version__, get, client.aclose
    if peer == "valkey-glide":
        import glide
        configuration = glide.GlideClientConfiguration([glide.NodeAddress("127.0.0.1", port)], database_id=2)
        client = await glide.GlideClient.create(configuration)
        expiry = glide.ExpirySet(glide.ExpiryType.SEC, 3600)
        for row, document in enumerate(documents()):
            await client.set(key(row), document, expiry=expiry)

        async def get(name):
            return json.loads(await client.get(name))

        return getattr(glide, "__version__", ""), get, client.close
    raise SystemExit(f"no asyncio client {peer}")


async def asyncio_round(get, concurrency: int, seconds: float) -> dict:
    counts = [0] * concurrency

    async def reader(number: int, end: float) -> None:
        count = 0
        for name in itertools.cycle(shuffled_keys(number)):
            document = await get(name)
            count += 1
            if count % BATCH == 0 and time.perf_counter() >= end:
                break
        assert "title" in document
        counts[number] = count

    before, start = cpu_seconds(), time.perf_counter()
    await asyncio.gather(*(reader(number, start + seconds) for number in range(concurrency)))
    return {"ops": sum(counts), "seconds": time.perf_counter() - start, "cpu": cpu_seconds() - before}


async def asyncio_main(peer: str, port: int) -> None:
    version, get, close = await asyncio_getter(peer, port)
    answer({"ready": True, "version": version})
    loop = asyncio.get_running_loop()
    while True:
        words = (await loop.run_in_executor(None, sys.stdin.readline)).split()
        if not words or words[0] != "run":
            break
        answer(await asyncio_round(get, int(words[1]), float(words[2])))
    await close()


# ---- threads ------------------------------------------------------------------------------------------------------

def threads_getter(peer: str, port: int):
    if peer == "millpond":
        import millpond
        pond = millpond.open(f"redis://127.0.0.1:{port}/0", namespace="bench", ttl="1h")
        for row, document in enumerate(documents()):
            pond.fetch(key(row), lambda document=document: json.loads(document))
        fetch = pond.fetch
        return millpond.__version__, lambda name: fetch(name, must_hit), pond.close
    if peer == "redis-py":
        import redis
        client = redis.Redis(connection_pool=redis.ConnectionPool.from_url(f"redis://127.0.0.1:{port}/1", max_connections=64))
        for row, document in enumerate(documents()):
            client.set(key(row), document, ex=3600)
        fetch = client.get
        return redis.__version__, lambda name: json.loads(fetch(name)), client.close
    raise SystemExit(f"no client with threads {peer}")


def threads_round(get, concurrency: int, seconds: float) -> dict:
    counts = [0] * concurrency
    barrier = threading.Barrier(concurrency + 1)
    end = [0.0]

    def reader(number: int) -> None:
        keys = itertools.cycle(shuffled_keys(number))
        barrier.wait()
        count = 0
        for name in keys:
            document = get(name)
            count += 1
            if count % BATCH == 0 and time.perf_counter() >= end[0]:
                break
        assert "title" in document
        counts[number] = count

    threads = [threading.Thread(target=reader, args=(number,)) for number in range(concurrency)]
    for thread in threads:
        thread.start()
    before, start = cpu_seconds(), time.perf_counter()
    end[0] = start + seconds
    barrier.wait()
    for thread in threads:
        thread.join()
    return {"ops": sum(counts), "seconds": time.perf_counter() - start, "cpu": cpu_seconds() - before}


def threads_main(peer: str, port: int) -> None:
    version, get, close = threads_getter(peer, port)
    answer({"ready": True, "version": version})
    for line in iter(sys.stdin.readline, ""):
        words = line.split()
        if not words or words[0] != "run":
            break
        answer(threads_round(get, int(words[1]), float(words[2])))
    close()


if __name__ == "__main__":
    kind, peer, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if kind == "asyncio":
        asyncio.run(asyncio_main(peer, port))
    else:
        threads_main(peer, port)
