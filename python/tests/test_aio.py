"""The awaited calls, and what asyncio may do with them."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import gc
import inspect
import socket
import sys
import threading
import time
import traceback
import weakref

import pytest
import uvloop

import millpond
import millpond.aio


@pytest.fixture
def run(cache, name):
    """run(test) -> what test(pond) gives, in a loop of its own."""

    def run(test, **options):
        async def main():
            async with millpond.aio.open(cache, namespace=name, **options) as pond:
                return await asyncio.wait_for(test(pond), 60)
        return asyncio.run(main())

    return run


async def never_async():
    raise AssertionError("this is a hit: the loader must not be called")


def aloader(value, delay=0.0, calls=None):
    async def load():
        if calls is not None:
            calls.append(1)
        if delay:
            await asyncio.sleep(delay)
        if isinstance(value, BaseException):
            raise value
        return value
    return load


@pytest.mark.parametrize("value", [{"a": [1, None]}, [], 0, False, "", "é", b"\x00", "x" * 200_000, (1, 2), millpond.NULL, None],
                         ids=lambda value: repr(value)[:20])
def test_values(run, never, value):
    async def test(pond):
        expected = [1, 2] if value == (1, 2) else value
        for loader in (lambda: value, aloader(value)):
            assert await pond.fetch("k", loader) == expected
            hit = await pond.fetch("k", never)
            assert hit == expected and type(hit) is type(expected)
            entry = await pond.lookup("k")
            assert entry == millpond.Entry("absent" if value is None else "value", expected)
            assert await pond.invalidate("k", "other") is None
            assert (await pond.lookup("k")).state == "miss"

    run(test)


def test_what_open_is_told_holds_for_all_calls(cache, name, never):
    async def main():
        async with millpond.aio.open(cache, namespace=name, encode=str, decode=int, should_cache=lambda n: n > 0, absent="raise") as pond:
            assert await pond.fetch("n", aloader(7)) == await pond.fetch("n", never) == 7
            assert await pond.fetch("none", aloader(0)) == 0
            assert (await pond.lookup("none")).state == "miss"
            with pytest.raises(millpond.Absent):
                await pond.fetch("ghost", aloader(None))
            assert await pond.fetch("ghost", never, absent="none") is None

    asyncio.run(main())


def test_options(run, never):
    async def test(pond):
        with pytest.raises(millpond.Absent, match="ghost"):
            await pond.fetch("ghost", lambda: None, absent="raise")
        assert await pond.fetch("page", aloader([]), should_cache=len) == []
        assert (await pond.lookup("page")).state == "miss"
        assert await pond.fetch("n", lambda: 7, encode=str, decode=int) == 7
        assert await pond.fetch("n", never, encode=str, decode=int) == 7
        assert (await pond.lookup("n", decode=int)).value == 7
        assert await pond.fetch("m", lambda: 7, model=float) == 7.0
        assert (await pond.explain("n"))["ttl_ms"] <= 300_000
        await pond.fetch("t", lambda: 1, ttl="1m")
        assert (await pond.explain("t"))["ttl_ms"] <= 60_000
        view = pond.namespace("other", absent="raise", ttl="2m")
        assert type(view) is millpond.aio.Pond
        assert await view.fetch("n", aloader(1)) == 1
        with pytest.raises(millpond.Absent):
            await view.fetch("ghost", aloader(None))
        assert await pond.stat("loads") == sum(ns["loads"] for ns in (await pond.stats())["namespaces"].values())
        assert await pond.stat("loads", "other") == 2

    run(test)


def test_errors(run, never):
    async def test(pond):
        with pytest.raises(TypeError):
            pond.fetch("k")
        with pytest.raises(millpond.OptionError, match="tttl"):
            pond.fetch("k", never, tttl=1)
        with pytest.raises(TypeError):
            pond.fetch(42, never)
        for key in ("", "x" * 513, "a\0", "\udcff"):
            for call in (lambda: pond.fetch(key, never), lambda: pond.lookup(key), lambda: pond.explain(key), lambda: pond.invalidate(key)):
                with pytest.raises(millpond.InvalidKey):
                    await call()
        for row in range(3):
            error = KeyError("mine")
            with pytest.raises(KeyError) as caught:
                await pond.fetch("k", aloader(error))
            assert caught.value is error
            assert [frame.name for frame in traceback.extract_tb(error.__traceback__)].count("load") == 1
        with pytest.raises(ZeroDivisionError):
            await pond.fetch("k", lambda: 1 / 0)
        with pytest.raises(millpond.InvalidValue, match=r"user\.tags: set"):
            await pond.fetch("k", aloader({"user": {"tags": {1}}}))
        with pytest.raises(millpond.InvalidValue):
            await pond.fetch("k", lambda: 1, decode=raise_invalid)
        assert await pond.fetch("fine", lambda: 1) == 1

    run(test)


def raise_invalid(data):
    raise millpond.InvalidValue("no")


def test_one_load_for_a_thousand_tasks(run):
    async def test(pond):
        calls = []
        results = await asyncio.gather(*[pond.fetch("k", aloader({"n": 1}, 0.05, calls)) for _ in range(500)],
                                       *[asyncio.create_task(pond.fetch("k", aloader({"n": 1}, 0.05, calls))) for _ in range(500)])
        assert results == [{"n": 1}] * 1000
        assert len(calls) == 1
        assert results[0] is not results[1], "nobody shares an object that he could change"

    run(test)


def test_one_exception_for_all_who_wait(run):
    async def test(pond):
        error, calls = ValueError("all"), []
        results = await asyncio.gather(*[pond.fetch("k", aloader(error, 0.05, calls)) for _ in range(50)], return_exceptions=True)
        assert all(result is error for result in results) and len(calls) == 1

    run(test)


def test_many_keys_at_once(run):
    """More than one batch of completions, of several kinds."""

    async def test(pond):
        keys = [f"k{row}" for row in range(1500)]
        assert await asyncio.gather(*[pond.fetch(key, aloader(key)) for key in keys]) == keys
        assert await asyncio.gather(*[pond.fetch(key, never_async) for key in keys]) == keys
        await asyncio.gather(*[pond.invalidate(key) for key in keys[::2]])
        states = [entry.state for entry in await asyncio.gather(*[pond.lookup(key) for key in keys])]
        assert states == ["miss", "value"] * 750

    run(test, command_timeout="20s")  # a busy machine beside a sanitizer may take its time


# ---- what an answer is ----

def test_an_answer_is_a_coroutine(run):
    async def test(pond):
        loop = asyncio.get_running_loop()
        for answer in (pond.fetch("z", aloader(0)), pond.fetch("z", aloader(0))):
            assert asyncio.iscoroutine(answer) and not asyncio.isfuture(answer) and inspect.isawaitable(answer)
            await answer
        assert await asyncio.create_task(pond.fetch("a", aloader(1))) == 1
        assert await asyncio.ensure_future(pond.fetch("b", aloader(2))) == 2
        assert await asyncio.wait_for(pond.fetch("c", aloader(3)), 10) == 3
        assert await asyncio.shield(pond.fetch("d", aloader(4))) == 4
        assert await asyncio.gather(pond.fetch("a", never_async), pond.fetch("e", aloader(5)), asyncio.sleep(0, 6)) == [1, 5, 6]
        done, _ = await asyncio.wait([asyncio.ensure_future(pond.fetch("f", aloader(7)))])
        assert [task.result() for task in done] == [7]
        if sys.version_info >= (3, 11):
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(pond.fetch(f"g{row}", aloader(row))) for row in range(5)]
            assert [task.result() for task in tasks] == list(range(5))
            async with asyncio.timeout(10):
                assert await pond.fetch("h", aloader(8)) == 8
        for answer in asyncio.as_completed([pond.fetch("i", aloader(9))]):
            assert await answer == 9

        answer = pond.fetch("j", aloader(10, 0.01))
        seen = []
        answer.add_done_callback(seen.append)
        answer.add_done_callback(never_async)
        assert answer.remove_done_callback(never_async) == 1
        if not answer.done():
            assert answer.get_loop() is loop and "pending" in repr(answer) and "'j'" in repr(answer)
            with pytest.raises(asyncio.InvalidStateError):
                answer.result()
            with pytest.raises(asyncio.InvalidStateError):
                answer.exception()
        assert await answer == 10 == await answer  # again: it stays answered
        assert answer.done() and not answer.cancelled() and answer.exception() is None and answer.result() == 10
        await asyncio.sleep(0)
        assert seen == [answer]
        answer.add_done_callback(seen.append)
        assert seen == [answer]
        await asyncio.sleep(0)
        assert seen == [answer, answer]
        assert not answer.cancel()

        failed = pond.fetch("k", aloader(ValueError("no")))
        with pytest.raises(ValueError):
            await failed
        assert isinstance(failed.exception(), ValueError)
        with pytest.raises(ValueError):
            failed.result()
        with pytest.raises(ValueError):
            await failed

    run(test)


def test_tuples_and_exceptions_as_values(run):
    """StopIteration carries a result; a tuple or an exception in it must stay what it is."""

    async def test(pond):
        def decode(data):
            return made[data]

        made = {b"tuple": (1, 2), b"empty": (), b"exception": ValueError("a value"), b"stop": StopIteration(3)}
        for name, value in made.items():
            for _ in range(2):
                assert await pond.fetch(name.decode(), lambda: name, decode=decode) is value

            async def old_style():
                return await Wrapped(pond.fetch(name.decode(), lambda: name, decode=decode))
            assert await old_style() is value

    class Wrapped:
        def __init__(self, inner):
            self.inner = inner

        def __await__(self):
            return (yield from self.inner.__await__())

    run(test)


def test_two_tasks_await_one_answer(run):
    async def test(pond):
        answer = pond.fetch("k", aloader(1, 0.02))

        async def wait():
            return await answer

        assert await asyncio.gather(wait(), wait(), answer) == [1, 1, 1]

    run(test)


def test_outside_a_loop(cache, name, never):
    pond = millpond.aio.open(cache, namespace=name)  # at import time, so to speak
    assert asyncio.run(pond.fetch("k", aloader(1))) == 1
    assert asyncio.run(pond.fetch("k", never)) == 1  # another loop; from memory an answer that is there already
    assert asyncio.run(pond.lookup("k")).value == 1
    assert asyncio.run(pond.explain("k"))["state"] == "value"
    asyncio.run(pond.invalidate("k"))
    assert asyncio.run(pond.lookup("k")).state == "miss"
    with pytest.raises(millpond.OptionError):
        pond.fetch("k", never, nonsense=1)
    loop = asyncio.new_event_loop()
    try:
        assert loop.run_until_complete(pond.fetch("k", aloader(2), ttl="1m")) == 2
        assert loop.run_until_complete(pond.fetch("k", never)) == 2
    finally:
        loop.close()
    asyncio.run(pond.close())


# ---- cancelling ----

def test_a_cancelled_waiter_does_not_end_the_load(run):
    async def test(pond):
        calls, cancelled = [], []

        async def load():
            calls.append(1)
            try:
                await asyncio.sleep(0.1)
            except asyncio.CancelledError:
                cancelled.append(1)
                raise
            return "loaded"

        first = asyncio.create_task(pond.fetch("k", load))
        while not calls:
            await asyncio.sleep(0.005)
        second = asyncio.create_task(pond.fetch("k", load))
        await asyncio.sleep(0.01)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert await second == "loaded"
        assert (calls, cancelled) == ([1], [])
        assert await pond.fetch("k", never_async) == "loaded"

    run(test)


def test_the_last_waiter_ends_the_load(run):
    async def test(pond):
        started, ended = asyncio.Event(), asyncio.Event()

        async def load():
            started.set()
            try:
                await asyncio.sleep(60)
            finally:
                ended.set()

        tasks = [asyncio.create_task(pond.fetch("k", load)) for _ in range(3)]
        await started.wait()
        for task in tasks:
            assert not ended.is_set()
            task.cancel()
            await asyncio.sleep(0.01)
        await asyncio.wait_for(ended.wait(), 5)
        assert await pond.fetch("k", aloader("again")) == "again"

    run(test)


def test_ways_to_go_away(run):
    async def test(pond):
        for leave in (lambda answer: answer.cancel("gone"), lambda answer: answer.close()):
            answer = pond.fetch("k", aloader(1, 60))
            await asyncio.sleep(0.01)
            leave(answer)
            assert answer.cancelled() and answer.done() and not answer.cancel()
            for look in (answer.result, answer.exception):
                with pytest.raises(asyncio.CancelledError):
                    look()
            with pytest.raises(asyncio.CancelledError):
                await answer
        answer = pond.fetch("k", aloader(1, 60))
        with pytest.raises(KeyError):
            answer.throw(KeyError("x"))
        assert answer.cancelled()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(pond.fetch("k", aloader(1, 60)), 0.05)
        task = asyncio.create_task(pond.fetch("k", aloader(1, 60)))
        task.cancel()  # before it ever ran
        with pytest.raises(asyncio.CancelledError):
            await task

        async def within():
            try:
                await pond.fetch("k", aloader(1, 60))
            finally:
                left.append(1)

        left = []
        task = asyncio.create_task(within())
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert left == [1]
        assert await pond.fetch("k", aloader(2)) == 2

    run(test)


def test_a_loader_that_raises_stop_iteration(run):
    """next() of nothing: it would be the end of the coroutine that awaits, with None."""

    async def test(pond):
        async def later(*args):
            return next(iter(()))

        for loader in (lambda *keys: next(iter(())), later):
            for call in (lambda: pond.fetch("k", loader), lambda: pond.fetch_many(["k"], loader)):
                with pytest.raises(RuntimeError, match="StopIteration") as raised:
                    await call()
                assert isinstance(raised.value.__cause__, StopIteration)
        assert await pond.fetch("k", lambda: 1) == 1

    run(test)


CALLS = {
    "fetch": lambda pond, films: pond.fetch("k", aloader(1)),
    "fetch_many": lambda pond, films: pond.fetch_many(["k", "l"], lambda keys: {key: 1 for key in keys}),
    "lookup": lambda pond, films: pond.lookup("other"),
    "set_many": lambda pond, films: pond.set_many({"s": 1}),
    "invalidate": lambda pond, films: pond.invalidate("k", tags=["t"]),
    "write": lambda pond, films: pond.write("k", aloader(1)),
    "explain": lambda pond, films: pond.explain("k"),
    "store.create": lambda pond, films: pond.store("films").create(),
    "store.get": lambda pond, films: pond.store("films").get("1"),
    "store.get_many": lambda pond, films: pond.store("films").get_many(["1", "2"]),
    "store.put": lambda pond, films: pond.store("films").put("1", {}),
    "store.delete": lambda pond, films: pond.store("films").delete("2"),
    "prepare": lambda pond, films: films.prepare(),
    "get": lambda pond, films: films.get("1"),
    "get_many": lambda pond, films: films.get_many(["1", "2"]),
    "find": lambda pond, films: films.find(""),
    "explain a query": lambda pond, films: films.explain(""),
    "invalidate documents": lambda pond, films: films.invalidate("1"),
    "create": lambda pond, films: films.create({}),
    "replace": lambda pond, films: films.replace("1", {}),
    "update": lambda pond, films: films.update("1", {}),
    "delete": lambda pond, films: films.delete("2"),
    "increment": lambda pond, films: films.increment("1", "n"),
    "flush": lambda pond, films: films.flush(),
    "dead_letters.list": lambda pond, films: films.dead_letters.list(),
    "dead_letters.get": lambda pond, films: films.dead_letters.get("1790000000000-0-3"),
    "dead_letters.drop": lambda pond, films: films.dead_letters.drop("1790000000000-0-3"),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_whatever_is_under_way_can_be_cancelled(run, tmp_path, call):
    """The core may have an answer for it all the same."""

    async def test(pond):
        films = pond.collection("films", write="behind")
        await films.prepare()
        await films.replace("1", {"n": 1})

        async def one():
            return await call(pond, films)

        for turns in (0, 1, 2) * 5:
            task = asyncio.create_task(one())
            for _ in range(1 + turns):
                await asyncio.sleep(0)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, millpond.Error):
                await task
            with contextlib.suppress(asyncio.TimeoutError, millpond.Error):
                await asyncio.wait_for(one(), 0.0001)
        await asyncio.sleep(0.05)
        assert await pond.fetch("afterwards", aloader(1)) == 1

    run(test, store=f"sqlite:{tmp_path}/films.db")


def test_a_decode_that_cancels_who_asked(run):
    """It runs on, though nobody else holds it: and looks into itself once it has ended."""

    async def test(pond):
        async def one(call):
            task = asyncio.current_task()

            def decode(payload):
                task.cancel()
                gc.collect()
                return payload

            answer = call(functools.lru_cache(decode))
            del decode
            return await answer

        for call in (
            lambda decode: pond.fetch("k", lambda: b"v", decode=decode),
            lambda decode: pond.fetch_entry("l", lambda: b"v", decode=decode),
            lambda decode: pond.fetch_many(["m", "n"], lambda keys: [b"v", b"v"], decode=decode),
        ):
            with pytest.raises(asyncio.CancelledError):
                await asyncio.create_task(one(call))
        assert await pond.fetch("k", aloader(1)) == b"v"

    run(test)


def test_cancelling_within_a_batch(run):
    """A task that is resumed cancels others whose answers came with its own."""

    async def test(pond):
        await asyncio.gather(*[pond.fetch(f"k{row}", aloader(row)) for row in range(100)])
        for _ in range(5):
            tasks = []

            async def murderer():
                value = await pond.fetch("k0", never_async)
                for task in tasks[1:]:
                    task.cancel()
                return value

            async def victim(row):
                return await pond.fetch(f"k{row}", never_async)

            tasks = [asyncio.create_task(murderer()), *[asyncio.create_task(victim(row)) for row in range(1, 100)]]
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert results[0] == 0
            assert all(isinstance(result, asyncio.CancelledError) or result == row for row, result in enumerate(results))
            gc.collect()
        # the same for answers that nobody but a list holds
        answers = [pond.fetch(f"k{row}", never_async) for row in range(1, 100)]

        async def murderer_of_answers():
            await pond.fetch("k0", never_async)
            for answer in answers:
                answer.cancel()

        await murderer_of_answers()
        assert all(answer.done() for answer in answers)

    run(test)


# ---- loads ----

def test_a_loader_that_asks_for_its_own_key(run):
    async def test(pond):
        async def selfish():
            return await pond.fetch("k", selfish)

        async def through_a_task():
            return await asyncio.create_task(pond.fetch("k", selfish))

        for load in (selfish, through_a_task):
            with pytest.raises(millpond.DeadlockError, match="'k'"):
                await asyncio.wait_for(pond.fetch("k", load), 5)

        async def other_key():
            return 1 + await pond.fetch("inner", aloader(1))

        async def other_namespace():
            return 1 + await pond.fetch("k", aloader(1), namespace="elsewhere")

        assert await pond.fetch("outer", other_key) == 2
        assert await pond.fetch("k", other_namespace) == 2
        # after the load, in the same task, the key is free again
        await pond.invalidate("k")
        assert await pond.fetch("k", aloader(3)) == 3

    run(test)


request = contextvars.ContextVar("request", default="nobody")


def test_a_loader_sees_the_context_of_who_asked(run):
    async def test(pond):
        async def who():
            return request.get()

        async def ask(number):
            request.set(f"r{number}")
            one = await pond.fetch(f"k{number}", who)
            (two,) = await asyncio.gather(pond.fetch(f"l{number}", who))
            three = await asyncio.create_task(pond.fetch(f"m{number}", lambda: request.get()))
            return [one, two, three, request.get()]

        results = await asyncio.gather(*[ask(number) for number in range(10)])
        assert results == [[f"r{number}"] * 4 for number in range(10)]
        assert request.get() == "nobody"

    run(test)


def test_loader_that_is_cancelled_from_within(run):
    async def test(pond):
        async def load():
            raise asyncio.CancelledError

        with pytest.raises(millpond.CanceledError):
            await asyncio.wait_for(pond.fetch("k", load), 5)
        assert await pond.fetch("k", aloader(1)) == 1

    run(test)


def test_keyboard_interrupt_in_a_loader_leaves_the_loop(cache, name):
    pond = millpond.aio.open(cache, namespace=name)

    def load():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(pond.fetch("k", load))
    assert asyncio.run(pond.fetch("k", aloader(1))) == 1
    asyncio.run(pond.close())


def test_keyboard_interrupt_in_a_task_that_goes_on(cache, name):
    pond = millpond.aio.open(cache, namespace=name)

    async def main():
        others = [asyncio.ensure_future(pond.fetch(f"k{row}", aloader(row))) for row in range(5)]

        async def stop():
            await pond.fetch("stop", aloader(1, 0.01))
            raise KeyboardInterrupt

        await asyncio.gather(stop(), *others)

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())
    assert asyncio.run(pond.fetch("k", aloader(1))) == 1
    asyncio.run(pond.close())


# ---- loops ----

def test_a_loop_that_closes_frees_its_queue(cache, name, never):
    pond = millpond.aio.open(cache, namespace=name)
    loops = []

    async def main(row):
        loops.append(weakref.ref(asyncio.get_running_loop()))
        await pond.fetch(f"k{row}", aloader(row))
        fds.append(pond._queue().fileno())
        if row % 2:
            forgotten.append(pond.fetch("slow", aloader(1, 60)))  # still under way when the loop closes
            await asyncio.sleep(0.01)

    fds, forgotten = [], []
    for row in range(20):
        asyncio.run(main(row))
        forgotten.clear()
    gc.collect()
    assert len(set(fds)) < 10, "descriptors are given back"
    assert [ref() for ref in loops] == [None] * 20
    assert asyncio.run(pond.fetch("k3", never)) == 3
    asyncio.run(pond.close())


def test_loops_in_threads_share_a_load(cache, name):
    pond = millpond.aio.open(cache, namespace=name)
    calls, results, barrier = [], [], threading.Barrier(4)

    def work():
        async def main():
            barrier.wait()
            results.extend(await asyncio.gather(*[pond.fetch("k", aloader({"n": 1}, 0.2, calls)) for _ in range(50)]))
        asyncio.run(main())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert results == [{"n": 1}] * 200 and len(calls) == 1
    asyncio.run(pond.close())


def test_an_exception_reaches_other_loops(cache, name):
    pond = millpond.aio.open(cache, namespace=name)
    error, results, barrier = ValueError("all"), [], threading.Barrier(3)

    def work():
        async def main():
            barrier.wait()
            results.extend(await asyncio.gather(*[pond.fetch("k", aloader(error, 0.2)) for _ in range(5)], return_exceptions=True))
        asyncio.run(main())

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(results) == 15 and all(result is error for result in results)
    asyncio.run(pond.close())


class BareLoop(asyncio.SelectorEventLoop):
    """A loop that cannot watch descriptors, as the Proactor loop."""

    def add_reader(self, fd, callback, *args):
        raise NotImplementedError

    def remove_reader(self, fd):
        raise NotImplementedError


def test_a_loop_without_add_reader(cache, name):
    async def main(pond):
        for row in range(20):
            assert await pond.fetch(f"k{row}", aloader(row)) == row
        assert await asyncio.gather(*[pond.fetch(f"k{row}", never_async) for row in range(20)]) == list(range(20))
        await pond.close()

    def watchers():
        return [thread for thread in threading.enumerate() if thread.name == "millpond-watcher"]

    loop = BareLoop()
    loop.run_until_complete(main(millpond.aio.open(cache, namespace=name)))
    for thread in watchers():
        thread.join(5)
    assert not watchers(), "closing the pond ends the thread"

    async def unclosed(pond):
        assert await pond.fetch("k", aloader(1)) == 1

    loop.run_until_complete(unclosed(millpond.aio.open(cache, namespace=name)))
    loop.close()
    for thread in watchers():
        thread.join(5)
    assert not watchers(), "closing the loop ends the thread"


def test_uvloop(cache, name):
    pond = millpond.aio.open(cache, namespace=name)

    async def main():
        assert await asyncio.gather(*[pond.fetch(f"k{row % 10}", aloader(row % 10, 0.01)) for row in range(100)]) == [row % 10 for row in range(100)]
        task = asyncio.create_task(pond.fetch("slow", aloader(1, 60)))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return asyncio.get_running_loop()

    for _ in range(2):
        loop = uvloop.new_event_loop()
        assert loop.run_until_complete(main()) is loop
        loop.close()
    asyncio.run(pond.close())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with 3.12")
def test_eager_tasks(cache, name):
    async def main():
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        async with millpond.aio.open(cache, namespace=name) as pond:
            assert await asyncio.gather(*[asyncio.create_task(pond.fetch(f"k{row}", aloader(row))) for row in range(50)]) == list(range(50))
            assert await pond.fetch("sync", lambda: 1) == 1
            with pytest.raises(ZeroDivisionError):
                await pond.fetch("bad", lambda: 1 / 0)
    asyncio.run(main())


def test_debug_mode(run, cache, name):
    async def main():
        async with millpond.aio.open(cache, namespace=name) as pond:
            await asyncio.gather(*[pond.fetch(f"k{row}", aloader(row)) for row in range(20)])
            task = asyncio.create_task(pond.fetch("slow", aloader(1, 5)))
            await asyncio.sleep(0.01)
            assert "fetch" in repr(task) or "millpond" in repr(task) or "Answer" in repr(task)
            task.get_stack()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    asyncio.run(main(), debug=True)


def test_the_python_task(run):
    """asyncio's Python implementation of tasks takes our answers as well."""
    from asyncio.tasks import _PyTask  # type: ignore[attr-defined]

    async def test(pond):
        asyncio.get_running_loop().set_task_factory(lambda loop, coro, **kw: _PyTask(coro, loop=loop, **kw))
        assert await asyncio.gather(*[asyncio.create_task(pond.fetch(f"k{row % 3}", aloader(row % 3))) for row in range(20)]) == [row % 3 for row in range(20)]
        task = asyncio.create_task(pond.fetch("slow", aloader(1, 60)))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(test)


