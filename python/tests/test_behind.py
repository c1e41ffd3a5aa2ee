"""Collections that are written behind: what is accepted, read, and taken to the store, on SQLite and MongoDB; by the blocking calls and
by the awaited ones."""

from __future__ import annotations

import asyncio
import datetime
import multiprocessing
import os
import sqlite3
import subprocess
import sys
import time

import pytest

import millpond
from conftest import Mode, forks_with_threads

MONGODB = os.environ.get("MILLPOND_TEST_MONGODB")


@pytest.fixture(params=["sqlite", "mongodb"])
def store(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:{tmp_path}/films.db"
    if not MONGODB:
        pytest.skip("MILLPOND_TEST_MONGODB is not set")
    return MONGODB.replace("/?", f"/millpond_behind_{os.getpid()}?")


@pytest.fixture(params=["redis", "memory"])
def place(request, tmp_path):
    """Where what was accepted waits: the cache's address, and what else its pond is opened with."""
    if request.param == "redis":
        return request.getfixturevalue("redis").url, {}
    return f"memory:{tmp_path.name}"[:60], {"journal": f"{tmp_path}/journal"}


def in_both(test):
    @pytest.mark.parametrize("asynchronous", [False, True], ids=["blocking", "asyncio"])
    def run(asynchronous, place, store, name):
        async def main():
            call = Mode(asynchronous)
            url, more = place
            pond = call.open(url, namespace=name, store=store, command_timeout="5s", **more)
            try:
                films = pond.collection(name.replace("-", "_"), write="behind")
                await call(films.prepare())
                await test(call, pond, films)
            finally:
                await call(pond.close(timeout="10s"))

        asyncio.run(main())

    run.__doc__ = test.__doc__
    return run


async def becomes(call, read, expected):
    """What read() gives is this within 10 s."""
    until = time.monotonic() + 10
    while (found := await call(read())) != expected:
        assert time.monotonic() < until, found
        await asyncio.sleep(0.01)


@in_both
async def test_what_is_accepted_is_read_and_stored(call, pond, films):
    table = pond.store(films.name)
    assert await call(films.create({"id": "1", "title": "Heat"})) == {"id": "1", "title": "Heat"}
    with pytest.raises(millpond.DuplicateError):
        await call(films.create({"id": "1"}))
    assert await call(films.update("1", {"cast": {"lead": "Pacino"}})) == {"id": "1", "title": "Heat", "cast": {"lead": "Pacino"}}
    assert await call(films.get("1")) == {"id": "1", "title": "Heat", "cast": {"lead": "Pacino"}}
    await becomes(call, lambda: table.get("1"), {"id": "1", "title": "Heat", "cast": {"lead": "Pacino"}})
    await becomes(call, lambda: films.find("title=Heat"), await call(films.find("title=Heat")))
    assert await call(films.replace("1", {"title": "Ronin"})) == {"id": "1", "title": "Ronin"}
    await call(films.delete("1"))
    assert await call(films.get("1")) is None
    with pytest.raises(millpond.Absent):
        await call(films.update("1", {"a": 1}))
    await becomes(call, lambda: table.get("1"), None)


@in_both
async def test_many_at_once(call, pond, films):
    table = pond.store(films.name)
    ids = [f"{n:04}" for n in range(300)]
    if call.asynchronous:
        await asyncio.gather(*(films.replace(id, {"n": 1}) for id in ids))
    else:
        for id in ids:
            films.replace(id, {"n": 1})
    assert len([film for film in await call(films.get_many(ids)) if film]) == 300
    for id in (ids[0], ids[-1]):
        await becomes(call, lambda: table.get(id), {"id": id, "n": 1})
    await call(films.flush(timeout="10s"))
    assert await call(table.get(ids[7])) == {"id": ids[7], "n": 1}
    stats = await call(pond.stats())
    assert [behind["problem"] is None or "append" in behind["problem"] for behind in stats["behind"].values()] == [True]


@in_both
async def test_validation_touches_nothing(call, pond, films):
    def judge(film):
        if film.get("title") == "":
            raise ValueError("a film has a title")

    judged = pond.collection(films.name, write="behind", validate=call.function(judge))
    with pytest.raises(ValueError, match="a film has a title"):
        await call(judged.replace("1", {"title": ""}))
    assert await call(films.get("1")) is None
    assert await call(judged.replace("1", {"title": "Heat"})) == {"id": "1", "title": "Heat"}


@in_both
async def test_increments(call, pond, films):
    await call(films.create({"id": "1", "title": "Heat"}))
    if call.asynchronous:
        await asyncio.gather(*(films.increment("1", "views") for _ in range(200)))
    else:
        for _ in range(200):
            films.increment("1", "views")
    await call(films.increment("1", field="likes", by=-3))
    assert await call(films.get("1")) == {"id": "1", "title": "Heat", "views": 200, "likes": -3}
    await call(films.flush(timeout="10s"))
    assert await call(pond.store(films.name).get("1")) == {"id": "1", "title": "Heat", "views": 200, "likes": -3}
    for field, by in [("a.b", 1), ("", 1), (7, 1), ("n", 1.0), ("n", True), ("n", 2**53), ("n", -(2**70))]:
        with pytest.raises(millpond.InvalidValue, match="increment"):
            await call(films.increment("1", field, by))
    await call(films.increment("none", "n"))
    await call(films.flush(timeout="10s"))
    assert await call(films.get("none")) is None
    with pytest.raises(millpond.Absent):
        await call(films.increment("none", "n"))
    assert (await call(pond.stats()))["total"]["dropped_increments"] == 1
    with pytest.raises(millpond.OptionError, match="write=behind"):
        await call(pond.collection(f"{films.name}x").increment("1", "n"))


async def all_of(call, letters):
    return [letter async for letter in letters] if call.asynchronous else list(letters)


@pytest.mark.parametrize("asynchronous", [False, True], ids=["blocking", "asyncio"])
def test_dead_letters(asynchronous, place, tmp_path, name):
    async def main():
        call = Mode(asynchronous)
        url, more = place
        pond = call.open(url, namespace=name, store=f"sqlite:{tmp_path}/films.db", **more)
        films = pond.collection("films", write="behind")
        await call(films.prepare())
        letters = films.dead_letters
        assert await all_of(call, letters) == []
        with sqlite3.connect(f"{tmp_path}/films.db", isolation_level=None) as db:
            db.execute("CREATE TRIGGER picky BEFORE INSERT ON films WHEN new.id LIKE 'bad%' BEGIN SELECT RAISE(ABORT, 'we do not want it'); END")
            before = datetime.datetime.now(datetime.timezone.utc)
            for n in range(3):
                await call(films.replace(f"bad{n}", {"n": n}))
            await call(films.replace("good", {"n": 1}))
            while (found := await call(letters.list(limit=2))).total < 3:
                assert datetime.datetime.now(datetime.timezone.utc) - before < datetime.timedelta(seconds=20)
                await asyncio.sleep(0.02)
            assert len(found) == 2 and found.next is not None
            rest = await call(letters.list(found.next))
            assert len(rest) == 1 and rest.next is None and rest.total == 3
            every = await all_of(call, letters)
            assert every == [*found, *rest]
            assert {letter.document_id: letter.document for letter in every} == {f"bad{n}": {"id": f"bad{n}", "n": n} for n in range(3)}
            first = every[0]
            assert (first.state, "we do not want it" in first.error) == ("document", True)
            assert before - datetime.timedelta(seconds=1) < first.at < datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=1)
            assert await call(letters.get(first.id)) == first
            assert await call(films.get(first.document_id)) is None
            await call(letters.drop(first.id))
            for method in (letters.drop, letters.get, letters.retry):
                with pytest.raises(millpond.Absent, match=first.id):
                    await call(method(first.id))
            db.execute("DROP TRIGGER picky")
        await call(letters.retry(every[1].id))
        assert await call(films.get(every[1].document_id)) == every[1].document
        await call(films.flush())
        assert await call(pond.store("films").get(every[1].document_id)) == every[1].document
        await call(films.replace(every[2].document_id, {"n": "newer"}))
        with pytest.raises(millpond.DuplicateError, match="newer"):
            await call(letters.retry(every[2].id))
        assert [letter.id for letter in await all_of(call, letters)] == [every[2].id]
        with pytest.raises(millpond.InvalidKey, match="not the id of a dead letter"):
            await call(letters.get("7"))
        with pytest.raises(millpond.MisuseError, match="1 to 1000"):
            await call(letters.list(limit=0))
        with pytest.raises(TypeError):
            await call(letters.get(7))
        with pytest.raises(millpond.MisuseError, match="books is not written behind"):
            await call(pond.collection("books").dead_letters.list())
        assert "films" in repr(letters)
        await call(pond.close(timeout="5s"))

    asyncio.run(main())


