"""A writer that dies between its commit and its end, and who reads meanwhile; see ../test_writers.py.

    dying.py writer CACHE NAMESPACE STORE               says {"began": true} in its write; at the next line it commits and kills itself
    dying.py python|asyncio CACHE NAMESPACE STORE LOG CALLERS       all read until stdin ends

The store is a file with the one value, a number, which is replaced as a whole. Readers answer with how many reads there were, what failed, and for each
value when the last read that was given it had begun. LOG: as in ../README.md.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
import time

import millpond
import millpond.aio

ROLE, CACHE, NAMESPACE, STORE = sys.argv[1:5]
KEY, LOAD_S, INTENT = "k", 0.02, "1500ms"


def stored() -> int:
    with open(STORE, encoding="ascii") as file:
        return int(file.read())


def writer() -> None:
    def write():
        print('{"began": true}', flush=True)
        sys.stdin.readline()
        with open(STORE + ".new", "w", encoding="ascii") as file:
            file.write("2")
        os.replace(STORE + ".new", STORE)
        print(json.dumps({"committed": time.monotonic_ns()}), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

    with millpond.open(CACHE, namespace=NAMESPACE, intent=INTENT) as pond:
        pond.write(KEY, write)


class Readers:
    def __init__(self) -> None:
        self.over, self.reads, self.last, self.errors = False, 0, {}, []
        self.log = os.open(sys.argv[5], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self.callers = int(sys.argv[6])
        threading.Thread(target=self._until_stdin_ends, daemon=True).start()

    def _until_stdin_ends(self) -> None:
        sys.stdin.read()
        self.over = True

    def say(self, what: str) -> None:
        os.write(self.log, f"{what} {os.getpid()} {time.monotonic_ns()}\n".encode())

    def given(self, began: int, value: int) -> None:
        self.reads += 1
        self.last[value] = max(self.last.get(value, 0), began)

    def report(self) -> None:
        print(json.dumps({"reads": self.reads, "last": self.last, "errors": self.errors[:5]}), flush=True)

    def load(self) -> int:
        self.say("start")
        value = stored()
        time.sleep(LOAD_S)
        self.say("end")
        return value

    async def load_async(self) -> int:
        self.say("start")
        value = stored()
        await asyncio.sleep(LOAD_S)
        self.say("end")
        return value

    def threads(self) -> None:
        def caller(pond):
            while not self.over:
                began = time.monotonic_ns()
                try:
                    self.given(began, pond.fetch(KEY, self.load))
                except Exception as error:
                    self.errors.append(repr(error))
                time.sleep(0.02)

        with millpond.open(CACHE, namespace=NAMESPACE) as pond:
            threads = [threading.Thread(target=caller, args=(pond,)) for _ in range(self.callers)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    async def tasks(self) -> None:
        async def caller(pond):
            while not self.over:
                began = time.monotonic_ns()
                try:
                    self.given(began, await pond.fetch(KEY, self.load_async))
                except Exception as error:
                    self.errors.append(repr(error))
                await asyncio.sleep(0.02)

        async with millpond.aio.open(CACHE, namespace=NAMESPACE) as pond:
            await asyncio.gather(*(caller(pond) for _ in range(self.callers)))


if ROLE == "writer":
    writer()
else:
    readers = Readers()
    readers.threads() if ROLE == "python" else asyncio.run(readers.tasks())
    readers.report()
