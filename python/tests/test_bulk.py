"""fetch_many, set_many, warm and long invalidations, by the blocking calls and by the awaited ones: the cases of
node/test/bulk.test.mjs, and what is Python's own."""

from __future__ import annotations

import asyncio
import collections
import os
import signal
import threading
import time
import types

import pytest

import millpond
import millpond.aio
from conftest import Redis, forks_with_threads, in_both


class Loader:
    """A loader of many that gives what it has, and remembers what it was asked for."""

    def __init__(self, values=None, **given):
        self.values = values
        self.given = given
        self.asked: list[list[str]] = []

    def __call__(self, keys):
        self.asked.append(keys)
        if self.values is not None:
            return {key: self.values[key] for key in keys if key in self.values}
        return {key: f"value of {key}" for key in keys}


def never(keys):
    raise AssertionError(f"the loader must not be called: {keys}")


def text(key):
    return f"value of {key}"


@in_both
async def test_the_missing_are_loaded_together(call, pond):
    for key in ("a", "c"):
        await call(pond.fetch(key, lambda: "there"))
    loader = Loader()
    assert await call(pond.fetch_many(["a", "b", "c", "d"], call.function(loader))) == ["there", text("b"), "there", text("d")]
    assert loader.asked == [["b", "d"]]
    assert await call(pond.fetch_many(("d", "a"), call.function(never))) == [text("d"), "there"]
    assert await call(pond.fetch_many("b", call.function(never))) == [text("b")]
    assert await call(pond.stat("loads", pond._namespace)) == 4


@in_both
async def test_what_a_mapping_leaves_out_is_not_there(call, pond):
    loader = Loader({"a": {"n": 1}, "c": millpond.NULL, "d": b"\0\xff", "more": 1})
    assert await call(pond.fetch_many(iter("abcd"), call.function(loader))) == [{"n": 1}, None, millpond.NULL, b"\0\xff"]
    assert await call(pond.fetch_many("abcd"[1:2], call.function(never))) == [None]
    assert [(await call(pond.lookup(key))).state for key in "abcd"] == ["value", "absent", "value", "value"]
    with pytest.raises(millpond.Absent, match="'b'"):
        await call(pond.fetch_many(["a", "b"], call.function(never), absent="raise"))


@in_both
async def test_what_a_loader_may_give(call, pond):
    keys = ["a", "b"]
    forms = [lambda keys: [1, 2], lambda keys: (1, 2), lambda keys: (n for n in (1, 2)), lambda keys: collections.OrderedDict(b=2, a=1),
             lambda keys: types.MappingProxyType({"a": 1, "b": 2}), lambda keys: {1: 0, "a": 1, "b": 2}.copy(), lambda keys: collections.ChainMap({"a": 1}, {"b": 2})]
    for form in forms:
        await call(pond.invalidate(*keys))
        assert await call(pond.fetch_many(keys, call.function(form))) == [1, 2]
    for wrong in (lambda keys: [1], lambda keys: [1, 2, 3], lambda keys: None, lambda keys: 7, lambda keys: "ab"):
        await call(pond.invalidate(*keys))
        with pytest.raises(TypeError):
            await call(pond.fetch_many(keys, call.function(wrong)))
        assert (await call(pond.lookup("a"))).state == "miss"


@in_both
async def test_a_key_may_be_there_twice_and_none_at_all(call, pond):
    loader = Loader()
    assert await call(pond.fetch_many(["a", "b", "a"], call.function(loader))) == [text("a"), text("b"), text("a")]
    assert loader.asked == [["a", "b"]]
    assert await call(pond.fetch_many([], call.function(never))) == []
    await call(pond.set_many({}))
    assert await call(pond.warm([], call.function(never))) == 0