@pytest.mark.parametrize("asynchronous", [False, True], ids=["blocking", "asyncio"])
def test_a_full_backlog(asynchronous, place, tmp_path, name):
    async def main():
        call = Mode(asynchronous)
        url, more = place
        pond = call.open(url, namespace=name, store=f"sqlite:{tmp_path}/films.db", worker=False, **more)
        films = pond.collection("films", write="behind", backlog_max=16, backlog_full="fail")
        await call(films.prepare())
        refused = 0
        for n in range(100):
            try:
                await call(films.replace(str(n), {}))
            except millpond.OverloadError as error:
                assert "backlog_max" in str(error)
                refused += 1
        assert refused == 84
        await call(pond.close(timeout="5s"))

    asyncio.run(main())


@pytest.mark.parametrize("asynchronous", [False, True], ids=["blocking", "asyncio"])
def test_what_waits_is_seen_while_the_store_is_away(asynchronous, place, tmp_path, name):
    async def main():
        call = Mode(asynchronous)
        url, more = place
        pond = call.open(url, namespace=name, store=f"sqlite:{tmp_path}/films.db", store_timeout="100ms", command_timeout="5s", **more)
        films = pond.collection("films", write="behind")

        async def seen(check):
            until = time.monotonic() + 20
            while not check(found := (await call(pond.stats()))["behind"][f"{name}/films"]):
                assert time.monotonic() < until, found
                await asyncio.sleep(0.01)
            return found

        async def change_all():
            for n in range(40):
                await call(films.replace(str(n), {"n": n}))

        await call(films.prepare())
        await change_all()
        await call(films.flush())
        await seen(lambda found: (found["shards"], found["backlog"], found["lag_ms"]) == (4, 0, 0))
        with sqlite3.connect(f"{tmp_path}/films.db", isolation_level=None) as db:
            db.execute("BEGIN IMMEDIATE")
            await change_all()
            found = await seen(lambda found: found["problem"] is not None and "locked" in found["problem"] and found["backlog"] == 40)
            assert found["shards"] == 0 and found["lag_ms"] > 0
            await seen(lambda later: later["lag_ms"] > found["lag_ms"] + 200)
            assert f'\nmillpond_behind_backlog{{namespace="{name}",collection="films"}} 40\n' in await call(pond.metrics())
            db.execute("COMMIT")
        await call(films.flush())
        await seen(lambda found: (found["shards"], found["backlog"], found["lag_ms"]) == (4, 0, 0))
        await call(pond.close(timeout="5s"))

    asyncio.run(main())