# ---- closing ----

def test_close(cache, name):
    async def main():
        pond = millpond.aio.open(cache, namespace=name)
        await pond.fetch("k", aloader(1))
        slow = asyncio.ensure_future(pond.fetch("slow", aloader(2, 0.05)))
        await asyncio.sleep(0.01)
        await pond.close()
        assert await slow == 2, "close waits for what is under way"
        await pond.close()
        for call in (lambda: pond.fetch("k", aloader(1)), lambda: pond.lookup("k"), lambda: pond.invalidate("k")):
            with pytest.raises(millpond.ClosedError):
                await call()
        with pytest.raises(millpond.OptionError, match="timeout"):
            await pond.close(timeout="soon")

    asyncio.run(main())


def test_close_ends_what_does_not_end(cache, name):
    async def main():
        pond = millpond.aio.open(cache, namespace=name)
        ended = asyncio.Event()

        async def load():
            try:
                await asyncio.sleep(60)
            finally:
                ended.set()

        slow = [asyncio.ensure_future(pond.fetch("slow", load)) for _ in range(3)]
        await asyncio.sleep(0.02)
        began = time.monotonic()
        await pond.close(timeout=50)
        assert time.monotonic() - began < 5
        for answer in slow:
            with pytest.raises(millpond.ClosedError):
                await answer
        await asyncio.wait_for(ended.wait(), 5)

    asyncio.run(main())