@in_both
async def test_a_loader_that_fails(call, pond):
    await call(pond.fetch("a", lambda: "there"))
    mine = LookupError("no such shard")

    def fails(keys):
        raise mine

    with pytest.raises(LookupError) as caught:
        await call(pond.fetch_many(["a", "b"], call.function(fails)))
    assert caught.value is mine and caught.traceback[-1].name == "fails"
    assert (await call(pond.lookup("a"))).value == "there"
    with pytest.raises(millpond.InvalidValue):
        await call(pond.fetch_many(["b", "c"], call.function(lambda keys: {"b": 1, "c": object()})))
    with pytest.raises(millpond.InvalidValue, match="max_value"):
        await call(pond.fetch_many(["b", "c"], call.function(lambda keys: {"b": 1, "c": b"x" * (17 << 20)})))
    assert (await call(pond.lookup("c"))).state == "miss"
    assert await call(pond.fetch_many(["b", "c"], call.function(Loader()))) in ([1, text("c")], [text("b"), text("c")])


@in_both
async def test_values_come_and_go_as_in_a_fetch(call, pond):
    loader = Loader({"a": 1, "b": 2})
    options = {"encode": str, "decode": int, "should_cache": lambda value: value != 2, "tags": ["t"], "ttl": "1m"}
    assert await call(pond.fetch_many(["a", "b"], call.function(loader), **options)) == [1, 2]
    assert await call(pond.lookup("a", tags=["t"])) == millpond.Entry("value", "1")
    assert (await call(pond.lookup("b", tags=["t"]))).state == "miss"
    await call(pond.invalidate(tags=["t"]))
    assert await call(pond.fetch_many(["a", "b"], call.function(loader), **options)) == [1, 2]
    assert loader.asked == [["a", "b"], ["a", "b"]]
    other = pond.namespace("other-" + pond._namespace, decode=lambda stored: f"<{stored}>")
    assert await call(other.fetch_many(["a"], call.function(lambda keys: ["x"]))) == ["<x>"]


@in_both
async def test_what_is_wrong_is_said_before_anything_happens(call, pond):
    for keys, options, kind in [(["a", ""], {}, millpond.InvalidKey), (["a", 1], {}, TypeError), (b"a", {}, TypeError), (7, {}, TypeError),
                                (["a", "\udcff"], {}, millpond.InvalidKey), (["a"], {"tags": "t"}, millpond.OptionError),
                                (["a"], {"ttk": 1}, millpond.OptionError), (["a"], {"batch": 5}, millpond.OptionError)]:
        with pytest.raises(kind):
            await call(pond.fetch_many(keys, never, **options))
    with pytest.raises(TypeError):
        await call(pond.fetch_many(["a"], None))
    for values, kind in [({"a": 1, "": 2}, millpond.InvalidKey), ({"a": 1, "b": object()}, millpond.InvalidValue), ([("a",)], TypeError), ({1: 2}, TypeError),
                         ({"a": 1, "b": b"x" * (17 << 20)}, millpond.InvalidValue)]:
        with pytest.raises(kind):
            await call(pond.set_many(values))
    for keys, options in [("abc", {}), (["a"], {"batch": 0}), (["a"], {"parallel": True}), (["a"], {"parallel": 1.5})]:
        with pytest.raises(TypeError):
            await call(pond.warm(keys, never, **options))
    assert (await call(pond.lookup("a"))).state == "miss"


@in_both
async def test_a_loader_that_asks_for_what_it_loads(call, pond):
    said = []
    if call.asynchronous:
        async def loader(keys):
            for ask in (lambda: pond.fetch("b", never), lambda: pond.fetch_many(["x", "b"], never)):
                try:
                    await ask()
                except millpond.DeadlockError as error:
                    said.append(str(error))
            return [1, 2]
    else:
        def loader(keys):
            for ask in (lambda: pond.fetch("b", never), lambda: pond.fetch_many(["x", "b"], never)):
                try:
                    ask()
                except millpond.DeadlockError as error:
                    said.append(str(error))
            return [1, 2]
    assert await call(pond.fetch_many(["a", "b"], loader)) == [1, 2]
    assert len(said) == 2 and all("b" in text for text in said)


