"""Schedules that dice do not find, or not each time: a worker sleeps over what it holds, and what it holds is deleted.

Nothing is in the store yet. A worker takes it and is stopped in its flush, at a point of its own; the client deletes, writes anew and
makes again what that worker holds; another takes over, and the store gets all of that. When every timer has run out, the first goes on where it
was: first the server gets the command on which it was caught, and then it wakes. No document may come back.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time

import millpond

from rounds import HINT, Client, Round, Write
from storms import KINDS
from trap import COMMIT, FENCED, FOLD, POP, ROWS, TAKE

# Where it sleeps: with what it has taken (of which the store has heard nothing), before what it has folded is put back, in the transaction before the
# fence, before the rows, before the commit; in SQLite also before the lock.
POINTS = {"mongodb": ("take", "fold", "fence", "rows", "commit"), "sqlite": ("take", "fold", "lock")}
UNFENCED = {"mongodb": ("take", "rows"), "sqlite": ("take", "lock")}  # those that a worker without a fence has
MARKS = {"take": TAKE, "fold": FOLD, "fence": FENCED, "rows": ROWS, "commit": COMMIT}
KEYS = 60


def schedules(stores: list[str], few: bool, control: str | None) -> list[tuple[str, str, str]]:
    """-> (store, point, who sleeps); of `few` each point once, the languages in turn."""
    points = [(store, point) for store in stores for point in (UNFENCED if control else POINTS)[store]]
    if control == "textbook":
        return [(store, "take", control) for store in stores]
    if control:
        return [(store, point, control) for store, point in points]
    if few:
        return [(store, point, KINDS[number % len(KINDS)]) for number, (store, point) in enumerate(points)]
    return [(store, point, kind) for store, point in points for kind in KINDS]


class Popped:
    """What a queue as the textbooks have it loses: its worker dies with what it has popped. (At random it dies as often; but then others write the same
    document again, mostly, and nobody sees what was lost.)"""

    def __init__(self, round: Round):
        self.round = round

    def play(self) -> None:
        round = self.round
        for number in range(1, KEYS + 1):
            write = Write(f"directed.{number}", number, time.monotonic_ns())
            round.servers.redis.call("LPUSH", f"{round.name}:queue", json.dumps([write.key, number]))
            write.ended, write.outcome = time.monotonic_ns(), "done"
            round.writes.append(write)
        worker = Client(round, "textbook", lanes=0)
        if round.strike([worker], "take", Client.kill, True, 30, POP) is None:
            raise AssertionError("the textbook's worker takes nothing")
        worker.redis.pass_on()
        other = Client(round, "textbook", lanes=0)
        if not round.drained():
            raise AssertionError("the textbook's worker does not work")
        other.wait()


class Directed:
    def __init__(self, round: Round, point: str, kind: str):
        self.round, self.point, self.kind, self.number = round, point, kind, 0
        self.other = "unfenced" if kind == "unfenced" else "python"

    def play(self) -> None:
        round = self.round
        with millpond.open(round.servers.redis.url, store=round.address, namespace=round.name, worker="off", command_timeout="10s") as pond:
            self.docs = pond.collection("docs", write="behind")
            keys = [f"directed.{number}" for number in range(KEYS)]
            for key in keys:
                self.write("create", key)
                if self.point == "fold":
                    self.docs.increment(key, "more")
            sleeper = self.sleeper()
            for number, key in enumerate(keys):
                self.write("delete" if number % 3 else "replace", key)
                if number % 6 == 1:
                    self.write("create", key)
            if round.quick:
                round.end_hints()
            other = Client(round, self.other, lanes=0)
            if not round.drained(HINT + 60):
                raise AssertionError(f"{self.point}: nobody took over from a worker that sleeps")
            other.wait()
            self.wake(sleeper)
            for key in keys[::10]:  # who wakes is the only worker: when these are in the store it has done what it was at
                self.write("replace", key)
            if not round.drained():
                raise AssertionError(f"{self.point}: who was woken does not work")

    def write(self, op: str, key: str) -> None:
        self.number += 1
        write = Write(key, None if op == "delete" else self.number, time.monotonic_ns())
        self.round.writes.append(write)
        {"create": lambda: self.docs.create({"id": key, "v": self.number}), "replace": lambda: self.docs.replace(key, {"v": self.number}),
         "delete": lambda: self.docs.delete(key)}[op]()
        write.ended, write.outcome = time.monotonic_ns(), "done"

    def sleeper(self) -> Client:
        """It is stopped the moment that it has sent what it was to be caught at. Until it has prepared everything all shards are somebody else's: in
        SQLite who sleeps over that has the lock, and all others wait."""
        self.round.take_hints()
        sleeper = Client(self.round, self.kind, lanes=0)
        end = time.monotonic() + 30
        while not sleeper.says("R"):
            if time.monotonic() > end:
                raise AssertionError(f"{self.point}: the worker ({self.kind}) did not begin")
            time.sleep(0.01)
        if self.point == "lock":
            self.stop_in_lock(sleeper)
        elif self.point == "take":
            self.catch(sleeper, "take", Client.stop, True)
            sleeper.redis.pass_on()
        else:
            self.catch(sleeper, "fold" if self.point == "fold" else "flush", Client.stop, False)
        return sleeper

    def catch(self, sleeper: Client, point: str, blow, deliver: bool) -> None:
        if self.round.strike([sleeper], point, blow, deliver, 30, MARKS.get(self.point), self.round.end_hints) is None:
            raise AssertionError(f"{self.point}: the worker ({self.kind}) did not come there")

    def stop_in_lock(self, sleeper: Client) -> None:
        """Others have the lock from its take on, until it sleeps."""
        path = self.round.address.partition(":")[2]
        with contextlib.closing(sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)) as other:
            self.catch(sleeper, "take", lambda _: other.execute("BEGIN IMMEDIATE"), True)
            sleeper.redis.pass_on()
            time.sleep(0.2)  # if it is slower it sleeps before the lock: as good
            sleeper.stop()
            other.execute("ROLLBACK")
        self.round.hits.update(take=-1, flush=1)

    def wake(self, sleeper: Client) -> None:
        """The server first gets what was kept back."""
        if self.point == "fold":
            sleeper.redis.pass_on()
        elif sleeper.mongo and self.point != "take":
            sleeper.mongo.pass_on()
        sleeper.go_on()