def test_close_from_a_loader(cache, name):
    async def main():
        pond = millpond.aio.open(cache, namespace=name)

        async def load():
            await pond.close(timeout=10)
            return 1

        with pytest.raises((millpond.ClosedError, asyncio.CancelledError)):
            await asyncio.wait_for(pond.fetch("k", load), 10)

    asyncio.run(main())


def test_a_server_that_does_not_answer(own_redis, name):
    """Redis is stopped (SIGSTOP) under the feet of a hundred callers: the store answers, and later Redis again."""

    async def main():
        async with millpond.aio.open(own_redis.url, namespace=name, command_timeout="200ms") as pond:
            assert await pond.fetch("k", aloader(1)) == 1
            own_redis.pause()
            try:
                began = time.monotonic()
                results = await asyncio.gather(*[pond.fetch(f"k{row}", aloader(row)) for row in range(100)])
                assert results == list(range(100)) and time.monotonic() - began < 5
                with pytest.raises((millpond.CacheError, millpond.TimeoutError)):
                    await pond.fetch("k", aloader(2), when_cache_down="error")
            finally:
                own_redis.go_on()
            end = time.monotonic() + 10
            while (await asyncio.gather(pond.lookup("k"), return_exceptions=True))[0] != millpond.Entry("value", 1):
                assert time.monotonic() < end
                await asyncio.sleep(0.05)

    asyncio.run(main())


def test_a_server_that_is_gone(name):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    async def main():
        async with millpond.aio.open(f"redis://127.0.0.1:{port}", namespace=name) as pond:
            assert await asyncio.gather(*[pond.fetch("k", aloader(5, 0.01)) for _ in range(20)]) == [5] * 20
            with pytest.raises(millpond.CacheError):
                await pond.fetch("k", aloader(5), when_cache_down="error")

    asyncio.run(main())


def test_no_leak(run):
    async def test(pond):
        async def work():
            for row in range(200):
                await pond.fetch("k", aloader(1))
                await pond.lookup("k")
                await pond.fetch(f"k{row}", aloader(row), ttl="1m")
                await pond.invalidate(f"k{row}", "k")
                await asyncio.gather(pond.fetch("bad", aloader(ValueError())), return_exceptions=True)
                task = asyncio.create_task(pond.fetch("slow", aloader(1, 60)))
                await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            await asyncio.sleep(0.05)
            gc.collect()

        await work()
        before = len(gc.get_objects())
        await work()
        assert abs(len(gc.get_objects()) - before) < 300
        assert pond._queue().pending() == 0

    run(test)