@in_both
async def test_a_long_list(call, pond):
    keys = [f"k{i}" for i in range(5000)]
    pond = pond.namespace(command_timeout="10s")
    loader = Loader()
    assert await call(pond.fetch_many(keys, call.function(loader))) == [text(key) for key in keys]
    assert [len(part) for part in loader.asked] == [2048, 2048, 904]
    assert await call(pond.fetch_many(keys, call.function(never))) == [text(key) for key in keys]
    await call(pond.invalidate(*keys))
    assert (await call(pond.lookup("k4999"))).state == "miss"
    await call(pond.set_many((key, {"of": key}) for key in keys))
    assert await call(pond.fetch_many(keys[::-1], call.function(never))) == [{"of": key} for key in keys[::-1]]


@in_both
async def test_values_are_set(call, pond):
    await call(pond.set_many({"a": 1, "b": "text", "c": None, "d": b"\0", "e": millpond.NULL}))
    assert await call(pond.fetch_many(list("abcde"), call.function(never))) == [1, "text", None, b"\0", millpond.NULL]
    await call(pond.set_many([("a", 2)], encode=lambda value: f"<{value}>", ttl="1m"))
    assert (await call(pond.lookup("a"))).value == "<2>"
    if call.asynchronous:
        async def writer():
            await pond.set_many({"a": "beside"})
    else:
        def writer():
            pond.set_many({"a": "beside"})
    await call(pond.write("a", writer))
    assert (await call(pond.lookup("a"))).state == "miss"


@in_both
async def test_the_cache_is_warmed(call, pond):
    for i in range(0, 100, 10):
        await call(pond.fetch(f"k{i}", lambda: "there"))
    loader, reports = Loader(), []
    assert await call(pond.warm((f"k{i}" for i in range(100)), call.function(loader), batch=30, progress=reports.append)) == 100
    assert reports == [30, 60, 90, 100] and [len(part) for part in loader.asked] == [27, 27, 27, 9]
    assert await call(pond.warm([f"k{i}" for i in range(100)], call.function(never))) == 100
    loader, reports = Loader(), []
    assert await call(pond.warm([f"m{i}" for i in range(100)], call.function(loader), batch=7, parallel=4, progress=reports.append)) == 100
    assert reports[-1] == 100 and len(reports) == 15 and sum(map(len, loader.asked)) == 100
    assert (await call(pond.lookup("m99"))).value == text("m99")

    def stop(done):
        if done >= 20:
            raise InterruptedError

    loader = Loader()
    with pytest.raises(InterruptedError):
        await call(pond.warm([f"n{i}" for i in range(100)], call.function(loader), batch=10, progress=stop))
    assert sum(map(len, loader.asked)) == 20
    with pytest.raises(LookupError):
        await call(pond.warm([f"n{i}" for i in range(100)], call.function(lambda keys: {}[1]), batch=10, parallel=3))


# ---- beside others ----

def test_what_others_load_is_waited_for(cache, name):
    with millpond.open(cache, namespace=name) as pond:
        began, go_on = threading.Event(), threading.Event()

        def slow():
            began.set()
            assert go_on.wait(10)
            return "by another"

        thread = threading.Thread(target=pond.fetch, args=("b", slow))
        thread.start()
        assert began.wait(10)

        def loader(keys):
            go_on.set()
            assert keys == ["a", "c"]
            return keys

        assert pond.fetch_many(["a", "b", "c"], loader) == ["a", "by another", "c"]
        thread.join()


