"""Loaders: their exceptions, threads, deadlocks, signals."""

from __future__ import annotations

import copy
import gc
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
import traceback
import weakref

import pytest

import millpond
from conftest import forks_with_threads


@pytest.fixture
def pond(cache, name):
    with millpond.open(cache, namespace=name) as pond:
        yield pond


class Boom(Exception):
    def __init__(self, code: int, text: str) -> None:  # a signature that no copy() could call
        super().__init__(f"{code}: {text}")
        self.value = (code, text)


def raiser(error):
    raise error


def test_an_exception_is_itself(pond):
    for _ in range(3):
        error = Boom(7, "no")
        with pytest.raises(Boom) as caught:
            pond.fetch("k", lambda: raiser(error))
        assert caught.value is error
        names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
        assert names.count("raiser") == 1, "the traceback shows the loader, once"
    assert pond.lookup("k").state == "miss"


def test_an_error_of_our_own_keeps_its_code(pond):
    with pytest.raises(millpond.StoreError) as caught:
        pond.fetch("k", lambda: raiser(millpond.StoreError("the disk is full", retriable=False)))
    assert caught.value.code == "POND_ESTORE" and caught.value.retriable is False


def crowd(count, work):
    """`count` threads behind a barrier; -> what each returned or raised."""
    barrier, results = threading.Barrier(count), [None] * count

    def run(row):
        barrier.wait()
        try:
            results[row] = work()
        except BaseException as error:
            results[row] = error

    threads = [threading.Thread(target=run, args=(row,)) for row in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    return results


def test_one_load_for_a_hundred_threads(pond, counter):
    load = counter({"n": 1})

    def slow():
        value = load()
        time.sleep(0.1)
        return value

    assert crowd(100, lambda: pond.fetch("k", slow)) == [{"n": 1}] * 100
    assert load.calls == 1


def test_one_exception_for_all_who_wait(pond):
    calls, waiting = [], threading.Semaphore(0)

    def slow():
        calls.append(1)
        while waiting.acquire(timeout=0.2):  # until nobody has come for a while
            pass
        raise Boom(1, "slow and wrong")

    def fetch():
        waiting.release()
        return pond.fetch("k", slow)

    results = crowd(20, fetch)
    assert len(calls) == 1
    assert all(result is results[0] for result in results) and isinstance(results[0], Boom)
    assert pond.fetch("k", lambda: 5) == 5


def test_exceptions_are_let_go(pond):
    class Heavy(Exception):
        pass

    def fail():
        error = Heavy()
        seen.append(weakref.ref(error))
        raise error

    seen = []
    for row in range(20):
        with pytest.raises(Heavy):
            pond.fetch("k", fail)
    pond.fetch("other", lambda: 1)
    with pytest.raises(ZeroDivisionError):
        pond.fetch("k", lambda: 1 / 0)  # whoever comes next sweeps up
    gc.collect()
    assert sum(ref() is not None for ref in seen) == 0


def test_a_loader_that_asks_for_its_own_key(pond):
    with pytest.raises(millpond.DeadlockError) as caught:
        pond.fetch("k", lambda: pond.fetch("k", lambda: 1))
    assert isinstance(caught.value, RuntimeError)
    assert pond.fetch("k", lambda: pond.fetch("inner", lambda: 1) + 1) == 2
    assert pond.fetch("inner", lambda: 0) == 1


def test_what_is_no_exception_is_for_its_caller_alone(pond):
    class Stop(BaseException):
        pass

    with pytest.raises(Stop):
        pond.fetch("k", lambda: raiser(Stop()))
    with pytest.raises(SystemExit):
        pond.fetch("k", lambda: sys.exit(3))
    assert pond.fetch("k", lambda: 1) == 1


def test_an_async_loader_is_told_where_it_belongs(pond):
    async def load():
        return 1

    with pytest.raises(millpond.InvalidValue, match="millpond.aio"):
        pond.fetch("k", load)


def test_wait_timeout(pond):
    started, go_on = threading.Event(), threading.Event()

    def slow():
        started.set()
        assert go_on.wait(10)
        return 1

    thread = threading.Thread(target=pond.fetch, args=("k", slow))
    thread.start()
    assert started.wait(10)
    with pytest.raises(millpond.TimeoutError, match="wait_timeout") as caught:
        pond.fetch("k", lambda: 2, wait_timeout=50)
    assert isinstance(caught.value, TimeoutError) and caught.value.retriable
    assert pond.fetch("k", lambda: 2, wait_timeout=50, when_wait_ends="load") == 2
    go_on.set()
    thread.join(10)
    assert pond.fetch("k", lambda: 3) == 1


def test_load_timeout(pond):
    with pytest.raises(millpond.TimeoutError, match="load_timeout"):
        pond.fetch("k", lambda: time.sleep(0.2) or 1, load_timeout=30)


def test_other_threads_run_while_one_waits(pond):
    ticks, done = [], threading.Event()

    def tick():
        while not done.is_set():
            ticks.append(1)
            time.sleep(0.005)

    thread = threading.Thread(target=tick)
    started, go_on = threading.Event(), threading.Event()
    loader = threading.Thread(target=lambda: pond.fetch("k", lambda: started.set() or go_on.wait(10) and 1))
    loader.start()
    assert started.wait(10)
    thread.start()
    with pytest.raises(millpond.TimeoutError):
        pond.fetch("k", lambda: 2, wait_timeout=150)
    done.set()
    go_on.set()
    thread.join()
    loader.join()
    assert len(ticks) > 5


def run(script: str, *args: str, **kw) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(script), *args], capture_output=True,
                          text=True, timeout=60, **kw)


