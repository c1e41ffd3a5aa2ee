"""create, replace, update and delete: the store and the cache, what is refused, validations, and several writers; by the blocking
calls and by the awaited ones."""

from __future__ import annotations

import asyncio
import datetime
import inspect
import os
import sqlite3
import threading

import pytest

import millpond
import millpond.aio
from conftest import Mode

HEAT = {"title": "Heat", "year": 1995}


def in_both(test):
    @pytest.mark.parametrize("asynchronous", [False, True], ids=["blocking", "asyncio"])
    def run(asynchronous, cache, name, tmp_path, caplog):
        async def main():
            call = Mode(asynchronous)
            pond = call.open(cache, namespace=name, store=f"sqlite:{tmp_path}/films.db")
            try:
                await call(pond.collection("films").prepare())
                await call(pond.store("films").put("1", HEAT))
                await (test(call, pond, caplog) if "caplog" in inspect.signature(test).parameters else test(call, pond))
            finally:
                await call(pond.close(timeout="5s"))

        asyncio.run(main())

    run.__doc__ = test.__doc__
    return run


async def loads(call, pond):
    return await call(pond.stat("loads"))


@in_both
async def test_the_store_and_the_cache(call, pond):
    films = pond.collection("films")
    assert (await call(films.get("1")))["year"] == 1995
    before = await loads(call, pond)
    assert await call(films.replace("1", {"title": "Heat", "year": 1996})) == {"id": "1", "title": "Heat", "year": 1996}
    assert await call(films.update("1", {"year": None, "cast": {"lead": "Pacino"}})) == {"id": "1", "title": "Heat", "cast": {"lead": "Pacino"}}
    assert await call(films.create({"id": "2", "title": "Ronin"})) == {"id": "2", "title": "Ronin"}
    assert await call(films.get("1")) == {"id": "1", "title": "Heat", "cast": {"lead": "Pacino"}}
    assert await call(films.get("2")) == {"id": "2", "title": "Ronin"}
    assert await call(films.delete("2")) is None
    assert await call(films.get("2")) is None
    assert await loads(call, pond) == before  # all of it was cached by the writes
    assert await call(pond.store("films").get("1")) == {"id": "1", "title": "Heat", "cast": {"lead": "Pacino"}}
    assert await call(pond.store("films").get("2")) is None


@in_both
async def test_aside(call, pond):
    films = pond.collection("films", write="aside")
    await call(films.get("1"))
    before = await loads(call, pond)
    await call(films.update("1", {"year": 1996}))
    assert (await call(films.get("1")))["year"] == 1996
    assert await loads(call, pond) == before + 1
    with pytest.raises(millpond.OptionError, match="write"):
        pond.collection("films", write="sideways")


@in_both
async def test_every_page_goes(call, pond):
    films = pond.collection("films")
    assert (await call(films.find("sort=title"))).total == 1
    await call(films.create({"id": "2", "title": "Ronin"}))
    assert (await call(films.find("sort=title"))).total == 2
    await call(films.update("2", {"title": "Alien"}))
    assert (await call(films.find("sort=title"))).data[0]["title"] == "Alien"
    await call(films.delete("2"))
    assert (await call(films.find("sort=title"))).total == 1


@in_both
async def test_what_is_refused(call, pond):
    films = pond.collection("films")
    for change in (lambda: films.replace("9", {}), lambda: films.update("9", {}), lambda: films.delete("9")):
        with pytest.raises(millpond.Absent, match='films "9"') as raised:
            await call(change())
        assert isinstance(raised.value, LookupError)
    with pytest.raises(millpond.DuplicateError, match='films "1"'):
        await call(films.create({"id": "1"}))
    with pytest.raises(millpond.InvalidValue, match="id"):
        await call(films.replace("1", {"id": "2"}))
    with pytest.raises(millpond.InvalidValue, match="id"):
        await call(films.create({"id": 7}))
    with pytest.raises(millpond.InvalidValue, match="a document is a dict"):
        await call(films.create(["no"]))
    with pytest.raises(millpond.InvalidValue, match="when"):
        await call(films.update("1", {"when": object()}))
    with pytest.raises(millpond.InvalidKey):
        await call(films.delete(""))
    with pytest.raises(TypeError):
        await call(films.delete(7))
    assert await call(films.get("1")) == {"id": "1", **HEAT}


