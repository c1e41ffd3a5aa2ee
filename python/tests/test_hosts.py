"""Where a pond lives: forked and spawned processes, loops that come and go, tasks that are cancelled, programs that end."""

from __future__ import annotations

import asyncio
import gc
import os
import pickle
import subprocess
import sys
import textwrap
import threading
import time

import pytest

import millpond
import millpond.aio
from conftest import forks_with_threads


def run(script: str, *args: str) -> str:
    """What a program of its own prints; it must end well, and say nothing else."""
    done = subprocess.run([sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(script), *args], capture_output=True, text=True, timeout=90)
    assert (done.returncode, done.stderr) == (0, ""), (done.returncode, done.stdout, done.stderr)
    return done.stdout


def fds() -> int:
    return len(os.listdir("/proc/self/fd"))


# ---- fork and spawn ----

@forks_with_threads
def test_os_fork_with_threads(cache, name, tmp_path):
    """Threads and a loop use the ponds while the process forks; each child uses them too, and the parent notices nothing."""
    assert run("""
        import asyncio, os, sys, threading, time, warnings, signal, millpond, millpond.aio
        warnings.simplefilter("ignore")
        cache, name, path = sys.argv[1:]
        options = dict(namespace=name, store=path, command_timeout="20s")
        pond, apond = millpond.open(cache, **options), millpond.aio.open(cache, **options)
        pond.store("films").create()
        pond.store("films").put("1", {})
        stop, errors = threading.Event(), []
        async def value(): return "v"
        def sync():
            row = 0
            while not stop.is_set():
                row += 1
                try:
                    assert pond.fetch(f"k{row % 7}", lambda: "v") == "v"
                    pond.invalidate(f"k{row % 5}")
                    pond.store("films").get("1")
                except BaseException as error: errors.append(error)
        def loops():
            async def main():
                while not stop.is_set():
                    try: assert await apond.fetch("a", value) == "v"; await apond.invalidate("a")
                    except BaseException as error: errors.append(error)
            asyncio.run(main())
        threads = [threading.Thread(target=sync) for _ in range(3)] + [threading.Thread(target=loops) for _ in range(2)]
        for thread in threads: thread.start()
        def child():
            signal.alarm(30)
            assert pond.stat("loads") == 0
            assert pond.fetch("k1", lambda: "v") == "v" and pond.fetch("own", lambda: "v") == "v"
            assert pond.store("films").get("1") == {"id": "1"}
            async def main():
                assert await apond.fetch("a", value) == "v"
                assert (await apond.store("films").get("1")) == {"id": "1"}
                await apond.close()
            asyncio.run(main())
            pond.close()
            return 0
        states = []
        for row in range(int(os.environ.get("MILLPOND_TEST_FORKS", "12"))):
            pid = os.fork()
            if not pid:
                try: code = child()
                except BaseException as error: print("in the child:", repr(error), file=sys.stderr); code = 1
                sys.stderr.flush()
                os._exit(code)
            states.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        stop.set()
        for thread in threads: thread.join()
        print(set(states), errors, pond.fetch("k1", lambda: "v"))
        """, cache, name, f"sqlite:{tmp_path}/s.db") == "{0} [] v\n"


def test_a_child_that_goes_on_with_a_loop(cache, name):
    """The loop was not running when the process forked (a daemon that was warmed up): the child's first call makes a queue anew."""
    assert run("""
        import asyncio, os, sys, signal, millpond.aio
        pond = millpond.aio.open(sys.argv[1], namespace=sys.argv[2])
        async def ask(value): return await pond.fetch(f"k{value}", lambda: value)
        loop = asyncio.new_event_loop()
        print(loop.run_until_complete(ask(1)), flush=True)
        pid = os.fork()
        if not pid:
            signal.alarm(30)
            print(asyncio.run(ask(2)), loop.run_until_complete(ask(3)), flush=True)
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        """, cache, name) == "1\n2 3\n0\n"


