"""The Python side of the cross-language tests: commands on stdin, JSON lines on stdout; see ../README.md.

    py_tool.py python | asyncio
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import gc
import inspect
import json
import os
import sys
import threading
import time
import urllib.parse
import zlib

import millpond
import millpond.aio

SHOWN = 4096  # a longer payload is answered by its length and checksum
MODE = sys.argv[1] if len(sys.argv) > 1 else "python"


class Boom(Exception):
    """What a failing loader raises."""


class Unknown:
    """A class that no codec knows."""


# ---- command lines ----------------------------------------------------------------------------------------------------

class Command:
    def __init__(self, line: str):
        verb, *words = line.split()
        self.verb = verb
        self.words = [(name, urllib.parse.unquote_to_bytes(value)) for name, _, value in (word.partition("=") for word in words)]

    def bytes(self, name: str, otherwise: bytes = b"") -> bytes:
        return next((value for word, value in self.words if word == name), otherwise)

    def text(self, name: str, otherwise: str = "") -> str:
        return self.bytes(name, otherwise.encode()).decode("utf-8", "surrogateescape")

    def number(self, name: str, otherwise: int = 0) -> int:
        return int(self.text(name, str(otherwise)))

    def all(self, name: str) -> list[str]:
        return [value.decode("utf-8", "surrogateescape") for word, value in self.words if word == name]

    def options(self, prefix: str) -> dict[str, str]:
        return {word[len(prefix):]: value.decode("utf-8", "surrogateescape") for word, value in self.words if word.startswith(prefix)}


# ---- loaders ----------------------------------------------------------------------------------------------------------

def special(name: str):
    """Loader results that cannot be stored, or not as they are."""
    circular: dict = {"a": 1}
    circular["self"] = circular
    now = datetime.datetime(2024, 2, 29, tzinfo=datetime.timezone.utc)
    return {
        "tuple": (1, (2, 3)),
        "function": special,
        "object": Unknown(),
        "generator": (n for n in range(3)),
        "set": {1, 2},
        "text-not-utf8": "abc\udcff",
        "surrogate-inside": {"user": {"name": "abc\udcff"}},
        "date-inside": {"user": {"id": 1, "created": now}},
        "date-in-array": {"users": [{"id": 1}, {"id": 2, "created": now}]},
        "bytes-inside": {"user": {"photo": b"\x00"}},
        "nan-inside": {"user": {"score": float("nan")}},
        "infinity-inside": {"user": {"score": float("inf")}},
        "circular": circular,
        "tuple-as-name": {(1, 2): 3},
    }[name]


def value_of(kind: str, data: bytes):
    return {"json": lambda: json.loads(data), "text": lambda: data.decode("utf-8"), "bytes": lambda: data,
            "null": lambda: millpond.NULL, "absent": lambda: None}[kind]()


class Loader:
    """What the words of a command make; `called` says whether it ran."""

    def __init__(self, command: Command):
        self.kind = command.text("load", "never")
        self.data = command.bytes("data") * command.number("times", 1)
        self.delay = command.number("delay") / 1000
        self.cached = command.text("cache", "yes") != "no"
        self.called = False

    def value(self):
        self.called = True
        if self.kind == "never":
            raise AssertionError("this loader must not be called")
        if self.kind == "fail":
            raise Boom(self.data.decode())
        if self.kind == "special":
            return special(self.data.decode())
        return value_of(self.kind, self.data)

    def sync(self):
        time.sleep(self.delay)
        return self.value()

    async def asyncio(self):
        await asyncio.sleep(self.delay)
        return self.value()


# ---- answers ----------------------------------------------------------------------------------------------------------

def code_of(error: BaseException) -> str:
    if isinstance(error, Boom):
        return "POND_ELOADER"
    return error.code if isinstance(error, millpond.Error) else type(error).__name__


def error_answer(error: BaseException) -> dict:
    return {"ok": False, "code": code_of(error), "retriable": bool(getattr(error, "retriable", False)), "message": str(error),
            "class": type(error).__name__}


def value_answer(state: str, value) -> dict:
    if state != "value":
        return {"state": state}
    if value is millpond.NULL:
        value = None
    kind = "bytes" if isinstance(value, bytes) else "text" if isinstance(value, str) else "json"
    payload = value if kind == "bytes" else value.encode("utf-8") if kind == "text" else b""
    if len(payload) > SHOWN:
        return {"state": state, "type": kind, "len": len(payload), "adler": zlib.adler32(payload)}
    return {"state": state, "type": kind, "data": value.hex() if kind == "bytes" else value}


# ---- the commands -----------------------------------------------------------------------------------------------------
# Written once for both modes: `call` is awaited in one, and called in the other.

class Tool:
    def __init__(self) -> None:
        self.ponds: dict = {}
        self.asynchronous = MODE == "asyncio"

    async def call(self, result):
        return await result if inspect.isawaitable(result) else result

    def pond(self, command: Command):
        pond = self.ponds[command.text("pond", "p")]
        namespace = command.options("with.").get("namespace")
        return pond if namespace is None else pond.namespace(namespace)

    def policy(self, command: Command) -> dict:
        policy = {name: value for name, value in command.options("with.").items() if name != "namespace"}
        return {**policy, "tags": command.all("tag")} if command.all("tag") else policy

    async def run(self, command: Command) -> dict:
        method = getattr(self, "run_" + command.verb)
        return {"ok": True, **(await method(command) or {})}

    async def run_open(self, command: Command):
        options = command.options("opt.")
        cache = options.pop("cache", "memory:")
        opener = millpond.aio.open if self.asynchronous else millpond.open
        pond = opener(cache, **options)
        self.ponds[command.text("pond", "p")] = await pond if hasattr(pond, "__await__") else pond

    async def run_close(self, command: Command):
        await self.call(self.ponds.pop(command.text("pond", "p")).close())

    async def run_fetch(self, command: Command):
        loader = Loader(command)
        key = command.text("key")
        body = loader.asyncio if self.asynchronous else loader.sync
        if loader.kind == "special" and loader.data == b"key-is-a-number":
            key = 42
        if loader.kind == "special" and loader.data == b"no-loader":
            body = None
        policy = {**self.policy(command), **({} if loader.cached else {"should_cache": lambda value: False})}
        pond = self.pond(command)
        if command.text("entry", "no") == "yes":
            entry = await self.call(pond.fetch_entry(key, body, **policy))
            return {**value_answer(entry.state, entry.value), "stale": entry.stale, "loaded": loader.called}
        value = await self.call(pond.fetch(key, body, **policy))
        return {**value_answer("absent" if value is None else "value", value), "loaded": loader.called}

    async def run_lookup(self, command: Command):
        entry = await self.call(self.pond(command).lookup(command.text("key"), **self.policy(command)))
        return {**value_answer(entry.state, entry.value), "stale": entry.stale}

    async def run_invalidate(self, command: Command):
        await self.call(self.pond(command).invalidate(*command.all("key"), **self.policy(command)))

    async def run_write(self, command: Command):
        values = [value for word, value in command.words if word == "data"]

        def write(writing):
            for key, kind, data in zip(command.all("set"), command.all("kind"), values):
                writing.set(key, value_of(kind, data))
            if command.text("fail"):
                raise Boom(command.text("fail"))

        async def write_later(writing):
            await asyncio.sleep(0)
            write(writing)

        sure = {"not_written": lambda error: isinstance(error, Boom)} if command.text("sure") else {}
        await self.call(self.pond(command).write(command.all("key"), write_later if self.asynchronous else write, **sure, **self.policy(command)))

    def many_loader(self, command: Command, asked: list):
        values = [value for word, value in command.words if word == "data"]

        def load(keys):
            asked.append(keys)
            if command.text("fail"):
                raise Boom(command.text("fail"))
            has = {key: value_of(kind, data) for key, kind, data in zip(command.all("set"), command.all("kind"), values)}
            return {key: has[key] for key in keys if key in has}

        async def load_later(keys):
            await asyncio.sleep(0)
            return load(keys)

        return load_later if self.asynchronous else load

    async def run_fetch_many(self, command: Command):
        asked: list = []
        values = await self.call(self.pond(command).fetch_many(command.all("key"), self.many_loader(command, asked), **self.policy(command)))
        # What JSON cannot hold is looked up by its key.
        return {"list": [None if isinstance(value, bytes) or value is millpond.NULL else value for value in values], "asked": asked}

    async def run_warm(self, command: Command):
        asked: list = []
        await self.call(self.pond(command).warm(command.all("key"), self.many_loader(command, asked), batch=command.number("batch", 500), **self.policy(command)))
        return {"asked": asked}

    async def run_set_many(self, command: Command):
        values = [value for word, value in command.words if word == "data"]
        pairs = [(key, value_of(kind, data)) for key, kind, data in zip(command.all("set"), command.all("kind"), values)]
        await self.call(self.pond(command).set_many(pairs, **self.policy(command)))

    async def run_bulk(self, command: Command):
        """Many keys of one prefix, by one fetch_many."""
        asked: list = []
        keys = [f"{command.text('key')}{number}" for number in range(command.number("ids", 1))]

        def load(keys):
            asked.append(len(keys))
            return {key: {"of": key} for key in keys}

        values = await self.call(self.pond(command).fetch_many(keys, load, **self.policy(command)))
        return {"values": len(values), "wrong": sum(value != {"of": key} for key, value in zip(keys, values)), "asked": asked}

    async def run_explain(self, command: Command):
        return {"info": await self.call(self.pond(command).explain(command.text("key"), **self.policy(command)))}

    async def run_stat(self, command: Command):
        return {"count": await self.call(self.pond(command).stat(command.text("counter"), command.text("namespace") or None))}

    async def run_stats(self, command: Command):
        return {"info": await self.call(self.pond(command).stats())}

    async def run_metrics(self, command: Command):
        text = await self.call(self.pond(command).metrics())
        labels = f'{{namespace="{command.text("namespace")}"}}'
        samples = (line.partition(labels) for line in text.splitlines() if labels in line)
        return {"info": {name: float(number) for name, _, number in samples}}

    async def run_sleep(self, command: Command):
        await asyncio.sleep(command.number("ms") / 1000)

    def store(self, command: Command):
        return self.pond(command).store(command.text("collection"))

    async def run_create(self, command: Command):
        await self.call(self.store(command).create())

    async def run_put(self, command: Command):
        await self.call(self.store(command).put(command.text("id"), json.loads(command.bytes("doc"))))

    async def run_get(self, command: Command):
        value = await self.call(self.store(command).get(command.text("id")))
        return value_answer("absent" if value is None else "value", value)

    async def run_get_many(self, command: Command):
        return {"list": list(await self.call(self.store(command).get_many(command.all("id"))))}

    async def run_delete(self, command: Command):
        return {"existed": await self.call(self.store(command).delete(command.text("id")))}

    def collection(self, command: Command):
        policy = self.policy(command)
        if command.text("reject"):
            policy["validate"] = lambda document: False
        return self.pond(command).collection(command.text("collection"), **policy)

    async def run_change(self, command: Command):
        collection, kind = self.collection(command), command.text("kind")
        document = json.loads(command.bytes("doc") or b"null")
        if kind == "create":
            id = command.all("id")
            made = await self.call(collection.create({"id": id[0], **document} if id else document))
        elif kind == "delete":
            made = await self.call(collection.delete(command.text("id")))
        else:
            made = await self.call(getattr(collection, kind)(command.text("id"), document))
        return value_answer("absent" if made is None else "value", made)

    async def run_increment(self, command: Command):
        collection = self.collection(command)
        await self.call(collection.increment(command.text("id"), command.text("field"), int(command.text("by"))))
        return value_answer("absent", None)

    async def run_document(self, command: Command):
        value = await self.call(self.collection(command).get(command.text("id")))
        return value_answer("absent" if value is None else "value", value)

    async def run_page(self, command: Command):
        page = await self.call(self.collection(command).find(command.text("query")))
        return value_answer("value", dataclasses.asdict(page))

    async def run_dead(self, command: Command):
        letters, letter = self.collection(command).dead_letters, command.text("id")
        if command.text("act") == "list":
            most = command.all("most")
            found = await self.call(letters.list(letter or None, *map(int, most)))
            return value_answer("value", dataclasses.asdict(found))
        found = await self.call(getattr(letters, {"show": "get"}.get(command.text("act"), command.text("act")))(letter))
        return value_answer("absent" if found is None else "value", found and dataclasses.asdict(found))

    # ---- many callers at once

    async def run_crowd(self, command: Command):
        return await Crowd(self, command).crowd()

    async def run_sweep(self, command: Command):
        return await Crowd(self, command).sweep()

    async def run_storm(self, command: Command):
        return await Crowd(self, command).storm()


class Crowd:
    """`crowd`, `sweep` and `storm`. Loads are counted by what their loaders write, not by the library's statistics."""

    VALUE = {"crowd": True}

    def __init__(self, tool: Tool, command: Command):
        self.asynchronous = tool.asynchronous
        self.pond = tool.pond(command)
        self.policy = tool.policy(command)
        self.command = command
        self.callers = command.number("callers", 1)
        self.delay = command.number("delay") / 1000
        self.lock = threading.Lock()
        self.answers = self.loads = self.wrong = self.absent = self.late_errors = self.last = self.longest = 0
        self.errors: dict[str, int] = {}
        self.first_error = ""
        self.each: list[int] | None = [] if command.text("each") == "yes" else None
        self.late = float("inf")
        self.began = time.monotonic_ns()
        path = command.text("log")
        self.log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600) if path else None

    def write(self, what: str) -> None:
        if self.log is not None:
            os.write(self.log, f"{what} {os.getpid()} {time.monotonic_ns()}\n".encode())

    def count(self, began: int, error: BaseException | None = None) -> None:
        now = time.monotonic_ns()
        with self.lock:
            self.answers += 1
            if self.each is not None:
                self.each.append(now)
            self.last = max(self.last, now)
            self.longest = max(self.longest, now - began)
            if error is not None:
                code = code_of(error)
                self.errors[code] = self.errors.get(code, 0) + 1
                self.late_errors += now > self.late
                self.first_error = self.first_error or f"{type(error).__name__}: {error}"

    def report(self) -> dict:
        if self.log is not None:
            os.close(self.log)
        each = {} if self.each is None else {"answered_ns": self.each}
        return {**each, "answers": self.answers, "loads": self.loads, "wrong": self.wrong, "absent": self.absent,
                "late_errors": self.late_errors, "last_ns": self.last, "longest_ms": self.longest / 1e6,
                "took_ms": (time.monotonic_ns() - self.began) / 1e6, "errors": self.errors, "first_error": self.first_error}

    def start(self) -> None:
        self.loads += 1  # under the GIL, or on the loop
        self.write("start")

    async def threads(self, body) -> None:
        threads = [threading.Thread(target=body) for _ in range(self.callers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    # ---- one cold key

    async def crowd(self) -> dict:
        key, wait = self.command.text("key"), self.command.number("at") / 1000 - time.time()
        if self.asynchronous:
            async def load():
                self.start()
                await asyncio.sleep(self.delay)
                self.write("end")
                return self.VALUE

            async def caller():
                await barrier.wait()
                began = time.monotonic_ns()
                try:
                    self.wrong += await self.pond.fetch(key, load, **self.policy) != self.VALUE
                    self.count(began)
                except Exception as error:
                    self.count(began, error)

            barrier = asyncio.Event()
            tasks = [asyncio.ensure_future(caller()) for _ in range(self.callers)]
            await asyncio.sleep(max(wait, 0))
            barrier.set()
            await asyncio.gather(*tasks)
        else:
            def load():
                self.start()
                time.sleep(self.delay)
                self.write("end")
                return self.VALUE

            def caller():
                barrier.wait()
                began = time.monotonic_ns()
                try:
                    self.wrong += self.pond.fetch(key, load, **self.policy) != self.VALUE
                    self.count(began)
                except Exception as error:
                    self.count(began, error)

            time.sleep(max(wait, 0))
            barrier = threading.Barrier(self.callers)
            await self.threads(caller)
        return self.report()

    # ---- many keys, several rounds

    async def sweep(self) -> dict:
        prefix, ids, rounds = self.command.text("key"), self.command.number("ids", 1), self.command.number("rounds", 1)
        batch = self.command.number("batch", 1) if self.asynchronous else 1
        value = None if self.command.text("load") == "absent" else self.VALUE

        def load():
            self.start()
            return value

        async def one(number: int):
            began = time.monotonic_ns()
            try:
                got = self.pond.fetch(f"{prefix}{number % ids}", load, **self.policy)
                got = await got if self.asynchronous else got
                self.absent += got is None
                self.count(began)
            except Exception as error:
                self.count(began, error)

        for first in range(0, ids * rounds, batch):
            if batch == 1:
                await one(first)
            else:
                await asyncio.gather(*map(one, range(first, min(first + batch, ids * rounds))))
        return self.report()

    # ---- a load for a while

    async def storm(self) -> dict:
        keys = self.command.number("keys", 100)
        end = self.began + self.command.number("ms", 1000) * 1_000_000
        self.late = end - self.command.number("calm", 1000) * 1_000_000

        def loader(number: int):
            def load():
                self.loads += 1
                return {"n": number}
            return load

        async def caller_asyncio():
            number = 0
            while time.monotonic_ns() < end:
                began = time.monotonic_ns()
                try:
                    self.wrong += await self.pond.fetch(f"storm:{number}", loader(number), **self.policy) != {"n": number}
                    self.count(began)
                except Exception as error:
                    self.count(began, error)
                    await asyncio.sleep(0.001)
                number = (number + 1) % keys
                await asyncio.sleep(0)

        def caller_thread():
            number = 0
            while time.monotonic_ns() < end:
                began = time.monotonic_ns()
                try:
                    self.wrong += self.pond.fetch(f"storm:{number}", loader(number), **self.policy) != {"n": number}
                    self.count(began)
                except Exception as error:
                    self.count(began, error)
                    time.sleep(0.001)
                number = (number + 1) % keys

        if self.asynchronous:
            await asyncio.gather(*(caller_asyncio() for _ in range(self.callers)))
        else:
            await self.threads(caller_thread)
        return self.report()


async def main() -> None:
    tool = Tool()
    loop = asyncio.get_running_loop()
    while True:
        # In asyncio mode the loop must stay free for what is under way; in the other nothing is.
        line = await loop.run_in_executor(None, sys.stdin.readline) if tool.asynchronous else sys.stdin.readline()
        if not line:
            break
        try:
            answer = await tool.run(Command(line))
        except Exception as error:
            answer = error_answer(error)
        sys.stdout.write(json.dumps(answer, ensure_ascii=True) + "\n")
        sys.stdout.flush()
    for pond in tool.ponds.values():
        await tool.call(pond.close())
    gc.collect()


if __name__ == "__main__":
    asyncio.run(main())
