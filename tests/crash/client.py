"""A client of the crash campaign: writes documents from some lanes until its stdin ends, and logs every write; its worker flushes.

    client.py python|textbook|unfenced NAME=VALUE...        README.md has the names

The others are wrong on purpose: a queue as the textbooks have it; and a worker that has versions but no fence.
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
import time

import millpond

from unfenced import UnfencedWorker

OPS = ("replace", "replace", "replace", "update", "create", "delete")
INCREMENTS = 0.2  # of all
REFUSED = ("POND_EABSENT", "POND_EDUPLICATE")


class Log:
    def __init__(self, path: str):
        self.file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def say(self, *words: object) -> None:
        os.write(self.file, (" ".join(map(str, words)) + "\n").encode())  # one write: whoever is killed has said it or not


class Client:
    counts = True

    def __init__(self, words: dict[str, str], options: dict[str, str]):
        self.pond = millpond.open(words["cache"], **options)
        self.docs = self.pond.collection("docs", write="behind")

    def change(self, op: str, id: str, number: int) -> None:
        {"create": lambda: self.docs.create({"id": id, "v": number}), "replace": lambda: self.docs.replace(id, {"v": number}),
         "update": lambda: self.docs.update(id, {"v": number}), "delete": lambda: self.docs.delete(id), "increment": lambda: self.docs.increment(id, "n")}[op]()

    def close(self) -> None:
        self.pond.close("30s")


class Unfenced(Client):
    """Accepts as the library does, but for increments."""

    counts = False

    def __init__(self, words: dict[str, str], options: dict[str, str]):
        super().__init__(words, {**options, "worker": "off"})
        self.docs.prepare()
        self.worker = UnfencedWorker(words["cache"], options["namespace"], options["store"])

    def close(self) -> None:
        self.worker.close()
        self.pond.close("30s")


class Textbook:
    """The worker at the end of LPUSH and BRPOP: it writes what it took, and puts it back at the end of the queue if that fails."""

    counts = False

    def __init__(self, words: dict[str, str], options: dict[str, str]):
        self.url, self.queue, self.over = words["cache"], f"{options['namespace']}:queue", False
        self.pond = millpond.open("memory:", store=options["store"], store_timeout=options["store_timeout"])
        self.store = self.pond.store("docs")
        self.thread = threading.Thread(target=self.work)
        self.thread.start()

    def work(self) -> None:
        import redis
        taker = redis.Redis.from_url(self.url)
        while not self.over:
            try:
                taken = taker.brpop(self.queue, timeout=0.2)
            except redis.RedisError:
                time.sleep(0.05)
                continue
            if taken is None:
                continue
            id, number = json.loads(taken[1])
            try:
                self.store.put(id, {"v": number})
            except millpond.Error:
                taker.lpush(self.queue, taken[1])

    def close(self) -> None:
        self.over = True
        self.thread.join()
        self.pond.close()


def lane(client, words: dict[str, str], lane: int, log: Log, over: threading.Event) -> None:
    name, base, seq = f"{words['number']}.{lane}", int(words["number"]) * 1_000_000 + lane * 100_000, 0
    dice = random.Random(f"{words['seed']} {name}")
    keys = [f"own.{name}.{i}" for i in range(int(words["own"]))]
    shared = [f"shared.{i}" for i in range(int(words["shared"]))]
    while not over.is_set():
        seq += 1
        key, op = dice.choice(keys if dice.random() < 0.6 else shared), dice.choice(OPS)
        if client.counts and dice.random() < INCREMENTS:
            key, op = f"counter.{dice.randrange(int(words['counters']))}", "increment"
        log.say("S", f"{name}.{seq}", time.monotonic_ns(), key, op, base + seq)
        try:
            client.change(op, key, base + seq)
            outcome = "done"
        except Exception as error:
            code = getattr(error, "code", type(error).__name__)
            outcome = f"{'refused' if code in REFUSED else 'unknown'} {code}"
        log.say("E", f"{name}.{seq}", time.monotonic_ns(), outcome)
        time.sleep(dice.random() * 0.004 if outcome == "done" else 0.02)


def main() -> None:
    words = dict(word.split("=", 1) for word in sys.argv[2:])
    options = {name[4:]: value for name, value in words.items() if name.startswith("opt.")}
    over, log = threading.Event(), Log(words["log"])
    client = {"python": Client, "textbook": Textbook, "unfenced": Unfenced}[sys.argv[1]](words, options)
    if sys.argv[1] == "python":
        while True:
            try:
                client.docs.prepare()  # who only works begins with that
                break
            except millpond.Error:
                time.sleep(0.1)
    lanes = [threading.Thread(target=lane, args=(client, words, i, log, over)) for i in range(int(words["lanes"]))]
    for one in lanes:
        one.start()
    log.say("R")
    sys.stdin.read()
    over.set()
    for one in lanes:
        one.join()
    log.say("X")
    client.close()


if __name__ == "__main__":
    main()
