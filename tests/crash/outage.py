"""MongoDB is away under load, and other programs write to the same documents.

`away`: lanes write new documents all the time; mongod is killed and comes back. Changes are accepted until as many wait as may; then `backlog_full` says whether a
change waits for its write_timeout or fails at once. When mongod is back all of it drains.
`others`: programs that know nothing of Millpond change the same documents all the time. The drain gets slower, and goes on.
"""

from __future__ import annotations

import contextlib
import threading
import time

import millpond

from mongodb_server import ServerError as StoreError
from rounds import DRAIN, SHARDS, Round, Write

LANES, BOUND, WRITE_TIMEOUT = 4, 2000, 1.0
KEYS, OTHERS = 200, 2


class Lane(threading.Thread):
    """Writes until it is told to end. `key_of`: of its write of that number."""

    def __init__(self, round: Round, docs, number: int, key_of):
        super().__init__()
        self.round, self.docs, self.number, self.key_of, self.over = round, docs, number, key_of, False
        self.took: list[float] = []  # of what was accepted, ms
        self.refused: list[float] = []
        self.errors: list[str] = []
        self.start()

    def run(self) -> None:
        sequence = 0
        while not self.over:
            sequence += 1
            write = Write(self.key_of(sequence), self.number * 1_000_000 + sequence, time.monotonic_ns())
            try:
                self.docs.replace(write.key, {"v": write.number})
                write.outcome = "done"
            except millpond.Error as error:
                write.outcome = "refused" if error.code == "POND_EOVERLOAD" else "unknown"
                if write.outcome == "unknown":
                    self.errors.append(str(error))
            ended = time.monotonic_ns()
            if write.outcome == "done":
                write.ended = ended
            ms = (ended - write.began) / 1e6
            {"done": self.took, "refused": self.refused}.get(write.outcome, []).append(ms)
            self.round.writes.append(write)
            time.sleep(0.001 if write.outcome == "done" else 0.01)


def p99(times: list[float]) -> float:
    return sorted(times)[int(len(times) * 0.99)] if times else 0.0


def fail(what: str):
    raise AssertionError(what)


class Outage:
    """After play() `told` has the figures."""

    def __init__(self, round: Round, seconds: float, policy: str):
        self.round, self.seconds, self.policy, self.told = round, seconds, policy, {}

    def open(self):
        round = self.round
        return millpond.open(round.servers.redis.url, store=round.address, namespace=round.name, store_timeout="2s", command_timeout="5s",
                             write_timeout=f"{WRITE_TIMEOUT:g}s")

    def play(self) -> None:
        round, mongo = self.round, self.round.servers.mongo
        with self.open() as pond:
            docs = pond.collection("docs", write="behind", backlog_max=BOUND, backlog_full=self.policy)
            docs.prepare()
            lanes = [Lane(round, docs, number, lambda sequence, number=number: f"{self.policy}.{number}.{sequence}") for number in range(LANES)]
            try:
                self.until(lambda: pond.stat("flushed") > 100, 30, "nothing gets to the store")
                mongo.kill(0)
                began, most, fullest = time.monotonic(), 0, 0
                while time.monotonic() - began < self.seconds or not all(lane.refused for lane in lanes):
                    waiting = [round.servers.redis.call("LLEN", key) for key in round.keys("q")]
                    most, fullest = max(most, sum(waiting)), max(fullest, *waiting)
                    if time.monotonic() - began > self.seconds + DRAIN:
                        fail(f"{self.policy}: the backlog does not get full: {most} wait")
                    time.sleep(0.05)
                refused = [ms for lane in lanes for ms in lane.refused]
                mongo.start(0)
                came = time.monotonic()
                flushed = pond.stat("flushed")
                self.until(lambda: pond.stat("flushed") > flushed, DRAIN, "the store is back, and nothing gets there")
            finally:
                end(lanes)
            errors = [error for lane in lanes for error in lane.errors]
            if errors:
                fail(f"{self.policy}: {len(errors)} changes ended with another error: {errors[0]}")
            if fullest != BOUND // SHARDS or most < BOUND * 0.6:  # the bound is one of each shard, and shards are not filled alike
                fail(f"{self.policy}: {most} waited, {fullest} in one shard, and {BOUND} may")
            if self.policy == "wait" and min(refused) < WRITE_TIMEOUT * 750:
                fail(f"wait: a change did not wait: {min(refused):.0f} ms")
            if self.policy == "fail" and sorted(refused)[len(refused) // 2] > WRITE_TIMEOUT * 500:
                fail(f"fail: changes waited: {sorted(refused)[len(refused) // 2]:.0f} ms")
            docs.flush("60s")
            drained = time.monotonic() - came
            took = [ms for lane in lanes for ms in lane.took]
            self.told = {"what": f"away, {self.policy}", "seconds": self.seconds, "waited_most": most, "refused": len(refused),
                         "accept_p99_ms": round_of(p99(took)), "refused_p99_ms": round_of(p99(refused)), "drained_ms": round_of(drained * 1000)}

    @staticmethod
    def until(true, seconds: float, what: str) -> None:
        end = time.monotonic() + seconds
        while not true():
            if time.monotonic() > end:
                fail(what)
            time.sleep(0.02)


class Others(Outage):
    """The same few documents, with others and without."""

    def __init__(self, round: Round, seconds: float):
        super().__init__(round, seconds, "others")
        self.over, self.changes = False, 0

    def other(self) -> None:
        """Changes all the documents, one after the other, as fast as it can."""
        connection = self.round.servers.mongo.connect(0)
        with contextlib.closing(connection):
            while not self.over:
                for number in range(KEYS):
                    with contextlib.suppress(StoreError):
                        connection.call({"update": "docs", "updates": [{"q": {"_id": f"both.{number}"}, "u": {"$inc": {"others": 1}}}]}, self.round.name)
                        self.changes += 1

    def play(self) -> None:
        with self.open() as pond:
            docs = pond.collection("docs", write="behind")
            docs.prepare()
            alone = self.drained(pond, docs, 0)
            others = [threading.Thread(target=self.other) for _ in range(OTHERS)]
            for one in others:
                one.start()
            try:
                beside = self.drained(pond, docs, 1)  # and while they go on
            finally:
                self.over = True
                for one in others:
                    one.join()
            if not beside:
                fail("others: nothing gets to the store beside other writers")
            self.told = {"what": "others", "seconds": self.seconds, "flushed_per_second": alone, "beside_others": beside, "their_changes": self.changes}

    def drained(self, pond, docs, turn: int) -> int:
        """-> documents a second that got to the store under load; then the rest drains."""
        before, began = pond.stat("flushed"), time.monotonic()
        lanes = [Lane(self.round, docs, turn * LANES + number, lambda sequence, number=number: f"both.{(sequence * LANES + number) % KEYS}") for number in range(LANES)]
        time.sleep(self.seconds)
        rate = (pond.stat("flushed") - before) / (time.monotonic() - began)
        end(lanes)
        docs.flush("60s")
        return round_of(rate)


def end(lanes: list[Lane]) -> None:
    for lane in lanes:
        lane.over = True
    for lane in lanes:
        lane.join()


def round_of(number: float) -> int:
    return int(number + 0.5)