def test_one_load_a_key_however_many_ask(cache, name):
    with millpond.open(cache, namespace=name) as pond:
        loader, lock = Loader(), threading.Lock()

        def load(keys):
            with lock:
                given = loader(keys)
            time.sleep(0.02)
            return given

        answers = []
        threads = [threading.Thread(target=lambda i=i: answers.append(pond.fetch_many([f"k{n}" for n in range(i, i + 20)], load))) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        asked = [key for part in loader.asked for key in part]
        assert sorted(asked) == sorted({f"k{n}" for n in range(27)}) and len(answers) == 8


def test_a_signal_in_the_midst_of_a_loader(cache, name):
    with millpond.open(cache, namespace=name) as pond:
        def loader(keys):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)

        with pytest.raises(KeyboardInterrupt):
            pond.fetch_many(["a", "b"], loader)
        assert pond.fetch_many(["a", "b"], Loader()) == [text("a"), text("b")]


def test_a_blocking_pond_takes_no_async_loader(cache, name):
    async def loader(keys):
        never(keys)

    with millpond.open(cache, namespace=name) as pond, pytest.raises(TypeError, match="millpond.aio"):
        pond.fetch_many(["a"], loader)


def test_who_cancels_ends_the_loader_and_others_load(cache, name):
    async def main():
        async with millpond.aio.open(cache, namespace=name) as pond:
            began, seen = asyncio.Event(), []

            async def slow(keys):
                began.set()
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    seen.append(keys)
                    raise

            task = asyncio.create_task(pond.fetch_many(["a", "b"], slow))
            await began.wait()
            other = asyncio.create_task(pond.fetch("b", lambda: "by another"))
            await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await other == "by another"
            assert seen == [["a", "b"]]
            assert await pond.fetch_many(["a", "b"], lambda keys: keys) == ["a", "by another"]

    asyncio.run(main())


def test_a_loader_that_takes_too_long_does_not_hold_its_caller(cache, name):
    async def main():
        async with millpond.aio.open(cache, namespace=name, load_timeout=50) as pond:
            go_on, ended = asyncio.Event(), asyncio.Event()

            async def slow(keys):
                await go_on.wait()
                ended.set()
                return keys

            with pytest.raises(millpond.TimeoutError):
                await pond.fetch_many(["a", "b"], slow)
            go_on.set()
            await ended.wait()  # it goes on; its answer goes nowhere
            await pond.lookup("another")
            assert (await pond.lookup("a")).state == "miss"

    asyncio.run(main())


def test_a_close_while_it_loads(cache, name):
    async def main():
        pond = millpond.aio.open(cache, namespace=name)
        began, go_on, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def slow(keys):
            began.set()
            await go_on.wait()
            ended.set()
            return keys

        task = asyncio.create_task(pond.fetch_many(["a", "b"], slow))
        await began.wait()
        await pond.close(timeout=20)
        with pytest.raises(millpond.ClosedError):
            await task
        with pytest.raises(millpond.ClosedError):
            await pond.fetch_many(["a"], never)
        go_on.set()
        await ended.wait()

    asyncio.run(main())


def test_without_a_cache_all_are_loaded_together(name):
    async def main():
        async with millpond.aio.open("redis://127.0.0.1:1/0", namespace=name) as pond:
            loader = Loader()
            assert await pond.fetch_many(["a", "b"], loader) == [text("a"), text("b")]
            assert loader.asked == [["a", "b"]]
            with pytest.raises(millpond.CacheError):
                await pond.set_many({"a": 1})

    asyncio.run(main())


@forks_with_threads
def test_a_child_of_a_loader_of_many(redis: Redis, name):
    with millpond.open(redis.url, namespace=name) as pond:
        pid = -1

        def loader(keys):
            nonlocal pid
            pid = os.fork()
            return keys

        try:
            assert pond.fetch_many(["a", "b"], loader) == ["a", "b"]
        except millpond.ClosedError:
            if pid == 0:
                os._exit(0 if pond.fetch_many(["c"], Loader()) == [text("c")] else 3)
            raise
        if pid == 0:
            os._exit(4)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert pond.fetch_many(["a", "b", "c"], never) == ["a", "b", text("c")]