@pytest.mark.parametrize("where", ["waiter", "loader"])
def test_ctrl_c(cache, where):
    script = """
        import sys, threading, time, signal, os, millpond
        pond = millpond.open(sys.argv[1], namespace="ctrl-c-" + sys.argv[2])
        started = threading.Event()
        def slow():
            started.set()
            time.sleep(20)
        def interrupt():
            started.wait()
            time.sleep(0.1)
            os.kill(os.getpid(), signal.SIGINT)
        threading.Thread(target=interrupt, daemon=True).start()
        if sys.argv[2] == "waiter":
            threading.Thread(target=pond.fetch, args=("k", slow), daemon=True).start()
            started.wait()
        began = time.monotonic()
        try:
            pond.fetch("k", slow, wait_timeout="1h")
        except KeyboardInterrupt:
            print("interrupted", time.monotonic() - began < 5)
        print(pond.fetch("other", lambda: 1))
        """
    done = run(script, cache, where)
    assert done.stdout == "interrupted True\n1\n", done.stderr


@pytest.mark.parametrize("kind", ["KeyboardInterrupt", "ValueError"])
def test_ctrl_c_at_the_end_of_a_load(cache, name, kind):
    """The handler runs when the loader's values are handed over: by then nobody is told but the caller."""
    done = run("""
        import builtins, os, signal, sys, zlib, millpond
        cache, name, kind = sys.argv[1:]
        kind = getattr(builtins, kind)
        pond = millpond.open(cache, namespace=name)
        def handler(*args):
            raise kind("mine")
        signal.signal(signal.SIGALRM, handler)
        def loader(keys):
            value = os.urandom(5_000_000)
            signal.setitimer(signal.ITIMER_REAL, 0.02)  # while the value is encoded, without a line of Python where the handler could run
            return [value]
        try:
            pond.fetch_many(["k"], loader, encode=zlib.compress, decode=zlib.decompress)
        except kind as error:
            print(error)
        print(len(pond.fetch("k", lambda: b"", encode=zlib.compress, decode=zlib.decompress)))
        """, cache, name, kind)
    assert done.stdout == "mine\n5000000\n", done.stderr


def test_a_signal_handler_may_return(cache, name):
    script = """
        import sys, threading, time, signal, os, millpond
        pond = millpond.open(sys.argv[1], namespace=sys.argv[2])
        handled = []
        signal.signal(signal.SIGUSR1, lambda *_: handled.append(1))
        started, go_on = threading.Event(), threading.Event()
        thread = threading.Thread(target=pond.fetch, args=("k", lambda: started.set() or go_on.wait(20) and 7))
        thread.start()
        started.wait()
        def later():
            os.kill(os.getpid(), signal.SIGUSR1)
            end = time.monotonic() + 10
            while not handled and time.monotonic() < end: time.sleep(0.01)
            go_on.set()
        threading.Thread(target=later).start()
        print(pond.fetch("k", lambda: 8, wait_timeout="1m"), handled)
        """
    done = run(script, cache, name)
    assert done.stdout == "7 [1]\n", done.stderr


@pytest.mark.parametrize("how", ["open", "load under way", "error kept", "aio", "aio load", "exit in loader", "thread in fetch"])
def test_exit(cache, name, how):
    """However a program ends, it ends, quietly, and with the status that it chose."""
    script = """
        import asyncio, sys, threading, time, millpond, millpond.aio
        cache, name, how = sys.argv[1:]
        pond = millpond.open(cache, namespace=name)
        apond = millpond.aio.open(cache, namespace=name)
        def forever():
            started.set()
            time.sleep(60)
        def fail():
            raise ValueError("kept")
        started = threading.Event()
        pond.fetch("a", lambda: 1)
        if how == "load under way":
            threading.Thread(target=pond.fetch, args=("k", forever), daemon=True).start()
            started.wait()
        if how == "thread in fetch":
            threading.Thread(target=pond.fetch, args=("k", forever), daemon=True).start()
            started.wait()
            threading.Thread(target=pond.fetch, args=("k", forever), daemon=True).start()
            time.sleep(0.1)
        if how == "error kept":
            try: pond.fetch("k", fail)
            except ValueError as error: kept = error
        async def aio():
            await apond.fetch("b", lambda: 1)
            if how == "aio load":
                global task
                async def slow(): started.set(); await asyncio.sleep(60)
                task = asyncio.ensure_future(apond.fetch("k", slow))
                while not started.is_set(): await asyncio.sleep(0.01)
        if how.startswith("aio"): asyncio.run(aio())
        if how == "exit in loader": pond.fetch("k", lambda: sys.exit(5))
        sys.exit(5)
        """
    done = run(script, cache, name, how)
    assert (done.returncode, done.stdout, done.stderr) == (5, "", "")


