"""One host under load: reads of a few keys, most of them cached for a moment, through Millpond or by hand.

    load.py python|asyncio|redis-py|redis.asyncio SETTINGS        SETTINGS: the JSON object that main.py makes

Says {"ready": true} when it serves. At the line `mended FROM TO` (monotonic seconds: the outage, which is over) it goes on until a value
came from the cache again, at most 4 s; then it says what it saw as one line of JSON, and ends. What is common to the hosts, here and in load.mjs:

- `workers` workers fetch one of `keys` keys, rest for 1 to 5 ms, and fetch again. A load takes `load_ms`, counts how
  often its key is being loaded at this moment, and gives the key.
- With Millpond `others` workers call lookup and invalidate, which have nothing to fall back on: their deadline is command_timeout,
  that of a fetch is call_timeout.
- Heartbeats want to run every 5 ms: one in an event loop, some in threads of their own where callers are threads. The time
  after a call's deadline in which one of them did not run is not the call's: the machine, or the host, stood still.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import threading
import time

BEAT = 0.005
HEARTS = 4  # where a call is woken as a thread
BACK = 4.0
GRACE = 5.0  # after the end: who has not answered by then hangs

now = time.monotonic


class Loads:
    """What the store is asked."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.running: dict[str, int] = {}
        self.at_once = 0
        self.times: list[float] = []

    def begin(self, key: str) -> None:
        with self.lock:
            self.times.append(now())
            count = self.running[key] = self.running.get(key, 0) + 1
            self.at_once = max(self.at_once, count)

    def end(self, key: str) -> None:
        with self.lock:
            self.running[key] -= 1


class Book:
    """Every call, and every beat."""

    def __init__(self, settings: dict):
        self.settings = settings
        self.loads = Loads()
        self.calls: list[tuple[str, float, float, str]] = []  # kind, from, to, error
        self.open: dict[int, tuple[str, float]] = {}
        self.beats: list[tuple[float, float]] = []  # wanted, came; only those that came late
        self.hits: list[tuple[float, int]] = []
        self.over = False

    def begin(self, worker: int, kind: str) -> float:
        start = now()
        self.open[worker] = (kind, start)
        return start

    def end(self, worker: int, kind: str, start: float, error: str = "") -> None:
        self.calls.append((kind, start, now(), error))
        del self.open[worker]

    def beat(self, wanted: float, hits: int) -> None:
        came = now()
        if came - wanted > 0.001:
            self.beats.append((wanted, came))
        if not self.hits or self.hits[-1][1] != hits:
            self.hits.append((came, hits))

    def back(self, end: float) -> float | None:
        """How long after the outage a value came from the cache; None: not yet."""
        before = max((hits for at, hits in self.hits if at <= end), default=0)
        return next((at - end for at, hits in self.hits if at > end and hits > before), None)

    def overrun(self, deadline: float, to: float) -> float:
        """How long after its deadline a call has ended, less the time in which a heart stood still."""
        over, at = to - deadline, deadline
        if over <= 0:
            return 0.0
        for wanted, came in sorted(self.beats):
            over -= max(0.0, min(to, came) - max(at, wanted))
            at = max(at, came)
        return max(0.0, over)

    def report(self, start: float, end: float) -> dict:
        deadlines = {kind: ms / 1000 for kind, ms in self.settings["deadlines"].items()}
        within = [call for call in self.calls if call[1] < end and call[2] > start]  # under way in the outage
        fetches = sorted(to - began for kind, began, to, _ in within if kind == "fetch")
        errors = [error for kind, _, _, error in within if kind == "fetch" and error]
        overruns = sorted(self.overrun(began + deadlines[kind], to) for kind, began, to, _ in within if to >= began + deadlines[kind])
        back = self.back(end)
        return {
            "calls": len(fetches), "hung": len(self.open), "errors": len(errors),
            "store_loads": sum(start <= at < end for at in self.loads.times), "at_once": self.loads.at_once,
            "p50_ms": ms(quantile(fetches, 0.5)), "p99_ms": ms(quantile(fetches, 0.99)), "max_ms": ms(fetches[-1] if fetches else 0),
            "late": len(overruns), "overrun_p99_ms": ms(quantile(overruns, 0.99)),
            "overrun_max_ms": ms(overruns[-1] if overruns else 0),
            "back_ms": None if back is None else ms(back), "stall_ms": ms(max((c - w for w, c in self.beats), default=0)),
            "error": errors[0] if errors else "",
        }


def ms(seconds: float) -> float:
    return round(seconds * 1000, 1)


def quantile(ordered: list[float], part: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))] if ordered else 0.0


def say(message: dict) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def options(settings: dict) -> dict:
    return {"namespace": "outages", "ttl": settings["ttl_ms"], "command_timeout": settings["deadlines"]["lookup"],
            "call_timeout": settings["deadlines"]["fetch"]}



def jobs_of(settings: dict, calls: dict) -> list[list[str]]:
    """What each worker does, over and over."""
    others = settings["others"] if "lookup" in calls else 0
    return [["fetch"]] * settings["workers"] + [["lookup", "invalidate"]] * others


def key_of(settings: dict, chance: random.Random) -> str:
    return f"key:{chance.randrange(settings['keys'])}"


# ---- threads ------------------------------------------------------------------------------------------------------