def test_what_waits_is_seen_by_who_comes_while_the_store_is_away(redis, tmp_path, name):
    """What others have accepted on a store of another kind looks the same from a Redis."""
    with millpond.open(redis.url, namespace=name, store=f"sqlite:{tmp_path}/films.db", worker=False) as pond:
        films = pond.collection("films", write="behind")
        films.prepare()
        for n in range(40):
            films.replace(str(n), {})
    try:
        pond = millpond.open(redis.url, namespace=name, store="mongodb://127.0.0.1:1/shop?replicaSet=rs", store_timeout="100ms")
    except millpond.StoreError as error:
        pytest.skip(str(error))
    films = pond.collection("films", write="behind")
    with pytest.raises(millpond.StoreError):
        films.prepare()
    until = time.monotonic() + 20
    while (found := pond.stats()["behind"][f"{name}/films"])["backlog"] != 40 or not found["lag_ms"]:
        assert time.monotonic() < until, found
        time.sleep(0.02)
    assert found["shards"] == 0 and "MongoDB" in found["problem"]
    pond.close("100ms")


@pytest.mark.parametrize("asynchronous", [False, True], ids=["blocking", "asyncio"])
def test_an_error_says_that_nothing_was_accepted(asynchronous, own_redis, tmp_path, name):
    """Where that is certain: who repeats an increment wants to know."""

    async def main():
        call = Mode(asynchronous)
        pond = call.open(own_redis.url, namespace=name, store=f"sqlite:{tmp_path}/films.db", store_timeout="100ms", command_timeout="300ms",
                         breaker_failures=0)
        films = pond.collection("films", write="behind")
        await call(films.prepare())
        own_redis.call("DEL", "mp:f")  # another history begins, as after a start with nothing
        time.sleep(1.1)  # connections look once a second
        with sqlite3.connect(f"{tmp_path}/films.db", isolation_level=None) as db:
            db.execute("BEGIN IMMEDIATE")
            with pytest.raises(millpond.StoreError, match="^nothing was accepted: the first changes after a start of Redis need the store: ") as failed:
                await call(films.replace("1", {}))
            assert failed.value.retriable
        await call(films.create({"id": "1", "n": 1}))
        own_redis.pause()
        with pytest.raises(millpond.CacheError, match="^cache ") as failed:  # it was sent
            await call(films.increment("1", "n"))
        own_redis.stop()
        with pytest.raises(millpond.CacheError):  # on the connection that is lost, perhaps
            await call(films.increment("1", "n"))
        with pytest.raises(millpond.CacheError, match="^nothing was accepted: cache .*refused") as failed:
            await call(films.increment("1", "n"))
        assert failed.value.retriable
        with pytest.raises(millpond.CacheError, match="^nothing was accepted: cache "):
            await call(films.update("1", {"n": 2}))
        await call(pond.close(timeout="100ms"))

    asyncio.run(main())


