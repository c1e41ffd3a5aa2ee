"""Values past their time: who loads, in whose task, and what becomes of that."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time

import pytest

import millpond
import millpond.aio

SOFT = {"grace": "1h", "stale_if_error": "1h"}


@pytest.fixture
def run(cache, name):
    """run(test): test(pond) in a loop of its own, with grace."""

    def run(test, **options):
        async def main():
            async with millpond.aio.open(cache, namespace=name, **{**SOFT, **options}) as pond:
                return await asyncio.wait_for(test(pond), 60)
        return asyncio.run(main())

    return run


async def put_old(pond, key, value):
    assert await pond.fetch(key, lambda: value, ttl=40) == value
    await asyncio.sleep(0.08)


async def until(condition):
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come")


async def counted(pond, counter, number):
    for _ in range(500):
        if await pond.stat(counter) == number:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{counter} is {await pond.stat(counter)}, not {number}")


def test_the_loader_runs_behind_the_answer(run):
    async def test(pond):
        let, calls = asyncio.Event(), []

        async def load():
            calls.append(asyncio.current_task())
            await let.wait()
            return "new"

        await put_old(pond, "k", "old")
        me = asyncio.current_task()
        entry = await pond.fetch_entry("k", load)
        assert entry == millpond.Entry("value", "old", stale=True) and repr(entry) == "Entry('value', 'old', stale=True)"
        await until(lambda: calls)
        assert calls[0] is not me
        assert await asyncio.gather(*(pond.fetch("k", load) for _ in range(20))) == ["old"] * 20
        assert len(calls) == 1
        let.set()
        await until(lambda: calls[0].done())
        assert await pond.fetch_entry("k", load) == millpond.Entry("value", "new") and len(calls) == 1
    run(test)


def test_the_loader_has_the_context_of_its_caller(run):
    who = contextvars.ContextVar("who", default="nobody")

    async def test(pond):
        seen = []
        await put_old(pond, "k", "old")
        who.set("me")
        assert await pond.fetch("k", lambda: seen.append(who.get()) or "new") == "old"
        await until(lambda: seen)
        assert seen == ["me"]
    run(test)


def test_a_loader_that_fails_behind_the_answer_is_counted_and_no_more(run):
    async def test(pond):
        said = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: said.append(context))

        async def load():
            raise ValueError("the store is away")

        await put_old(pond, "k", "old")
        assert await pond.fetch("k", load) == "old"
        await counted(pond, "failed_refreshes", 1)
        assert await pond.fetch("k", load) == "old"
        assert await pond.stat("loads") == 2 and not said
    run(test)


def test_who_is_cancelled_does_not_end_a_load_behind(run):
    """A caller of the same key who waits and goes away is none of its business."""
    async def test(pond):
        let, calls = asyncio.Event(), []

        async def load():
            calls.append(1)
            await let.wait()
            return "new"

        await put_old(pond, "k", "old")
        assert await pond.fetch("k", load) == "old"
        await until(lambda: calls)
        waits = asyncio.ensure_future(pond.fetch("k", load, allow_stale=False))
        await asyncio.sleep(0.05)
        waits.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waits
        let.set()
        await counted(pond, "fills", 2)
        assert await pond.fetch("k", load) == "new" and calls == [1]
    run(test)


def test_a_pond_is_closed_while_a_load_runs_behind(cache, name):
    async def main():
        pond = millpond.aio.open(cache, namespace=name, **SOFT)
        ended = []

        async def load():
            try:
                await asyncio.sleep(30)
            finally:
                ended.append(1)

        await put_old(pond, "k", "old")
        assert await pond.fetch("k", load) == "old"
        await asyncio.sleep(0.05)
        began = time.monotonic()
        await pond.close(timeout="200ms")
        await asyncio.sleep(0)
        assert time.monotonic() - began < 5
        await until(lambda: ended)
    asyncio.run(main())


def test_a_loader_behind_may_ask_for_its_own_key(run):
    """It would be given the old value and start nothing: that is no deadlock, and said to be one all the same, as everywhere."""
    async def test(pond):
        seen = []

        async def load():
            try:
                await pond.fetch("k", load)
            except millpond.DeadlockError as error:
                seen.append(error)
            return "new"

        await put_old(pond, "k", "old")
        assert await pond.fetch("k", load) == "old"
        await until(lambda: seen)
        await counted(pond, "fills", 2)
    run(test)


def test_a_thread_loads_itself(cache, name):
    with millpond.open(cache, namespace=name, **SOFT) as pond:
        began, let, threads, others = threading.Event(), threading.Event(), [], []

        def load():
            threads.append(threading.current_thread())
            began.set()
            assert let.wait(10)
            return "new"

        assert pond.fetch("k", lambda: "old", ttl=40) == "old"
        time.sleep(0.08)
        got = []
        winner = threading.Thread(target=lambda: got.append(pond.fetch_entry("k", load)))
        winner.start()
        assert began.wait(10)
        for _ in range(5):
            others.append(pond.fetch_entry("k", load))
        assert others == [millpond.Entry("value", "old", stale=True)] * 5
        assert pond.lookup("k") == millpond.Entry("value", "old", stale=True)
        let.set()
        winner.join()
        assert got == [millpond.Entry("value", "new")] and threads == [winner]


def test_a_thread_whose_loader_fails_has_the_old_value(cache, name):
    with millpond.open(cache, namespace=name, **SOFT) as pond:
        def load():
            raise ValueError("the store is away")

        assert pond.fetch("k", lambda: "old", ttl=40) == "old"
        time.sleep(0.08)
        with pytest.raises(ValueError):
            pond.fetch("k", load, allow_stale=False)
        assert pond.fetch("k", load) == "old"
        pond.invalidate("k")
        with pytest.raises(ValueError):
            pond.fetch("k", load)


def test_an_interrupt_is_not_answered_with_an_old_value(cache, name):
    with millpond.open(cache, namespace=name, **SOFT) as pond:
        def load():
            raise KeyboardInterrupt

        assert pond.fetch("k", lambda: "old", ttl=40) == "old"
        time.sleep(0.08)
        with pytest.raises(KeyboardInterrupt):
            pond.fetch("k", load)
        assert pond.fetch("k", lambda: "new") == "new"  # nobody rests for that