@pytest.mark.parametrize("how", [pytest.param("fork", marks=forks_with_threads), "spawn"])
def test_multiprocessing(cache, name, how, tmp_path):
    script = tmp_path / "program.py"
    script.write_text(textwrap.dedent("""
        import asyncio, multiprocessing, sys, millpond, millpond.aio
        cache, name, how = sys.argv[1:]
        pond = millpond.open(cache, namespace=name, command_timeout="20s")
        apond = millpond.aio.open(cache, namespace=name, command_timeout="20s")

        def work(row):
            return pond.fetch(f"k{row % 5}", lambda: row % 5), asyncio.run(apond.fetch(f"k{row % 5}", lambda: row % 5))

        if __name__ == "__main__":
            assert work(0) == (0, 0)
            with multiprocessing.get_context(how).Pool(4) as pool:
                assert pool.map(work, range(40)) == [(row % 5, row % 5) for row in range(40)]
            assert work(1) == (1, 1)
            print("well")
        """))
    done = subprocess.run([sys.executable, str(script), cache, name, how], capture_output=True, text=True, timeout=90)
    assert (done.returncode, done.stdout) == (0, "well\n"), done.stderr


def test_a_pond_is_not_pickled(cache, name):
    for pond in (millpond.open(cache, namespace=name), millpond.aio.open(cache, namespace=name)):
        with pytest.raises(TypeError, match="a pond is not pickled: open it in each process"):
            pickle.dumps(pond)


def test_ponds_that_were_never_opened():
    """A subclass whose __init__ does not call its base's."""
    for kind in (millpond.Pond, millpond.aio.Pond):
        pond = type("Mine", (kind,), {"__init__": lambda self: None})()
        calls = (
            lambda: pond.fetch("k", lambda: 1), lambda: pond.lookup("k"), lambda: pond.invalidate("k"), lambda: pond.explain("k"),
            lambda: pond.namespace("n"), lambda: pond.fetch_many(["k"], lambda keys: [1]), lambda: pond.set_many({"k": 1}),
            lambda: pond.write("k", lambda: 1), lambda: pond.collection("films"), lambda: pond.store("films").get("1"),
            lambda: pond.processes(), lambda: pond.stats(), lambda: pond.close(), lambda: repr(pond), lambda: pond._engine,
        )

        async def call(one):
            result = one()
            return await result if hasattr(result, "__await__") else result

        for one in calls:
            with pytest.raises(TypeError):
                asyncio.run(call(one))


def test_subinterpreters_are_refused():
    interpreters = pytest.importorskip("_xxsubinterpreters")
    one = interpreters.create()
    try:
        with pytest.raises(Exception, match="millpond works in the main interpreter only|does not support loading in subinterpreters"):
            interpreters.run_string(one, "import millpond")
    finally:
        interpreters.destroy(one)


# ---- loops ----

def test_a_loop_per_test(cache, name):
    """As pytest-asyncio has it: hundreds of loops, closed without a word to the pond, and the collector does not come by."""
    pond = millpond.aio.open(cache, namespace=name)

    async def main(row):
        assert await pond.fetch(f"k{row % 9}", lambda: row % 9) == row % 9
        if row % 3 == 0:
            asyncio.ensure_future(pond.fetch("slow", lambda: asyncio.sleep(60)))  # still under way when the loop is closed
            await asyncio.sleep(0)

    asyncio.run(main(1))
    gc.collect()
    gc.disable()
    try:
        before = fds()
        for row in range(300):
            asyncio.run(main(row))
        left = fds() - before
    finally:
        gc.enable()
    assert left < 10, f"{left} descriptors of closed loops"
    asyncio.run(pond.close())


def test_a_loop_per_thread(cache, name):
    """Loops are closed while those of other threads look for closed ones."""
    assert run("""
        import asyncio, sys, threading, time, millpond.aio
        cache, name = sys.argv[1:]
        sys.setswitchinterval(1e-6)
        pond = millpond.aio.open(cache, namespace=name)
        until, ended = time.monotonic() + 3, []
        async def main(i):
            async def load():
                await asyncio.sleep(0)
                return i
            return await asyncio.gather(*(pond.fetch(f"{i} {row}", load) for row in range(3)))
        def run(thread):
            for i in range(thread, 10**9, 12):
                if time.monotonic() > until: break
                assert asyncio.run(main(i)) == [i] * 3
            ended.append(thread)
        threads = [threading.Thread(target=run, args=(row,)) for row in range(12)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        print(len(ended))
    """, cache, name) == "12\n"