def threads_calls(host: str, settings: dict, book: Book) -> tuple[dict, object, object]:
    """-> (kind -> the call, how many hits so far, close)"""
    def load(key: str) -> str:
        book.loads.begin(key)
        time.sleep(settings["load_ms"] / 1000)
        book.loads.end(key)
        return key

    if host == "python":
        import millpond
        pond = millpond.open(settings["url"], **options(settings))
        calls = {"fetch": lambda key: pond.fetch(key, lambda: load(key)), "lookup": lambda key: pond.lookup("other:" + key),
                 "invalidate": lambda key: pond.invalidate("other:" + key)}
        return calls, lambda: pond.stat("hits"), pond.close

    import redis
    client = redis.Redis.from_url(settings["url"], socket_timeout=settings["deadlines"]["lookup"] / 1000,
                                  socket_connect_timeout=1, max_connections=64)
    hits = [0]

    def fetch(key: str):
        try:
            data = client.get("hand:" + key)
        except redis.RedisError:
            data = None
        if data is not None:
            hits[0] += 1
            return json.loads(data)
        value = load(key)
        try:
            client.set("hand:" + key, json.dumps(value), px=settings["ttl_ms"])
        except redis.RedisError:
            pass
        return value

    return {"fetch": fetch}, lambda: hits[0], client.close


def threads_main(host: str, settings: dict) -> None:
    book = Book(settings)
    calls, hits, close = threads_calls(host, settings, book)

    def work(number: int, names: list[str]) -> None:
        chance = random.Random(number)
        while not book.over:
            for name in names:
                key = key_of(settings, chance)
                start = book.begin(number, name)
                error = ""
                try:
                    value = calls[name](key)
                    if name == "fetch" and value != key:
                        error = f"{key} was {value!r}"
                except Exception as problem:
                    error = f"{type(problem).__name__}: {problem}"
                book.end(number, name, start, error)
                time.sleep(chance.uniform(0.001, 0.005))

    def beat() -> None:
        while not book.over:
            wanted = now() + BEAT
            time.sleep(BEAT)
            book.beat(wanted, hits())

    jobs = jobs_of(settings, calls)
    threads = [threading.Thread(target=work, args=(number, names), daemon=True) for number, names in enumerate(jobs)]
    hearts = [threading.Thread(target=beat, daemon=True) for _ in range(HEARTS)]
    for thread in [*threads, *hearts]:
        thread.start()
    say({"ready": True})
    _, *outage = sys.stdin.readline().split()
    start, end = map(float, outage)
    while book.back(end) is None and now() < end + BACK:
        time.sleep(BEAT)
    book.over = True
    limit = now() + GRACE
    for thread in threads:
        thread.join(max(0.0, limit - now()))
    for heart in hearts:
        heart.join()
    say(book.report(start, end))
    if not book.open:
        close()
    sys.stdout.flush()
    os._exit(0)  # a thread that hangs must not hold the process


# ---- asyncio ------------------------------------------------------------------------------------------------------

def asyncio_calls(host: str, settings: dict, book: Book) -> tuple[dict, object, object]:
    async def load(key: str) -> str:
        book.loads.begin(key)
        await asyncio.sleep(settings["load_ms"] / 1000)
        book.loads.end(key)
        return key

    if host == "asyncio":
        import millpond.aio
        pond = millpond.aio.open(settings["url"], **options(settings))
        calls = {"fetch": lambda key: pond.fetch(key, lambda: load(key)), "lookup": lambda key: pond.lookup("other:" + key),
                 "invalidate": lambda key: pond.invalidate("other:" + key)}
        return calls, lambda: pond.stat("hits"), pond.close

    import redis
    import redis.asyncio
    client = redis.asyncio.Redis.from_url(settings["url"], socket_timeout=settings["deadlines"]["lookup"] / 1000,
                                          socket_connect_timeout=1, max_connections=64)
    seen = [0]

    async def hits() -> int:
        return seen[0]

    async def fetch(key: str):
        try:
            data = await client.get("hand:" + key)
        except redis.RedisError:
            data = None
        if data is not None:
            seen[0] += 1
            return json.loads(data)
        value = await load(key)
        try:
            await client.set("hand:" + key, json.dumps(value), px=settings["ttl_ms"])
        except redis.RedisError:
            pass
        return value

    return {"fetch": fetch}, hits, client.aclose


async def asyncio_main(host: str, settings: dict) -> None:
    book = Book(settings)
    calls, hits, close = asyncio_calls(host, settings, book)

    async def work(number: int, names: list[str]) -> None:
        chance = random.Random(number)
        while not book.over:
            for name in names:
                key = key_of(settings, chance)
                start = book.begin(number, name)
                error = ""
                try:
                    value = await calls[name](key)
                    if name == "fetch" and value != key:
                        error = f"{key} was {value!r}"
                except Exception as problem:
                    error = f"{type(problem).__name__}: {problem}"
                book.end(number, name, start, error)
                await asyncio.sleep(chance.uniform(0.001, 0.005))

    async def beat() -> None:
        while not book.over:
            wanted = now() + BEAT
            await asyncio.sleep(BEAT)
            book.beat(wanted, await hits())

    jobs = jobs_of(settings, calls)
    tasks = [asyncio.ensure_future(work(number, names)) for number, names in enumerate(jobs)]
    heart = asyncio.ensure_future(beat())
    say({"ready": True})
    line = await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    start, end = map(float, line.split()[1:])
    while book.back(end) is None and now() < end + BACK:
        await asyncio.sleep(BEAT)
    book.over = True
    await asyncio.wait(tasks, timeout=GRACE)
    await heart
    say(book.report(start, end))
    if not book.open:
        await close()
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    name, given = sys.argv[1], json.loads(sys.argv[2])
    if name in ("python", "redis-py"):
        threads_main(name, given)
    else:
        asyncio.run(asyncio_main(name, given))