@forks_with_threads
@pytest.mark.parametrize("how", ["idle", "a load under way", "a loop"])
def test_exit_of_a_forked_child(cache, name, how, tmp_path):
    """The child leaks what it inherited: it ends at once, and the parent goes on."""
    script = """
        import asyncio, os, sys, threading, time, warnings, millpond, millpond.aio
        warnings.simplefilter("ignore")  # 3.12 warns of fork() with threads
        cache, name, how, path = sys.argv[1:]
        pond = millpond.open(cache, namespace=name, store=path)
        apond = millpond.aio.open(cache, namespace=name, store=path)
        loop = asyncio.new_event_loop()
        loop.run_until_complete(apond.fetch("b", lambda: 1))
        loop.run_until_complete(apond.store("films").create())
        pond.fetch("a", lambda: 1)
        go_on = threading.Event()
        if how == "a load under way":
            started = threading.Event()
            thread = threading.Thread(target=pond.fetch, args=("k", lambda: started.set() or go_on.wait(20) and 1))
            thread.start()
            started.wait()
        child = os.fork()
        if not child:
            if how == "a loop": loop.close()
            del pond, apond
            sys.exit(3)
        end = time.monotonic() + 10
        while time.monotonic() < end:
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid: break
            time.sleep(0.01)
        else:
            os.kill(child, 9)
            sys.exit("the child hangs")
        go_on.set()
        print(os.waitstatus_to_exitcode(status), pond.fetch("a", lambda: 2), loop.run_until_complete(apond.fetch("b", lambda: 2)))
        """
    done = run(script, cache, name, how, f"sqlite:{tmp_path}/s.db")
    assert done.stdout == "3 1 1\n", done.stderr


def test_no_leak_of_references(pond, counter):
    """Arguments, keywords, values and exceptions: what a thousand calls hold on to is nothing."""
    key, options = "".join(["some", "key"]), {"ttl": "5m", "negative_ttl": 30_000}
    load = counter({"n": 1})

    def work():
        for row in range(300):
            pond.fetch(key, load, **options)
            pond.lookup(key)
            pond.fetch(f"{key}{row}", lambda: [row], ttl=row + 1000)
            pond.invalidate(key, "other")
            pond.explain(key)
            try:
                pond.fetch("bad", lambda: {1, 2})
            except millpond.InvalidValue:
                pass

    work()
    gc.collect()
    things = [key, load, options["ttl"], millpond.NULL, Boom, *([] if sys.version_info >= (3, 12) else [None])]  # immortal from 3.12 on
    before = list(map(sys.getrefcount, things))
    objects = len(gc.get_objects())
    work()
    gc.collect()
    after = list(map(sys.getrefcount, things))
    assert all(abs(one - other) < 60 for one, other in zip(before, after)), (before, after)
    assert abs(len(gc.get_objects()) - objects) < 200


def test_null():
    null = millpond.NULL
    assert not null and repr(null) == "millpond.NULL"
    assert copy.copy(null) is copy.deepcopy(null) is pickle.loads(pickle.dumps(null)) is type(null)() is null


def test_errors_are_pickled():
    error = millpond.TimeoutError("late", retriable=False)
    other = pickle.loads(pickle.dumps(error))
    assert type(other) is millpond.TimeoutError and other.args == ("late",) and other.retriable is False
    assert str(pickle.loads(pickle.dumps(millpond.CacheError("gone")))) == "gone"


def test_the_cache_is_down(own_redis, name, counter):
    with millpond.open(own_redis.url, namespace=name, command_timeout="2s", connect_timeout="500ms") as pond:
        load = counter("value")
        assert pond.fetch("k", load) == "value"
        own_redis.stop()
        assert pond.fetch("k", load) == "value" and load.calls == 2
        with pytest.raises(millpond.CacheError) as caught:
            pond.fetch("k", load, when_cache_down="error")
        assert caught.value.retriable and caught.value.code == "POND_ECACHE"
        with pytest.raises(millpond.CacheError):
            pond.invalidate("k")


def test_signal_module_is_untouched():
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