@in_both
async def test_ids_are_made(call, pond):
    films = pond.collection("films")
    made = await call(films.create({"title": "Tenet"}))
    assert len(made["id"]) == 24
    assert int(made["id"][:8], 16) == pytest.approx(datetime.datetime.now().timestamp(), abs=100)
    assert await call(films.get(made["id"])) == made
    assert (await call(films.create({"title": "Tenet"})))["id"] != made["id"]


@in_both
async def test_a_validation_sees_the_whole_document(call, pond):
    seen = []

    def validate(document):
        seen.append(document)
        if "year" not in document:
            raise ValueError("a year is missing")
        return document["year"] > 1900

    films = pond.collection("films", validate=call.function(validate))
    await call(films.get("1"))
    page = await call(films.find())
    before = await loads(call, pond)
    with pytest.raises(ValueError, match="a year is missing"):
        await call(films.update("1", {"year": None}))
    assert seen == [{"id": "1", "title": "Heat"}]
    with pytest.raises(millpond.ValidationError, match="validate"):
        await call(films.replace("1", {"year": 1}))
    with pytest.raises(millpond.ValidationError):
        await call(films.create({"id": "2", "year": 1}))
    assert await call(films.get("1")) == {"id": "1", **HEAT}
    assert (await call(films.find())).data == page.data
    assert await loads(call, pond) == before  # neither store nor cache was touched
    assert await call(pond.store("films").get("2")) is None
    assert (await call(films.update("1", {"year": 1996})))["year"] == 1996
    assert seen[-1] == {"id": "1", "title": "Heat", "year": 1996}
    count = len(seen)
    await call(films.delete("1"))  # nothing to be judged
    assert len(seen) == count
    with pytest.raises(millpond.OptionError, match="validate"):
        pond.collection("films", validate=7)


@in_both
async def test_on_change(call, pond, caplog):
    told = []

    def listen(event):
        told.append(event)
        if event["event"] == "deleted":
            raise ValueError("nobody is to be told")

    films = pond.collection("films", on_change=call.function(listen))
    made = await call(films.create({"id": "2", "title": "Ronin"}))
    await call(films.update("2", {"year": 1998}))
    await call(films.delete("2"))
    with pytest.raises(millpond.Absent):
        await call(films.delete("2"))
    assert told == [
        {"event": "created", "collection": "films", "id": "2", "document": made},
        {"event": "updated", "collection": "films", "id": "2", "document": {**made, "year": 1998}},
        {"event": "deleted", "collection": "films", "id": "2", "document": None},
    ]
    assert "nobody is to be told" in caplog.text
    with pytest.raises(millpond.OptionError, match="on_change"):
        pond.collection("films", on_change=7)


@in_both
async def test_an_update_that_was_overtaken_is_judged_anew(call, pond):
    others, seen = pond.collection("films"), []

    if call.asynchronous:
        async def validate(document):
            seen.append(document)
            if len(seen) == 1:
                await others.update("1", {"other": True})
    else:
        def validate(document):
            seen.append(document)
            if len(seen) == 1:
                others.update("1", {"other": True})

    films = pond.collection("films", validate=validate)
    made = await call(films.update("1", {"year": 1996}))
    assert made == {"id": "1", "title": "Heat", "year": 1996, "other": True}
    assert seen == [{"id": "1", "title": "Heat", "year": 1996}, made]
    assert await call(films.get("1")) == made


@in_both
async def test_dates_and_large_integers(call, pond):
    films = pond.collection("films")
    when = datetime.datetime(2020, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)
    made = await call(films.create({"id": "d", "when": when, "n": 2**62}))
    assert made == {"id": "d", "when": when, "n": 2**62}
    assert await call(films.get("d")) == made
    await call(films.update("d", {"n": 2**53 + 1}))
    assert (await call(films.get("d")))["n"] == 2**53 + 1


def test_an_async_validation_of_a_blocking_pond(name, tmp_path):
    async def validate(document):
        raise AssertionError("never awaited")

    with millpond.open(f"memory:{name}", store=f"sqlite:{tmp_path}/films.db") as pond:
        films = pond.collection("films", validate=validate)
        films.prepare()
        with pytest.raises(TypeError, match="async"):
            films.create({"id": "1"})
        with pytest.raises(TypeError, match="async"):
            pond.collection("films", on_change=validate)
        assert pond.store("films").get("1") is None


