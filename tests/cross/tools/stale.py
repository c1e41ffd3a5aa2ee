"""Writers race with loads: does any read that began after an invalidation had returned see the old value?

    stale.py millpond|textbook PORT ROUNDS [PARALLEL]        one JSON line at the end

A round, on a key that nobody has cached: reader A loads (it reads the row, and then takes its time); somewhen meanwhile or after it the
writer commits the next version and invalidates; from then on every read must see it: reader B's at once, and both after A has
ended. A, B and the writer use clients of their own. All delays are random.

The textbook protocol is here only to fail: SET NX as a lock without an owner, SET after the load, DEL after the write.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time

SLOWEST_S = 0.004  # of a load, and of a writer


class Millpond:
    async def open(self, port: int) -> Millpond:
        import millpond.aio
        self.pond = millpond.aio.open(f"redis://127.0.0.1:{port}/0", namespace="stale")
        return self

    async def fetch(self, key: str, load):
        return await self.pond.fetch(key, load)

    async def invalidate(self, key: str) -> None:
        await self.pond.invalidate(key)

    async def close(self) -> None:
        await self.pond.close()


class Textbook:
    async def open(self, port: int) -> Textbook:
        import redis.asyncio
        self.client = redis.asyncio.Redis(port=port, db=1, max_connections=200)
        return self

    async def fetch(self, key: str, load):
        while True:
            cached = await self.client.get(key)
            if cached is not None:
                return json.loads(cached)
            if await self.client.set("lock:" + key, "1", nx=True, px=3000):
                try:
                    value = await load()
                    await self.client.set(key, json.dumps(value), ex=300)
                    return value
                finally:
                    await self.client.delete("lock:" + key)
            await asyncio.sleep(0.001)

    async def invalidate(self, key: str) -> None:
        await self.client.delete(key)

    async def close(self) -> None:
        await self.client.aclose()


class Race:
    def __init__(self, kind, seed: int):
        self.kind = kind
        self.random = random.Random(seed)
        self.rows: dict[str, int] = {}  # the system of record
        self.reads = self.stale = self.loads = self.rounds = 0

    async def open(self, port: int) -> None:
        self.reader_a, self.reader_b, self.writer = [await self.kind().open(port) for _ in range(3)]

    async def close(self) -> None:
        for client in (self.reader_a, self.reader_b, self.writer):
            await client.close()

    def loader(self, key: str, started: asyncio.Event | None = None):
        async def load():
            self.loads += 1
            value = {"version": self.rows[key]}
            if started is not None:
                started.set()
            await asyncio.sleep(self.random.random() * SLOWEST_S)
            return value
        return load

    async def read(self, client, key: str, at_least: int, started: asyncio.Event | None = None) -> None:
        value = await client.fetch(key, self.loader(key, started))
        self.reads += 1
        self.stale += value["version"] < at_least

    async def write(self, key: str, version: int) -> None:
        await asyncio.sleep(self.random.random() * SLOWEST_S * 1.5)
        self.rows[key] = version
        await self.writer.invalidate(key)

    async def round(self, key: str) -> None:
        old = self.rows.setdefault(key, 0)
        await self.writer.invalidate(key)
        started = asyncio.Event()
        first = asyncio.ensure_future(self.read(self.reader_a, key, old, started))
        if self.random.random() < 0.8:  # else the write may come before the load, too
            await started.wait()
        await self.write(key, old + 1)
        await self.read(self.reader_b, key, old + 1)
        await first
        await self.read(self.reader_b, key, old + 1)
        await self.read(self.reader_a, key, old + 1)
        self.rounds += 1

    async def lane(self, key: str, rounds: int) -> None:
        for _ in range(rounds):
            await self.round(key)


async def main(kind, port: int, rounds: int, parallel: int) -> None:
    race = Race(kind, seed=rounds)
    await race.open(port)
    began = time.monotonic()
    await asyncio.gather(*(race.lane(f"row:{number}", rounds // parallel) for number in range(parallel)))
    print(json.dumps({"rounds": race.rounds, "reads": race.reads, "loads": race.loads, "stale": race.stale,
                      "seconds": round(time.monotonic() - began, 2)}))
    await race.close()


if __name__ == "__main__":
    kind = {"millpond": Millpond, "textbook": Textbook}[sys.argv[1]]
    asyncio.run(main(kind, int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]) if len(sys.argv) > 4 else 50))