def counts(url, store, namespace, name, times):
    with millpond.open(url, namespace=namespace, store=store, command_timeout="5s") as pond:
        films = pond.collection(name, write="behind")
        for n in range(times):
            films.update("all", {f"{os.getpid()}-{n}": 1})


@forks_with_threads
@pytest.mark.parametrize("asynchronous", [False, True], ids=["blocking", "asyncio"])
def test_a_close_keeps_its_time(asynchronous, redis, tmp_path, name):
    """Though a worker waits for a store that somebody has locked."""

    async def main():
        call = Mode(asynchronous)
        pond = call.open(redis.url, namespace=name, store=f"sqlite:{tmp_path}/films.db", store_timeout="4s")
        films = pond.collection("films", write="behind")
        await call(films.prepare())
        await call(films.replace("1", {"n": 1}))
        await call(films.flush())
        with sqlite3.connect(f"{tmp_path}/films.db", isolation_level=None) as db:
            db.execute("BEGIN IMMEDIATE")
            await call(films.replace("1", {"n": 2}))
            await asyncio.sleep(0.3)
            began = time.monotonic()
            await call(pond.close(timeout="100ms"))
            assert time.monotonic() - began < 1.5
            del films, pond
            assert time.monotonic() - began < 2
            db.execute("ROLLBACK")
        db.close()
        other = call.open(redis.url, namespace=name, store=f"sqlite:{tmp_path}/films.db")
        films = other.collection("films", write="behind")
        began = time.monotonic()
        await call(films.flush())  # it need not wait until the first one's time as a worker is over
        assert time.monotonic() - began < 8
        assert await call(other.store("films").get("1")) == {"id": "1", "n": 2}
        await call(other.close())

    asyncio.run(main())