def test_no_update_is_lost(cache, name, tmp_path):
    with millpond.open(cache, namespace=name, store=f"sqlite:{tmp_path}/films.db") as pond:
        films = pond.collection("films", validate=lambda document: None)
        films.prepare()
        films.create({"id": "1"})
        errors = []

        def patch(me):
            try:
                for i in range(1, 31):
                    films.update("1", {f"n{me}": i})
            except BaseException as error:  # noqa: BLE001
                errors.append(error)

        threads = [threading.Thread(target=patch, args=(me,)) for me in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        expected = {"id": "1", **{f"n{me}": 30 for me in range(4)}}
        assert films.get("1") == pond.store("films").get("1")
        assert films.get("1") == expected


def test_no_update_is_lost_awaited(cache, name, tmp_path):
    async def main():
        async with millpond.aio.open(cache, namespace=name, store=f"sqlite:{tmp_path}/films.db") as pond:
            films = pond.collection("films")
            await films.prepare()
            await films.create({"id": "1"})

            async def patch(me):
                for i in range(1, 21):
                    await films.update("1", {f"n{me}": i})

            await asyncio.gather(*(patch(me) for me in range(8)))
            assert await films.get("1") == {"id": "1", **{f"n{me}": 20 for me in range(8)}}
            assert await films.get("1") == await pond.store("films").get("1")

    asyncio.run(main())


def test_who_is_cancelled_while_it_is_judged_writes_nothing(cache, name, tmp_path):
    async def main():
        began, go = asyncio.Event(), asyncio.Event()

        async def validate(document):
            began.set()
            await go.wait()

        async with millpond.aio.open(cache, namespace=name, store=f"sqlite:{tmp_path}/films.db") as pond:
            films = pond.collection("films", validate=validate)
            await films.prepare()
            await pond.store("films").put("1", HEAT)
            task = asyncio.create_task(films.update("1", {"year": 1}))
            await began.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            go.set()
            assert await films.get("1") == {"id": "1", **HEAT}
            # many, at any moment: each is there or not, and the cache says what the store says
            for i in range(50):
                task = asyncio.create_task(pond.collection("films").update("1", {"year": i}))
                for _ in range(i % 10):
                    await asyncio.sleep(0)
                if i % 3 == 0:
                    await asyncio.sleep(i / 20000)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            await asyncio.sleep(0.05)
            assert await films.get("1") == await pond.store("films").get("1")

    asyncio.run(main())


@pytest.mark.skipif("MILLPOND_TEST_MONGODB" not in os.environ, reason="MILLPOND_TEST_MONGODB is not set")
@pytest.mark.parametrize("asynchronous", [False, True], ids=["blocking", "asyncio"])
def test_mongodb(asynchronous, cache, name):
    address = os.environ["MILLPOND_TEST_MONGODB"].replace("/?", f"/millpond_changes_{os.getpid()}?")

    async def main():
        call = Mode(asynchronous)
        pond = call.open(cache, namespace=name, store=address)
        try:
            films = pond.collection(name.replace("-", "_"))
            await call(films.prepare())
            made = await call(films.create({"title": "Heat", "cast": ["Pacino"]}))
            assert len(made["id"]) == 24
            assert (await call(films.find())).data == [made]
            with pytest.raises(millpond.DuplicateError):
                await call(films.create(made))
            assert await call(films.update(made["id"], {"cast": None, "year": 1995})) == {"id": made["id"], "title": "Heat", "year": 1995}
            assert await call(films.get(made["id"])) == {"id": made["id"], "title": "Heat", "year": 1995}
            assert (await call(films.find("year=1995"))).total == 1
            await call(films.delete(made["id"]))
            assert await call(films.get(made["id"])) is None
            with pytest.raises(millpond.Absent):
                await call(films.update(made["id"], {}))
        finally:
            await call(pond.close(timeout="5s"))

    asyncio.run(main())


def test_what_others_wrote_meanwhile_is_seen(name, tmp_path):
    """A program that is no user of the library writes the file: an update is one of what stands there."""
    path = tmp_path / "films.db"
    with millpond.open(f"memory:{name}", store=f"sqlite:{path}") as pond:
        films = pond.collection("films")
        films.prepare()
        films.create({"id": "1", "a": 1})
        with sqlite3.connect(path) as db:
            db.execute("UPDATE films SET doc = '{\"a\":2,\"b\":2}' WHERE id = '1'")
        db.close()
        assert films.update("1", {"c": 3}) == {"id": "1", "a": 2, "b": 2, "c": 3}
