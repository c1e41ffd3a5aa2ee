"""Tags and writes: what a write touches is out of reach when it has ended, and while it runs nothing is cached. The cases of
node/test/writes.test.mjs, by the blocking calls and by the awaited ones, and what is Python's own: signals, cancellation, forks."""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import sqlite3
import threading
import time
from typing import Any

import pytest

import millpond
import millpond.aio
from conftest import Redis, forks_with_threads, in_both


def never(*args: object) -> Any:
    raise AssertionError("this must not be called")


@in_both
async def test_a_tag_puts_out_of_reach_what_has_it(call, pond):
    loads = 0

    def load():
        nonlocal loads
        loads += 1
        return loads

    async def fetch_all(tags):
        for i in range(100):
            await call(pond.fetch(f"user:{i}", load, tags=tags(i)))

    await fetch_all(lambda i: ["users", f"user:{i}"])
    assert loads == 100
    await fetch_all(lambda i: (f"user:{i}", "users", "users"))
    assert loads == 100, "order and repetition say nothing"
    await call(pond.invalidate(tags=["user:7"]))
    await fetch_all(lambda i: {"users", f"user:{i}"})
    assert loads == 101
    await call(pond.invalidate(tags=["users"]))
    assert (await call(pond.lookup("user:1", tags=["users", "user:1"]))).state == "miss"
    assert await call(pond.fetch("user:1", load, tags=["users", "user:1"])) == 102
    assert await call(pond.lookup("user:1", tags=["users", "user:1"])) == millpond.Entry("value", 102)
    assert await call(pond.fetch("user:1", load, tags=[])) == 103, "another set of tags: another value"


@in_both
async def test_more_sets_of_tags_than_are_kept(call, pond):
    for i in range(2100):
        await call(pond.fetch(f"k{i}", lambda i=i: i, tags=[f"t{i}"]))
    assert await call(pond.fetch("k0", never, tags=["t0"])) == 0
    assert await call(pond.fetch("k2099", never, tags=["t2099"])) == 2099


@in_both
async def test_cached_functions_have_tags(call, pond):
    calls = 0

    def count(id):
        nonlocal calls
        calls += 1
        return f"{id}:{calls}"

    fixed = pond.cached("fixed:{id}", tags=["all"])(call.function(count))
    own = pond.cached("own:{id}", tags=lambda id: [f"only-{id}"])(call.function(count))
    assert [await call(fixed(1)), await call(fixed(1)), await call(own(1)), await call(own(2))] == ["1:1", "1:1", "1:2", "2:3"]
    assert (await call(own.lookup(2))).value == "2:3"
    await call(pond.invalidate(tags=["all", "only-2"]))
    assert [await call(fixed(1)), await call(own(1)), await call(own(2))] == ["1:4", "1:2", "2:5"]
    await call(fixed.invalidate(1))
    assert [await call(fixed(1)), await call(own(1))] == ["1:6", "1:2"]
    for wrong in ("all", 7):
        with pytest.raises(millpond.OptionError):
            pond.cached("k", tags=wrong)(call.function(count))


@in_both
async def test_readers_meanwhile_ask_the_store_and_afterwards_nobody_sees_the_old_value(call, pond):
    row = "old"

    def read(key="row"):
        return pond.fetch(key, lambda: f"{key} {row}", tags=["rows"])

    assert [await call(read()), await call(read(key="page"))] == ["row old", "page old"]
    if call.asynchronous:
        async def writer():
            nonlocal row
            assert [await read(), await read(key="page")] == ["row old", "page old"]
            assert (await pond.explain("row"))["writers"] == 1
            row = "new"
            return "written"
    else:
        def writer():
            nonlocal row
            assert [read(), read(key="page")] == ["row old", "page old"]
            assert pond.explain("row")["writers"] == 1
            row = "new"
            return "written"
    assert await call(pond.write("row", writer, tags=["rows"])) == "written"
    assert [await call(read()), await call(read(key="page"))] == ["row new", "page new"]
    assert await call(pond.write(["row", "other"], call.function(lambda: None))) is None