def test_open_close_cycles(cache, name, capsys):
    """A thousand ponds are opened, used and closed, or dropped: nothing is left of them."""

    def rss():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def blocking(row):
        pond = millpond.open(cache, namespace=name, memory_max="1MiB")
        assert pond.fetch(f"k{row % 10}", lambda: row % 10) == row % 10
        if row % 2:
            pond.close()

    async def awaited(row):
        pond = millpond.aio.open(cache, namespace=name, memory_max="1MiB")
        assert await pond.fetch(f"k{row % 10}", lambda: row % 10) == row % 10
        if row % 4 == 0:
            asyncio.ensure_future(pond.fetch(f"slow{row}", lambda: asyncio.sleep(60)))
            await asyncio.sleep(0)
        if row % 2:
            await pond.close(timeout=0)

    def cycles(count):
        for row in range(count):
            if row % 2:
                blocking(row // 2)
            else:
                asyncio.run(awaited(row // 2))
        gc.collect()

    cycles(200)
    end = time.monotonic() + 10
    before = fds(), len(os.listdir("/proc/self/task")), rss()
    cycles(1000)
    after = fds(), len(os.listdir("/proc/self/task")), rss()
    while after[1] > before[1] and time.monotonic() < end:
        time.sleep(0.01)
        after = fds(), len(os.listdir("/proc/self/task")), rss()
    with capsys.disabled():
        print(f"\n1,000 ponds on {cache.partition(':')[0]}: descriptors {before[0]} -> {after[0]}, threads {before[1]} -> {after[1]}, "
              f"memory {before[2] / 2**20:.1f} -> {after[2] / 2**20:.1f} MiB")
    assert after[0] <= before[0] + 2 and after[1] <= before[1]
    if not os.environ.get("MILLPOND_SANITIZED"):
        assert after[2] - before[2] < 8 << 20


# ---- cancelling ----

def test_two_hundred_tasks_cancelled_in_mid_load(cache, name):
    async def main():
        async with millpond.aio.open(cache, namespace=name) as pond:
            began, ended = [], []

            async def load():
                began.append(1)
                try:
                    await asyncio.sleep(60)
                finally:
                    ended.append(1)

            for _ in range(3):
                tasks = [asyncio.create_task(pond.fetch(f"k{row}", load)) for row in range(100)]
                tasks += [asyncio.create_task(pond.fetch("one", load)) for _ in range(100)]
                while len(began) < 101:
                    await asyncio.sleep(0.01)
                for task in tasks:
                    task.cancel()
                results = await asyncio.gather(*tasks, return_exceptions=True)
                assert all(isinstance(result, asyncio.CancelledError) for result in results)
                while len(ended) < 101:
                    await asyncio.sleep(0.01)
                assert (len(began), len(ended)) == (101, 101)
                began.clear()
                ended.clear()
            assert pond._queue().pending() == 0
            assert await asyncio.gather(*[pond.fetch(f"k{row}", lambda: 1) for row in range(100)], pond.fetch("one", lambda: 1)) == [1] * 101
            assert (await pond.stats())["calls"] == 0

    asyncio.run(asyncio.wait_for(main(), 60))


def test_deadlines_of_others(cache, name):
    """asyncio.timeout and anyio cancel a waiter; who else waits gets the load's value."""
    anyio = pytest.importorskip("anyio")

    async def main():
        async with millpond.aio.open(cache, namespace=name) as pond:
            loads = []

            async def load():
                loads.append(1)
                await asyncio.sleep(0.3)
                return "v"

            patient = asyncio.create_task(pond.fetch("k", load))
            await asyncio.sleep(0.05)
            with anyio.move_on_after(0.05) as scope:
                await pond.fetch("k", load)
            assert scope.cancelled_caught
            if sys.version_info >= (3, 11):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.05):
                        await pond.fetch("k", load)
            assert await patient == "v" and loads == [1]

    asyncio.run(asyncio.wait_for(main(), 60))


# ---- signals and ends ----

@pytest.mark.parametrize("where", ["waiter", "follower", "close"])
def test_ctrl_c_is_prompt(cache, name, where):
    """KeyboardInterrupt ends a wait in the main thread within a moment, and the pond is as good as before."""
    took, rest = run("""
        import sys, threading, time, signal, os, millpond
        cache, name, where = sys.argv[1:]
        pond = millpond.open(cache, namespace=name)
        started, go_on, sent = threading.Event(), threading.Event(), []
        def slow():
            started.set()
            go_on.wait(60)
            return 7
        loader = threading.Thread(target=pond.fetch, args=("k", slow))
        loader.start()
        started.wait()
        if where == "follower":
            threading.Thread(target=pond.fetch, args=("k", slow), daemon=True).start()
            time.sleep(0.1)
        def interrupt():
            time.sleep(0.3)
            sent.append(time.monotonic())
            os.kill(os.getpid(), signal.SIGINT)
        threading.Thread(target=interrupt).start()
        try:
            if where == "close": pond.close(timeout="1h")
            else: pond.fetch("k", slow, wait_timeout="1h")
        except KeyboardInterrupt:
            print(time.monotonic() - sent[0], end=" ")
        go_on.set()
        loader.join()
        if where == "close": print(pond.close())
        else: print(pond.fetch("k", lambda: 8), pond.stats()["calls"])
        """, cache, name, where).split(maxsplit=1)
    assert rest == ("None\n" if where == "close" else "7 0\n")
    assert float(took) < 1.0, "the check is due every 100 ms"


@pytest.mark.parametrize("how", ["a daemon waits", "an executor loads", "tasks are pending", "atexit uses it", "os._exit", "a lease is renewed"])
def test_a_program_ends(cache, name, how):
    """With work pending: at once, with its own status, and quietly."""
    done = subprocess.run([sys.executable, "-X", "faulthandler", "-c", textwrap.dedent("""
        import asyncio, atexit, concurrent.futures, os, sys, threading, time, millpond, millpond.aio
        cache, name, how = sys.argv[1:]
        pond = millpond.open(cache, namespace=name, lease="60ms")
        apond = millpond.aio.open(cache, namespace=name)
        started = threading.Event()
        def slow(seconds=60):
            started.set()
            time.sleep(seconds)
            return 1
        if how in ("a daemon waits", "os._exit"):
            for _ in range(3): threading.Thread(target=pond.fetch, args=("k", slow), daemon=True).start()
            started.wait()
            time.sleep(0.1)
        if how == "an executor loads":
            concurrent.futures.ThreadPoolExecutor().submit(pond.fetch, "k", lambda: slow(0.3))
            started.wait()
        if how == "a lease is renewed":
            threading.Thread(target=pond.fetch, args=("k", slow), daemon=True).start()
            time.sleep(0.3)
        if how == "atexit uses it":
            atexit.register(lambda: print(pond.fetch("k", lambda: "last"), asyncio.run(apond.fetch("l", lambda: "word"))))
        if how == "tasks are pending":
            async def main():
                global kept
                kept = [asyncio.ensure_future(apond.fetch(f"k{row}", lambda: asyncio.sleep(60))) for row in range(20)]
                await asyncio.sleep(0.05)
                sys.exit(5)
            loop = asyncio.new_event_loop()
            loop.set_exception_handler(lambda *_: None)
            try: loop.run_until_complete(main())
            except SystemExit: pass
            for task in kept: task._log_destroy_pending = False
        if how == "os._exit": os._exit(5)
        sys.exit(5)
        """), cache, name, how], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (5, "last word\n" if how == "atexit uses it" else "", "")


def test_collected_in_any_order(cache, name):
    """Ponds, views, answers, loads, tasks and loops in one heap of garbage."""

    async def main():
        pond = millpond.aio.open(cache, namespace=name)
        view = pond.namespace(name + "v")
        answers = [view.fetch(f"k{row}", lambda: asyncio.sleep(60)) for row in range(10)]
        await asyncio.sleep(0.01)
        ring = [pond, view, answers, asyncio.get_running_loop()]
        ring.append(ring)
        tasks = [asyncio.ensure_future(answer) for answer in answers[:5]]
        ring.append(tasks)
        for task in tasks:
            task.cancel()

    for _ in range(20):
        asyncio.run(main())
        gc.collect()
    before = threading.active_count(), fds()
    for _ in range(20):
        asyncio.run(main())
        gc.collect()
    assert (threading.active_count(), fds()) <= (before[0], before[1] + 2)
