"""The store, past the cache."""

from __future__ import annotations

import asyncio

import pytest

import millpond
import millpond.aio

DOC = {"title": "Ä", "tags": [1, None], "nested": {"x": 1.5}}


def test_store(cache, name, tmp_path):
    with millpond.open(cache, store=f"sqlite:{tmp_path}/s.db", namespace=name) as pond:
        films = pond.store("films")
        films.create()
        films.create()
        assert films.get("0001") is None
        assert films.put("0001", DOC) is None
        assert films.get("0001") == {"id": "0001", **DOC} and list(films.get("0001"))[0] == "id"
        films.put("0002", {"id": "0002", "n": 2})
        assert films.get_many(["0002", "ghost", "0001"]) == [{"id": "0002", "n": 2}, None, {"id": "0001", **DOC}]
        assert films.get_many(id for id in ("0002",)) == [{"id": "0002", "n": 2}]
        assert films.get_many([]) == []
        assert films.delete("0001") is True and films.delete("0001") is False
        assert films.get("0001") is None
        assert pond.fetch("film:0002", lambda: films.get("0002")) == {"id": "0002", "n": 2}
        assert pond.namespace("other").store("films").get("0002") == {"id": "0002", "n": 2}
        assert repr(films) == "<millpond store 'films'>"
        bad(films)
        with pytest.raises(TypeError):
            films.get_many(5)
    with pytest.raises(millpond.ClosedError):
        films.get("0002")


def bad(films):
    for call, error in [(lambda: films.put("1", [1]), millpond.InvalidValue), (lambda: films.put("1", {"a": {1}}), millpond.InvalidValue),
                        (lambda: films.put("1", {"id": "2"}), millpond.InvalidValue), (lambda: films.get(1), TypeError), (lambda: films.put(1, {}), TypeError),
                        (lambda: films.get_many([1]), TypeError), (lambda: films.get("\udcff"), millpond.InvalidKey)]:
        with pytest.raises(error):
            call()


def test_no_store(cache, name, tmp_path):
    with millpond.open(cache, namespace=name) as pond:
        for call in (pond.store("films").create, lambda: pond.store("films").get("1"), lambda: pond.store("films").put("1", {})):
            with pytest.raises(millpond.OptionError, match="store"):
                call()
    with millpond.open(cache, namespace=name, store=f"sqlite:{tmp_path}/s.db") as pond:
        with pytest.raises(millpond.Error, match="a/b"):
            pond.store("a/b").create()
        with pytest.raises(millpond.OptionError, match="clean text"):
            pond.store("a\0b").create()
        with pytest.raises(millpond.StoreError):
            pond.store("unmade").get("1")
    with pytest.raises(millpond.Error):
        millpond.open(cache, store=f"sqlite:{tmp_path}/no/such/folder.db").store("films").create()


def test_aio(cache, name, tmp_path):
    async def main():
        async with millpond.aio.open(cache, store=f"sqlite:{tmp_path}/s.db", namespace=name) as pond:
            films = pond.store("films")
            assert await films.create() is None
            assert await films.get("0001") is None
            assert await films.put("0001", DOC) is None
            assert await films.get("0001") == {"id": "0001", **DOC}
            await asyncio.gather(*[films.put(f"{row:04}", {"n": row}) for row in range(100)])
            assert await films.get_many(f"{row:04}" for row in range(99, -1, -1)) == [{"id": f"{row:04}", "n": row} for row in range(99, -1, -1)]
            assert await films.get_many([]) == [] and await films.get_many(["ghost"]) == [None]
            assert await films.delete("0001") is True and await films.delete("0001") is False
            assert await pond.fetch("film:0002", lambda: films.get("0002")) == {"id": "0002", "n": 2}
            for call, error in [(lambda: films.put("1", [1]), millpond.InvalidValue), (lambda: films.put("1", {"id": "2"}), millpond.InvalidValue),
                                (lambda: films.get(1), TypeError), (lambda: films.get_many([1]), TypeError), (lambda: films.get_many(5), TypeError),
                                (lambda: pond.store("unmade").get("1"), millpond.StoreError), (lambda: pond.store("a\0").create(), millpond.OptionError)]:
                with pytest.raises(error):
                    await call()
            assert repr(films) == "<millpond.aio store 'films'>"
        with pytest.raises(millpond.ClosedError):
            await films.get("0002")

    asyncio.run(main())


def test_aio_outside_a_loop(cache, name, tmp_path):
    pond = millpond.aio.open(cache, store=f"sqlite:{tmp_path}/s.db", namespace=name)
    asyncio.run(pond.store("films").create())
    asyncio.run(pond.store("films").put("1", {"a": 1}))
    assert asyncio.run(pond._store_get("films", "1")) == {"id": "1", "a": 1}
    asyncio.run(pond.close())