@in_both
async def test_what_the_writer_says_of_a_value_is_cached_if_it_wrote_alone(call, pond):
    await call(pond.write("one", call.function(lambda writing: writing.set("one", {"n": 1}))))
    assert await call(pond.fetch("one", never)) == {"n": 1}
    await call(pond.write(["one", "two"], call.function(lambda writing: writing.set("two", 2)), encode=lambda value: f"<{value}>"))
    assert await call(pond.lookup("two")) == millpond.Entry("value", "<2>")
    assert (await call(pond.lookup("one"))).state == "miss", "nothing was said of it"
    await call(pond.write(iter(["one"]), call.function(lambda writing: writing.set("one", None))))
    assert (await call(pond.lookup("one"))).state == "absent"
    if call.asynchronous:
        met = 0

        async def contend(n):
            async def writer(writing):
                nonlocal met
                met += 1
                while met < 2:
                    await asyncio.sleep(0.001)
                writing.set("contested", n)
            await pond.write("contested", writer)

        await asyncio.gather(contend(1), contend(2))
    else:
        both = threading.Barrier(2)

        def contend(n):
            def writer(writing):
                both.wait(10)
                writing.set("contested", n)
            pond.write("contested", writer)

        threads = [threading.Thread(target=contend, args=(n,)) for n in (1, 2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert (await call(pond.lookup("contested"))).state == "miss"


@in_both
async def test_a_writer_is_handed_what_it_takes(call, pond):
    given = []

    def save(user, *, twice=False, writing=None):
        given.append((user, twice, writing))

    class Repository:
        def save(self, id="1"):
            given.append(id)

        def __call__(self, writing):
            given.append(type(writing))

    await call(pond.write("k", functools.partial(save, "ann", twice=True)))
    await call(pond.write("k", Repository().save))
    await call(pond.write("k", Repository()))
    await call(pond.write("k", list))
    assert given == [("ann", True, None), "1", millpond.Writing]


@in_both
async def test_the_writers_error_is_passed_on_as_it_is(call, pond):
    pond = pond.namespace(intent="5m")
    mine = sqlite3.IntegrityError("duplicate")

    def fails():
        raise mine

    async def read():
        await call(pond.fetch("k", lambda: "row"))
        return (await call(pond.lookup("k"))).state

    def is_integrity(error):
        return isinstance(error, sqlite3.IntegrityError)

    with pytest.raises(sqlite3.IntegrityError) as caught:
        await call(pond.write("k", call.function(fails), not_written=is_integrity))
    assert caught.value is mine
    assert await read() == "value"
    with pytest.raises(sqlite3.IntegrityError) as caught:
        await call(pond.write("k", call.function(fails)))
    assert caught.value is mine and caught.traceback[-1].name == "fails"
    assert await read() == "miss", "it may be written yet: the intent stands"

    def wrong(error):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as caught:
        await call(pond.write("other", call.function(fails), not_written=wrong))
    assert caught.value.__context__ is mine
    assert (await call(pond.explain("other")))["writers"] == 1
    assert await call(pond.stat("write_errors", pond._namespace)) == 3


@in_both
async def test_what_is_wrong_is_said_before_anything_is_written(call, pond):
    for keys, options, kind in [([], {}, millpond.MisuseError), (["k", ""], {}, millpond.InvalidKey), ("k" * 513, {}, millpond.InvalidKey),
                                (["k", "a\0b"], {}, millpond.InvalidKey), (["k", "\udcff"], {}, millpond.InvalidKey), (["k", 1], {}, TypeError),
                                (b"k", {}, TypeError), (7, {}, TypeError), ("k", {"not_written": 1}, TypeError),
                                ("k", {"tags": "users"}, millpond.OptionError), ("k", {"tags": [1]}, TypeError), ("k", {"tags": 1}, millpond.OptionError),
                                ("k", {"tags": ["a\0b"]}, millpond.InvalidKey), ("k", {"tags": [""]}, millpond.InvalidKey),
                                ("k", {"tags": ["\udcff"]}, millpond.InvalidKey), ("k", {"tags": [[]]}, TypeError),
                                ("k", {"tags": [f"t{i}" for i in range(17)]}, millpond.OptionError), ("k", {"ttk": 1}, millpond.OptionError)]:
        with pytest.raises(kind):
            await call(pond.write(keys, never, **options))
    with pytest.raises(TypeError):
        await call(pond.write("k", None))
    with pytest.raises(millpond.InvalidKey):
        await call(pond.fetch("k", never, tags=[""]))
    with pytest.raises(millpond.OptionError):
        await call(pond.lookup("k", tags="users"))
    with pytest.raises((TypeError, millpond.OptionError)):
        pond.namespace("other", tags=["users"])
    with pytest.raises(TypeError):
        await call(pond.explain("k", tags=["users"]))
    with pytest.raises(millpond.InvalidKey):
        await call(pond.write("k", call.function(lambda writing: writing.set("another", 1))))
    with pytest.raises(millpond.InvalidValue):
        await call(pond.write("k", call.function(lambda writing: writing.set("k", object()))))
    kept = []
    await call(pond.write("k", call.function(lambda writing: kept.append(writing))))
    with pytest.raises(millpond.MisuseError):
        kept[0].set("k", 1)
    with pytest.raises(TypeError):
        kept[0].set("k")
    with pytest.raises(TypeError):
        type(kept[0])()


def test_a_blocking_pond_takes_no_async_writer(cache, name):
    async def writer():
        never()

    with millpond.open(cache, namespace=name) as pond:
        with pytest.raises(TypeError, match="millpond.aio"):
            pond.write("k", writer)
        with pytest.raises(TypeError, match="millpond.aio"):
            pond.write("k", lambda writing: writer())


# ---- ends of all kinds ----

def test_a_close_ends_a_blocking_write_with_what_the_writer_says(cache, name):
    pond = millpond.open(cache, namespace=name)
    began, go_on, results = threading.Event(), threading.Event(), []

    def writer():
        began.set()
        assert go_on.wait(10)
        return "written"

    thread = threading.Thread(target=lambda: results.append(pond.write("k", writer)))
    thread.start()
    assert began.wait(10)
    pond.close(timeout=50)
    go_on.set()
    thread.join()
    assert results == ["written"]
    with pytest.raises(millpond.ClosedError):
        pond.write("k", never)


def test_a_close_while_a_task_writes(cache, name):
    async def main():
        pond = millpond.aio.open(cache, namespace=name)
        began, go_on = asyncio.Event(), asyncio.Event()

        async def writer():
            began.set()
            await go_on.wait()

        task = asyncio.create_task(pond.write("k", writer))
        await began.wait()
        await pond.close(timeout=50)
        go_on.set()
        with pytest.raises(millpond.ClosedError):
            await task
        with pytest.raises(millpond.ClosedError):
            await pond.write("k", never)

    asyncio.run(main())


def test_who_cancels_in_the_midst_cancels_the_writer(cache, name):
    async def main():
        async with millpond.aio.open(cache, namespace=name, intent="5m") as pond:
            await pond.fetch("k", lambda: "old")
            began, seen = asyncio.Event(), []

            async def writer():
                began.set()
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    seen.append("cancelled")
                    raise

            for sure, state in ((None, "miss"), (lambda error: True, "value")):
                began.clear()
                key = f"k{sure is None}"
                task = asyncio.create_task(pond.write(key, writer, not_written=sure))
                await began.wait()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                for _ in range(100):  # the end is on its way
                    await pond.fetch(key, lambda: "new")
                    if (await pond.lookup(key)).state == state:
                        break
                    await asyncio.sleep(0.01)
                assert (await pond.lookup(key)).state == state
            assert seen == ["cancelled", "cancelled"]

    asyncio.run(main())


def test_who_is_cancelled_before_has_written_nothing(own_redis: Redis, name):
    async def main():
        async with millpond.aio.open(own_redis.url, namespace=name, command_timeout="10s") as pond:
            await pond.fetch("k", lambda: "old")
            own_redis.pause()
            try:
                task = asyncio.create_task(pond.write("k", never))
                await asyncio.sleep(0.05)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            finally:
                own_redis.go_on()
            for _ in range(200):
                await pond.fetch("k", lambda: "new")
                if (await pond.explain("k"))["writers"] == 0 and (await pond.lookup("k")).state == "value":
                    break
                await asyncio.sleep(0.01)
            assert (await pond.lookup("k")).state == "value"

    asyncio.run(main())


def test_a_write_that_is_dropped_in_the_midst_leaves_its_intent(cache, name):
    """A coroutine that is closed, as when its loop ends: what came of it nobody knows."""
    pond = millpond.aio.open(cache, namespace=name, intent="5m")

    async def main():
        coroutine = pond.write("k", lambda: asyncio.sleep(60))
        task = asyncio.create_task(coroutine)
        while not (await pond.explain("k"))["writers"]:
            await asyncio.sleep(0.001)
        return task

    asyncio.run(main())  # ends the task with its loop

    async def later():
        assert (await pond.explain("k"))["writers"] == 1
        await pond.close()

    asyncio.run(later())


def test_a_signal_in_the_midst_of_a_writer(cache, name):
    with millpond.open(cache, namespace=name, intent="5m") as pond:
        def writer():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)
            never()

        with pytest.raises(KeyboardInterrupt):
            pond.write("k", writer)
        assert pond.explain("k")["writers"] == 1, "the outcome is unknown"


def test_strict_fails_before_the_store_is_touched_and_lenient_is_caught_up_on(own_redis: Redis, name):
    url = own_redis.url
    with millpond.open(url, namespace=name) as reader:
        reader.fetch("k", lambda: "old")
        own_redis.pause()
        try:
            with millpond.open(url, namespace=name, command_timeout=100, connect_timeout=100) as pond:
                with pytest.raises(millpond.Error) as caught:
                    pond.write("k", never)
                assert caught.value.retriable and "nothing was written" in str(caught.value)
                assert pond.write("k", lambda: "written", when_cache_down_write="lenient") == "written"
                own_redis.go_on()
        finally:
            own_redis.go_on()
        assert reader.lookup("k").state == "miss", "the close waited until the cache was told"


def test_asyncio_strict_and_lenient(name):
    async def main():
        async with millpond.aio.open("redis://127.0.0.1:1/0", namespace=name) as pond:
            with pytest.raises(millpond.CacheError) as caught:
                await pond.write("k", never)
            assert caught.value.retriable
            assert await pond.write("k", lambda: "written", when_cache_down_write="lenient") == "written"
            await pond.close(timeout=10)

    asyncio.run(main())


def test_no_command_of_an_invalidation_scans(redis: Redis, name):
    with millpond.open(redis.url, namespace=name) as pond:
        for i in range(50):
            pond.fetch(f"k{i}", lambda: 1, tags=["all"])
        redis.call("CONFIG", "RESETSTAT")
        pond.write([], lambda: None, tags=["all"])
        said = redis.call("INFO", "commandstats")
        assert "cmdstat_evalsha" in said and "cmdstat_keys" not in said and "cmdstat_scan" not in said
        assert pond.lookup("k1", tags=["all"]).state == "miss"


@forks_with_threads
@pytest.mark.parametrize("inside", [False, True], ids=["before", "within the writer"])
def test_a_child_writes_on_its_own(redis: Redis, name, inside):
    with millpond.open(redis.url, namespace=name) as pond:
        pond.fetch("k", lambda: "old")

        def child() -> int:
            try:
                assert pond.write("k", lambda writing: writing.set("k", "child")) is None
                return 0 if pond.lookup("k").value == "child" else 3
            except BaseException:
                return 4

        def forked():
            pid = os.fork()
            if pid == 0 and not inside:
                os._exit(child())
            return pid

        if inside:
            pid = -1

            def writer():
                nonlocal pid
                pid = forked()

            try:
                pond.write("k", writer)
            except millpond.ClosedError:  # the child, whose call is the parent's
                os._exit(0 if pid == 0 else 5)
            if pid == 0:
                os._exit(6)
        else:
            pid = forked()
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert pond.write("k", lambda writing: writing.set("k", "parent")) is None
        assert pond.fetch("k", never) == "parent"


@forks_with_threads
def test_a_child_of_a_task_that_writes(redis: Redis, name):
    async def main():
        async with millpond.aio.open(redis.url, namespace=name) as pond:
            pid = -1

            async def writer():
                nonlocal pid
                pid = os.fork()
                if pid == 0:
                    try:
                        kept._done()  # the parent's: nothing happens
                        os._exit(0)
                    except BaseException:
                        os._exit(4)
                return "written"

            async def with_writing(writing):
                nonlocal kept
                kept = writing
                return await writer()

            kept: Any = None
            assert await pond.write("k", with_writing) == "written"
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
            assert await pond.fetch("k", lambda: "new") == "new"
            assert (await pond.lookup("k")).state == "value"

    asyncio.run(main())