def test_updates_of_several_processes(redis, store, name):
    table = name.replace("-", "_")
    with millpond.open(redis.url, namespace=name, store=store, command_timeout="5s") as pond:
        films = pond.collection(table, write="behind")
        films.prepare()
        films.create({"id": "all"})
        context = multiprocessing.get_context("spawn")
        processes = [context.Process(target=counts, args=(redis.url, store, name, table, 30)) for _ in range(3)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(60)
            assert process.exitcode == 0
        assert len(films.get("all")) == 1 + 90
        until = time.monotonic() + 10
        while len(pond.store(table).get("all")) != 91:
            assert time.monotonic() < until
            time.sleep(0.02)


ACCEPTS = """
import os, sys, millpond
pond = millpond.open("memory:", store=f"sqlite:{sys.argv[1]}", worker=False)
films = pond.collection("films", write="behind", ack=sys.argv[2])
films.prepare()
for n in range(100):
    films.replace(str(n), {"n": n})
    films.increment("all", "n")
print("accepted", flush=True)
os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("ack", ["memory", "fsync"])
def test_a_journal_survives_its_process(tmp_path, ack):
    file = f"{tmp_path}/films.db"
    with millpond.open("memory:", store=f"sqlite:{file}") as pond:
        pond.store("films").create()
        pond.store("films").put("all", {"n": 1})
    done = subprocess.run([sys.executable, "-c", ACCEPTS, file, ack], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.returncode) == ("accepted\n", -9), done.stderr
    with millpond.open("memory:", store=f"sqlite:{file}") as pond:
        films = pond.collection("films", write="behind")
        assert films.get("7") == {"id": "7", "n": 7}
        assert films.get("all") == {"id": "all", "n": 101}
        films.flush("20s")
        assert pond.store("films").get("99") == {"id": "99", "n": 99}
        assert pond.store("films").get("all") == {"id": "all", "n": 101}


def test_a_journal_is_of_one_process(tmp_path):
    file = f"{tmp_path}/films.db"
    with millpond.open("memory:", store=f"sqlite:{file}") as pond:
        films = pond.collection("films", write="behind")
        films.prepare()
        films.replace("1", {"n": 1})
        program = 'import sys, millpond; millpond.open("memory:", store=f"sqlite:{sys.argv[1]}").collection("films", write="behind").replace("1", {"n": 2})'
        done = subprocess.run([sys.executable, "-c", program, file], capture_output=True, text=True, timeout=60)
        assert "OptionError" in done.stderr and "open in another process" in done.stderr
        assert films.get("1") == {"id": "1", "n": 1}


def test_a_closed_pond_lets_its_journal_go(tmp_path):
    file = f"{tmp_path}/films.db"
    with millpond.open("memory:", store=f"sqlite:{file}") as pond:
        films = pond.collection("films", write="behind")
        films.prepare()
        films.replace("1", {"n": 1})
    program = 'import sys, millpond; print(millpond.open("memory:", store=f"sqlite:{sys.argv[1]}").collection("films", write="behind").get("1"))'
    done = subprocess.run([sys.executable, "-c", program, file], capture_output=True, text=True, timeout=60)
    assert done.stdout == "{'id': '1', 'n': 1}\n", done.stderr
    with pytest.raises(millpond.ClosedError):
        films.get("1")


def test_what_another_process_changed_in_between(tmp_path):
    """A named cache outlives the journal: nothing of it may be served when the journal comes back."""
    options = {"store": f"sqlite:{tmp_path}/films.db", "journal": f"{tmp_path}/journal"}
    with millpond.open("memory:between", store=f"sqlite:{tmp_path}/other.db") as keeper:
        keeper.fetch("k", lambda: 1)
        with millpond.open("memory:between", **options) as pond:
            films = pond.collection("films", write="behind")
            films.prepare()
            films.replace("1", {"n": 1})
        program = 'import sys, millpond; millpond.open("memory:", store=sys.argv[1], journal=sys.argv[2]).collection("films", write="behind").replace("1", {"n": 2})'
        done = subprocess.run([sys.executable, "-c", program, *options.values()], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        with millpond.open("memory:between", **options) as pond:
            assert pond.collection("films", write="behind").get("1") == {"id": "1", "n": 2}


def test_where_it_cannot_be():
    with millpond.open("memory:", store="sqlite::memory:") as pond:
        with pytest.raises(millpond.OptionError, match="journal="):
            pond.collection("films", write="behind")
        with pytest.raises(millpond.OptionError, match="no replicas"):
            millpond.open("memory:", store="sqlite::memory:", journal="/tmp/none").collection("films", write="behind", ack="replicas(1)")


def test_changes_are_cancelled_while_they_are_held_back(redis, tmp_path, name):
    """Behind eight calls under way changes wait; who gives up takes nobody along, whether it was sent or not."""

    async def main():
        pond = millpond.aio.open(redis.url, namespace=name, store=f"sqlite:{tmp_path}/films.db", command_timeout="5s")
        films = pond.collection("films", write="behind")
        await films.prepare()
        for i in range(40):
            await films.replace(f"w{i}", {"n": 0})  # its shards have their epochs now
        for n in range(3):
            redis.call("CLIENT", "PAUSE", "200", "ALL")
            tasks, given_up = [], set()
            for i in range(200):
                change = films.replace(f"d{i}", {"n": n}) if i % 4 else films.increment("w1", "m")
                tasks.append(asyncio.ensure_future(change))
                if i % 3 == 0:
                    await asyncio.sleep(0)
            for i in range(n, 200, 3):
                if tasks[i].cancel():
                    given_up.add(i)
                if i % 10 == 0:
                    await asyncio.sleep(0.001)
            ends = await asyncio.gather(*tasks, return_exceptions=True)
            assert len(given_up) > 30
            for i, end in enumerate(ends):
                if i in given_up:
                    assert isinstance(end, asyncio.CancelledError)
                else:
                    assert not isinstance(end, BaseException), end
                    assert i % 4 == 0 or (await films.get(f"d{i}"))["n"] == n
        redis.call("CLIENT", "PAUSE", "200", "ALL")
        last = [asyncio.ensure_future(films.replace(f"e{i}", {"n": 1})) for i in range(100)]
        await asyncio.sleep(0.01)
        await pond.close(timeout="10s")  # with all of those under way
        await asyncio.gather(*last, return_exceptions=True)

    asyncio.run(main())
