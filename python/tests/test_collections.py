"""Collections: the shared vectors of queries, what find() takes, documents, pages through the cache, hostile queries."""

from __future__ import annotations

import asyncio
import collections
import datetime
import decimal
import json
import os
import pathlib
import sqlite3
import threading
import time
import types
import urllib.parse
import uuid

import pytest

import millpond
import millpond.aio

TREE = pathlib.Path(__file__).resolve().parents[2]
CANONICAL = json.loads((TREE / "tests/spec/canonical.json").read_text())
FIND = json.loads((TREE / "tests/spec/find.json").read_text())
UTC = datetime.timezone.utc


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory):
    """A store with the collections of find.json."""
    path = tmp_path_factory.mktemp("catalogue") / "films.db"
    films = json.loads((TREE / "examples/demo/data/movies.json").read_text())
    with millpond.open("memory:catalogue", store=f"sqlite:{path}") as pond:
        for name in ("films", "nasty"):
            pond.store(name).create()
    with sqlite3.connect(path) as db:
        db.executemany("INSERT INTO films(id, doc, ver) VALUES (?, ?, 1)",
                       [(f"{row:04}", json.dumps(film, ensure_ascii=False, separators=(",", ":"))) for row, film in enumerate(films)])
        rows = [(doc["id"], {name: value for name, value in doc.items() if name != "id"}) for doc in FIND["collections"]["nasty"]["docs"]]
        db.executemany("INSERT INTO nasty(id, doc, ver) VALUES (?, ?, 1)",
                       [(id, json.dumps(doc, ensure_ascii=False, separators=(",", ":"))) for id, doc in rows])
    db.close()
    return f"sqlite:{path}"


@pytest.fixture(scope="module")
def mongodb():
    """The same in a database of our own, where there is a MongoDB to test with (tests/servers/mongodb_server.py)."""
    address = os.environ.get("MILLPOND_TEST_MONGODB")  # mongodb://host:port/?replicaSet=...
    if not address:
        pytest.skip("MILLPOND_TEST_MONGODB is not set")
    address = address.replace("/?", f"/millpond_python_{os.getpid()}?")
    films = json.loads((TREE / "examples/demo/data/movies.json").read_text())
    nasty = [(doc["id"], {name: value for name, value in doc.items() if name != "id"}) for doc in FIND["collections"]["nasty"]["docs"]]

    async def fill():
        async with millpond.aio.open(f"memory:mongodb-{os.getpid()}", store=address) as pond:
            for name, rows in (("films", [(f"{row:04}", film) for row, film in enumerate(films)]), ("nasty", nasty)):
                collection = pond.store(name)
                await collection.create()
                for first in range(0, len(rows), 200):
                    await asyncio.gather(*(collection.put(*row) for row in rows[first:first + 200]))

    asyncio.run(fill())
    return address


@pytest.fixture(params=["sqlite", "mongodb"])
def store(request):
    return request.getfixturevalue("catalogue" if request.param == "sqlite" else "mongodb")


@pytest.fixture
def pond(cache, name, catalogue):
    with millpond.open(cache, namespace=name, store=catalogue) as pond:
        yield pond


@pytest.fixture
def local(name, tmp_path):
    """A pond over an empty store of its own."""
    with millpond.open(f"memory:{name}", namespace=name, store=f"sqlite:{tmp_path}/own.db") as pond:
        yield pond


def refused(call, *arguments):
    with pytest.raises(millpond.InvalidQuery) as caught:
        call(*arguments)
    assert isinstance(caught.value, (millpond.Error, ValueError)) and str(caught.value) and not caught.value.retriable
    return caught.value.reason


# ---- the shared vectors ----


def test_canonical(local):
    films = local.collection("films", **CANONICAL["config"])
    films.prepare()
    assert len(CANONICAL["vectors"]) == 195
    keys = []
    for vector in CANONICAL["vectors"]:
        if "error" in vector:
            assert refused(films.explain, vector["in"]) == vector["error"] == refused(films.find, vector["in"]), vector
            keys.append(None)
            continue
        said = films.explain(vector["in"])
        assert (said["canonical"], said["key"]) == (vector["canonical"], vector["sha256"]), vector
        assert "same_as" not in vector or keys[vector["same_as"]] == said["key"]
        keys.append(said["key"])


def test_canonical_awaited(name, catalogue):
    async def main():
        async with millpond.aio.open(f"memory:{name}", namespace=name, store=catalogue) as pond:
            films = pond.collection("films", **CANONICAL["config"])
            answers = await asyncio.gather(*(films.explain(vector["in"]) for vector in CANONICAL["vectors"]), return_exceptions=True)
            for vector, answer in zip(CANONICAL["vectors"], answers, strict=True):
                if "error" in vector:
                    assert isinstance(answer, millpond.InvalidQuery) and answer.reason == vector["error"], vector
                else:
                    assert (answer["canonical"], answer["key"]) == (vector["canonical"], vector["sha256"]), vector

    asyncio.run(main())


def plain(value):
    """The expected documents of the vectors, as Python has them."""
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    if isinstance(value, dict):
        if value.keys() == {"$date"}:
            return datetime.datetime.fromtimestamp(0, UTC) + datetime.timedelta(milliseconds=int(value["$date"]["$numberLong"]))
        return {name: plain(inner) for name, inner in value.items()}
    return value


def check_page(vector, page):
    assert [doc["id"] for doc in page] == vector["ids"], vector
    assert (page.total, page.page, page.pages) == (vector["total"], vector["page"], vector["pages"]), vector
    if "data" in vector:
        assert page.data == plain(vector["data"]), vector


def test_find(cache, name, store):
    assert len(FIND["vectors"]) == 118
    with millpond.open(cache, namespace=name, store=store) as pond:
        seen = {name: pond.collection(name) for name in ("films", "nasty")}
        for turn in range(2):  # loaded, and then cached
            for vector in FIND["vectors"]:
                collection = seen[vector["collection"]]
                if "error" in vector:
                    assert refused(collection.find, vector["query"]) == vector["error"], vector
                else:
                    check_page(vector, collection.find(vector["query"]))


def test_find_awaited(cache, name, store):
    async def main():
        async with millpond.aio.open(cache, namespace=name, store=store) as pond:
            seen = {name: pond.collection(name) for name in ("films", "nasty")}
            for turn in range(2):
                pages = await asyncio.gather(*(seen[vector["collection"]].find(vector["query"]) for vector in FIND["vectors"]), return_exceptions=True)
                for vector, page in zip(FIND["vectors"], pages, strict=True):
                    if "error" in vector:
                        assert isinstance(page, millpond.InvalidQuery) and page.reason == vector["error"], vector
                    else:
                        assert isinstance(page, millpond.Page), page
                        check_page(vector, page)

    asyncio.run(main())


# ---- what find() takes ----

TEXT = "genre=Drama&genre=Comedy&rating%5Bgte%5D=7&year[in]=1999,2000&sort=-rating&limit=5"
WANTED = ('q1{"filter":{"genre":{"in":["Comedy","Drama"]},"rating":{"gte":7},"year":{"in":[1999,2000]}},'
          '"limit":5,"page":1,"sort":["-rating","id"]}')


def frameworks():
    import django.conf
    import httpx
    import multidict
    import starlette.datastructures
    import werkzeug.datastructures
    from django.http import QueryDict

    if not django.conf.settings.configured:
        django.conf.settings.configure()
    pairs = urllib.parse.parse_qsl(TEXT)
    yield starlette.datastructures.QueryParams(TEXT)
    yield werkzeug.datastructures.MultiDict(pairs)
    yield werkzeug.datastructures.ImmutableMultiDict(pairs)
    yield werkzeug.datastructures.MultiDict(pairs).to_dict(flat=False)
    yield QueryDict(TEXT)
    yield multidict.MultiDict(pairs)
    yield multidict.MultiDictProxy(multidict.MultiDict(pairs))
    yield httpx.QueryParams(TEXT)


def forms():
    yield from (TEXT, "?" + TEXT, TEXT.encode(), bytearray(TEXT.encode()), type("Text", (str,), {})(TEXT))
    typed = {"genre": ["Drama", "Comedy"], "rating": {"gte": 7}, "year": {"in": [1999, 2000]}, "sort": "-rating", "limit": 5}
    yield from (typed, types.MappingProxyType(typed), collections.OrderedDict(typed), collections.ChainMap(typed))
    yield {"genre": ("Drama", "Comedy"), "rating[gte]": decimal.Decimal("7.0"), "year": {"in": {1999, 2000}}, "sort": ["-rating"], "limit": "5"}
    yield {"genre": frozenset(["Drama", "Comedy"]), "rating": types.MappingProxyType({"gte": 7.0}), "year[in]": "1999,2000", "sort": "-rating", "limit": 5}
    pairs = urllib.parse.parse_qsl(TEXT)
    yield from (pairs, tuple(pairs), list(map(list, pairs)), iter(pairs), urllib.parse.parse_qs(TEXT))
    yield dict(typed).items()
    yield from frameworks()


def test_forms(local):
    films = local.collection("films")
    films.prepare()
    for query in forms():
        assert films.explain(query)["canonical"] == WANTED, type(query)
    for query in (None, "", "?", b"", {}, {}.items(), iter(())):
        assert films.explain(query)["canonical"] == 'q1{"limit":20,"page":1,"sort":["id"]}' == films.explain()["canonical"], type(query)
    assert films.explain(query="a=1") == films.explain("a=1")


def test_values(local):
    films = local.collection("films")
    films.prepare()

    def reading(value):
        return json.loads(films.explain({"x": value})["canonical"][2:]).get("filter", {}).get("x", {}).get("eq")

    instant = datetime.datetime(2020, 1, 1, 12, 0, 0, 999_999, UTC)
    for value, wanted in [(10, 10), (10.0, 10), (1.5, 1.5), (True, True), (None, None), ("10", 10), ("Ä\"\\", "Ä\"\\"), (2**63 - 1, 2**63 - 1),
                          (9007199254740993, 9007199254740993), (instant, "2020-01-01T12:00:00.999Z"),
                          (instant.astimezone(datetime.timezone(datetime.timedelta(hours=-5))), "2020-01-01T12:00:00.999Z"),
                          (datetime.datetime(1, 1, 1, tzinfo=UTC), "0001-01-01T00:00:00.000Z"),
                          (decimal.Decimal("0.1"), 0.1), (decimal.Decimal("9007199254740993"), 9007199254740993), (decimal.Decimal("1E+2"), 100),
                          (uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"), (b"shoes", "shoes")]:
        assert reading(value) == wanted and type(reading(value)) is type(wanted), value
    # a datetime is the text of its instant, in every place
    assert films.explain({"x": {"gte": instant, "lt": instant}})["key"] == films.explain("x[gte]=2020-01-01T12:00:00.999Z&x[lt]=2020-01-01T12:00:00.999Z")["key"]
    assert films.explain({"x": {"in": [instant]}})["key"] == films.explain({"x": instant})["key"]


def test_bad_values(local):
    films = local.collection("films")
    with pytest.raises(millpond.InvalidQuery, match=r"^x\[gte\]: .*time zone") as caught:
        films.find({"x": {"gte": datetime.datetime(2020, 1, 1)}})
    assert caught.value.reason == "bad_value"
    with pytest.raises(millpond.InvalidQuery, match=r"^y\[in\]: .*complex"):
        films.find({"x": 1, "y": {"in": [1, 2j]}})
    far = datetime.datetime.min.replace(tzinfo=datetime.timezone(datetime.timedelta(hours=5)))
    for query, reason in [({"x": datetime.date(2020, 1, 1)}, "bad_value"), ({"x": far}, "bad_value"), ({"x": float("nan")}, "bad_number"),
                          ({"x": {"lt": float("-inf")}}, "bad_number"), ({"x": decimal.Decimal("sNaN")}, "bad_number"),
                          ({"x": decimal.Decimal("1e999999")}, "bad_number"), ({b"x": 1}, "bad_field"), ({(1, 2): 1}, "bad_field"),
                          ({"x": {2: 1}}, "bad_operator"), ({"x": {None: 1}}, "bad_operator"), ([], "bad_value"), ([1, 2], "bad_value"), ([["a", 1, 2]], "bad_value"),
                          (5, "bad_value"), (True, "bad_value"), ({"x": object()}, "bad_value"), ([([], 1)], "bad_field")]:
        assert refused(films.find, query) == reason, query
    for nothing in (object(), int, urllib.parse.urlsplit("http://x/?a=1").geturl, lambda: 1):
        with pytest.raises(TypeError, match="a query is a str"):
            films.find(nothing)
    for call in (lambda: films.find("a", "b"), lambda: films.find("a", query="b"), lambda: films.find(q="a"), lambda: films.explain(page=2)):
        with pytest.raises(TypeError):
            call()


class Inherited:
    where = {"x": 1}


def test_own_members_only(local):
    class Odd(dict):
        hidden = 1

    films, odd = local.collection("films"), Odd(a=1)
    films.prepare()
    odd.b = 2
    assert films.explain(odd)["canonical"] == films.explain("a=1")["canonical"]
    with pytest.raises(TypeError):
        films.explain(Inherited())


# ---- hostile queries ----


def nested(depth, wrap):
    value = 1
    for _ in range(depth):
        value = wrap(value)
    return value


def hostile():
    circle = {}
    circle["a"] = circle
    yield "&".join(f"f{n}=1" for n in range(10_000)), "too_long"
    yield {f"f{n}": n for n in range(10_000)}, "too_long"
    yield [(f"f{n}", "1") for n in range(10_000)], "too_long"
    yield "a" + "[a]" * 1000 + "=1", "bad_operator"
    for depth in (50, 900, 1000, 100_000):
        yield nested(depth, lambda value: {"a": value}), "bad_operator"
        yield {"a": nested(depth, lambda value: [value])}, ("bad_value", "bad_operator")
    yield circle, "bad_operator"
    yield "a=\ud800", "bad_encoding"
    yield {"a": "\udcff"}, "bad_encoding"
    yield {"\udcff": 1}, "bad_encoding"
    yield {"a": b"\xff"}, "bad_encoding"
    yield b"a=\xff", "bad_encoding"
    yield "a=%ff", "bad_encoding"
    yield "a=%zz", "bad_encoding"
    yield "a=%00", "bad_encoding"
    yield {"a": "\0"}, "bad_encoding"
    yield "a[gt]=" + "9" * 400, "bad_number"
    yield {"a": 10**400}, "bad_number"
    yield {"a": 10**100_000}, "too_long"
    yield {"a": 10**5000}, "too_long"
    yield "price[$where]=1", "bad_operator"
    yield {"$where": "1"}, "bad_field"
    yield {"a": {"$gt": 1}}, "bad_operator"
    yield "limit=1000000000", "bad_page"
    yield "page=99999999999999999999", "bad_page"
    yield {"a": "x" * 1_000_000}, "too_long"
    yield "_mpv=1", "bad_field"


def test_hostile(local):
    films = local.collection("films")
    films.prepare()
    for query, reason in hostile():
        began = time.perf_counter()
        found = refused(films.find, query)
        assert found in reason if isinstance(reason, tuple) else found == reason, (str(type(query)), reason)
        assert time.perf_counter() - began < 0.5, reason
    assert local.stat("loads") == 0, "nothing was asked of the store"
    # what is odd but has a meaning has just that
    for query in ("title=.*", "title=' OR 1=1 --", "search=.*%25_&search_in=title", {"a": "$gt"}, {"o'b`c;--": '"'}, "a=" + "9" * 400):
        assert films.find(query).total == 0


def test_hostile_awaited(name, catalogue):
    async def main():
        async with millpond.aio.open(f"memory:{name}", namespace=name, store=catalogue) as pond:
            films = pond.collection("films")
            for query, reason in hostile():
                with pytest.raises(millpond.InvalidQuery) as caught:
                    await films.find(query)
                assert caught.value.reason in reason

    asyncio.run(main())


# ---- documents ----


def test_documents(pond, cache, name, catalogue):
    films = pond.collection("films")
    first = films.get("0000")
    assert list(first)[0] == "id" and first["Title"] == "The Land Girls" and films.get(id="0000") == first
    assert films.get("ghost") is None and films.get("ghost", absent="none") is None and films.get("ghost", absent=None) is None
    with pytest.raises(millpond.Absent, match="ghost"):
        films.get("ghost", absent="raise")
    assert films.get_many(["0002", "ghost", "0000", "0002"])[1:3] == [None, first]
    assert [doc and doc["id"] for doc in films.get_many(iter(["0002", "ghost", "0002"]))] == ["0002", None, "0002"]
    assert films.get_many([]) == []
    assert films.invalidate() is None and films.invalidate("0000", "ghost") is None
    assert films.get("0000") == first
    view = pond.namespace(absent="raise").collection("films")
    with pytest.raises(millpond.Absent):
        view.get("ghost")
    assert view.get("ghost", absent="none") is None
    strict = pond.collection("films", absent="raise", ttl="1m")
    with pytest.raises(millpond.Absent):
        strict.get("ghost")
    assert strict.get("ghost", absent="none") is None and strict.get("0000") == first
    assert pond.collection("films", absent=None).get("ghost") is None
    with pytest.raises(millpond.OptionError, match="absent"):
        pond.collection("films", absent="maybe")
    with millpond.open(cache, namespace=name, store=catalogue, absent="raise") as firm:
        with pytest.raises(millpond.Absent):
            firm.collection("films").get("ghost")
    for call, error in [(lambda: films.get(1), TypeError), (lambda: films.get(), TypeError), (lambda: films.get("1", "2"), TypeError),
                        (lambda: films.get("\udcff"), millpond.InvalidKey), (lambda: films.get("x" * 600), millpond.InvalidKey),
                        (lambda: films.get("1", absent="maybe"), millpond.OptionError), (lambda: films.get("1", ttl="1m"), TypeError),
                        (lambda: films.get("1", id="1"), TypeError), (lambda: films.get_many(5), TypeError), (lambda: films.get_many([5]), TypeError),
                        (lambda: films.get_many(), TypeError), (lambda: films.invalidate(5), TypeError), (lambda: films.prepare(1), TypeError)]:
        with pytest.raises(error):
            call()


def test_documents_awaited(cache, name, catalogue):
    async def main():
        async with millpond.aio.open(cache, namespace=name, store=catalogue) as pond:
            films = pond.collection("films")
            assert await films.prepare() is None
            first = await films.get("0000")
            assert first["Title"] == "The Land Girls" and first == await films.get("0000")
            assert await films.get("ghost") is None
            for _ in range(2):
                with pytest.raises(millpond.Absent, match="ghost"):
                    await films.get("ghost", absent="raise")
            assert await films.get_many(iter(["ghost", "0000"])) == [None, first]
            assert await films.get_many([]) == []
            assert await films.invalidate("0000") is None
            with pytest.raises(millpond.InvalidKey):
                await films.get("x" * 600)
            answers = await asyncio.gather(*(films.get(f"{n:04}") for n in range(200)))
            assert [doc["id"] for doc in answers] == [f"{n:04}" for n in range(200)]
            task = asyncio.create_task(films.find("Title=300"))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert (await films.find("Title=300")).total == 1
        with pytest.raises(millpond.ClosedError):
            await films.find("Title=301")

    asyncio.run(main())


def test_outside_a_loop(cache, name, catalogue):
    """As all calls of millpond.aio: a coroutine, where no loop runs yet."""
    pond = millpond.aio.open(cache, namespace=name, store=catalogue)
    films = pond.collection("films")
    many = films.get_many(id for id in ("0001", "ghost"))  # used up now, asked later
    calls = [films.get("0001"), films.find({"limit": 1}), films.explain("limit=1"), films.invalidate("0001"), films.prepare(), many]

    async def main():
        return [await call for call in calls]

    document, page, said, invalidated, prepared, both = asyncio.run(main())
    assert document["id"] == "0001" and page.total > 3000 and said["key"] and invalidated is prepared is None
    assert both == [document, None]


def test_dates(local):
    docs, store = local.collection("docs"), local.store("docs")
    docs.prepare()
    instant = datetime.datetime(2020, 2, 29, 23, 59, 59, 123_000, UTC)
    store.put("a", {"when": instant, "list": [{"at": instant.astimezone(datetime.timezone(datetime.timedelta(hours=9)))}], "old": datetime.datetime(1, 1, 1, tzinfo=UTC)})
    store.put("b", {"when": datetime.datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC)})
    odd = {"far": {"$date": {"$numberLong": "253402300800000"}}, "below": {"$date": {"$numberLong": "-62135596800001"}},
           "huge": {"$date": {"$numberLong": "9223372036854775807"}}, "oid": {"$oid": "507f1f77bcf86cd799439011"}, "text": "\"$date\"",
           "decimal": {"$numberDecimal": "0.10"}, "binary": {"$binary": {"base64": "AA==", "subType": "00"}}}
    store.put("c", odd)
    for found in (docs.get("a"), store.get("a"), docs.get_many(["a"])[0], docs.find("id=a").data[0], store.get_many(["a"])[0]):
        assert found == {"id": "a", "when": instant, "list": [{"at": instant}], "old": datetime.datetime(1, 1, 1, tzinfo=UTC)}
        assert found["when"].tzinfo is UTC
    assert docs.get("b")["when"] == datetime.datetime(1969, 12, 31, 23, 59, 59, 999_000, UTC), "milliseconds are kept, rounded down"
    assert docs.get("c") == {"id": "c", **odd}, "what Python has no word for is left as it is"
    assert [doc["id"] for doc in docs.find({"when": instant})] == ["a"] == [doc["id"] for doc in docs.find({"when": {"gte": instant}})]
    # others write the name of the member with an escape
    with sqlite3.connect(local_path(local)) as db:
        db.execute("INSERT INTO docs(id, doc, ver) VALUES ('d', ?, 1)", [r'{"when":{"\u0024date":{"$numberLong":"0"}}}'])
    assert docs.get("d")["when"] == datetime.datetime.fromtimestamp(0, UTC)
    for doc, error in [({"when": datetime.datetime(2020, 1, 1)}, "when: a datetime without a time zone"), ({"x": [datetime.date(2020, 1, 1)]}, r"x\[0\]: date is not JSON"),
                       ({"when": instant, "x": {1}}, "x: set")]:
        with pytest.raises(millpond.InvalidValue, match=error):
            store.put("e", doc)
    with pytest.raises(millpond.InvalidValue, match="when: datetime"):
        local.fetch("k", lambda: {"when": instant})
    assert local.fetch("k", lambda: odd)["far"] == odd["far"] and local.fetch("l", lambda: {"$date": {"$numberLong": "0"}}) == {"$date": {"$numberLong": "0"}}


def test_mongodb_kinds(name, mongodb):
    """What is plain here, and what stays Extended JSON."""
    with millpond.open(f"memory:{name}", namespace=name, store=mongodb) as pond:
        kinds = pond.collection("kinds", indexes=["at", "-n"])
        kinds.prepare()
        instant = datetime.datetime(2020, 1, 1, tzinfo=UTC)
        document = {"n": 1, "half": 0.5, "whole": 5.0, "big": 2**53 + 1, "text": "ü", "none": None, "yes": True, "list": [1, "a", {"at": instant}], "at": instant,
                    "own": {"$oid": "507f1f77bcf86cd799439011"}, "price": {"$numberDecimal": "0.10"}, "far": {"$date": {"$numberLong": "9000000000000000"}},
                    "bytes": {"$binary": {"base64": "AAE=", "subType": "00"}}}
        id = "507f1f77bcf86cd799439012"
        pond.store("kinds").put(id, document)
        for found in (kinds.get(id), pond.store("kinds").get(id), kinds.get_many([id])[0], kinds.find({"at": instant}).data[0],
                      kinds.find({"list.at": {"lte": instant}}).data[0], kinds.find(f"id={id}&own=507f1f77bcf86cd799439011").data[0]):
            assert found == {"id": id, **document} and type(found["whole"]) is float and type(found["n"]) is int
        assert kinds.explain("at[gt]=2019-01-01&sort=at")["index"]
        with pytest.raises(millpond.InvalidValue):
            pond.store("kinds").put("2", {"own": {"$oid": "no"}})
        assert pond.store("kinds").delete(id) is True


def local_path(pond):
    """The file of `local`'s store."""
    return pond_files[pond._namespace]


pond_files: dict[str, pathlib.Path] = {}


@pytest.fixture(autouse=True)
def remember(name, tmp_path):
    pond_files[name] = tmp_path / "own.db"
    yield
    del pond_files[name]


# ---- pages ----


def test_page(pond):
    films = pond.collection("films", default_limit=3)
    page = films.find()
    assert isinstance(page, millpond.Page) and len(page) == 3 == page.limit and page.page == 1 and list(page) == page.data
    assert page.pages == -(-page.total // 3) and bool(page) and repr(page).startswith("Page(data=[{'id': '0000'")
    assert page == films.find("page=1") and page != films.find("page=2")
    past = films.find({"page": 9999})
    assert not past and past.total == page.total and past.data == []
    assert films.find({"Title": "no such"}) == millpond.Page([], 0, 1, 0, 3)


def change(pond, id, doc):
    pond.store("docs").put(id, doc)


def test_pages_are_cached(local):
    docs = local.collection("docs", negative_ttl="1m")
    docs.prepare()
    assert docs.find("n=1").data == []
    change(local, "a", {"n": 1, "text": "red"})
    assert docs.find("n=1").data, "an empty page is not cached by default..."
    change(local, "a", {"n": 1, "text": "blue"})
    assert docs.find({"n": "1"}).data[0]["text"] == "red" == docs.find("n=1&limit=20&sort=id").data[0]["text"], "...another is, under one key"
    empty = local.collection("docs", cache_empty=True)
    assert empty.find("n=2").total == 0
    change(local, "b", {"n": 2})
    assert empty.find("n=2").total == 0
    said = docs.explain("n=1")
    assert said["cached"]["state"] == "value" and 539_000 < said["cached"]["ttl_ms"] <= 600_000 and said["namespace"] == f"{local._namespace}/docs?"
    docs.find("search=blue&search_in=text")
    assert 3_239_000 < docs.explain("search=blue&search_in=text")["cached"]["ttl_ms"] <= 3_600_000
    short = local.namespace("short").collection("docs", find_ttl="1m", search_ttl=datetime.timedelta(seconds=30), ttl=500)
    short.find("n=1"), short.find("search=blue&search_in=text")
    assert short.explain("n=1")["cached"]["ttl_ms"] <= 60_000 and short.explain("search=blue&search_in=text")["cached"]["ttl_ms"] <= 30_000
    assert short.explain("n=1")["namespace"] == "short/docs?"


def test_the_total_of_an_empty_page_is_not_cached(local):
    docs = local.collection("docs")
    docs.prepare()
    assert docs.find("n=1").total == 0
    change(local, "a", {"n": 1})
    assert docs.find("n=1").total == 1


def test_one_load_for_a_page(cache, name, catalogue):
    """However many ask, in threads and in tasks."""
    query = {"Major Genre": "Drama", "sort": "-IMDB Rating", "search": "the", "search_in": "Title"}
    with millpond.open(cache, namespace=name, store=catalogue) as pond:
        films = pond.collection("films")
        barrier, pages = threading.Barrier(16), []

        def ask():
            barrier.wait()
            pages.append(films.find(query))

        threads = [threading.Thread(target=ask) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(pages) == 16 and all(page == pages[0] for page in pages) and pages[0].total > 100
        assert pond.stat("loads", f"{name}/films?") == 1

    async def main():
        async with millpond.aio.open(cache, namespace=name + "a", store=catalogue) as pond:
            films = pond.collection("films")
            pages = await asyncio.gather(*(films.find(query) for _ in range(500)))
            assert all(page == pages[0] for page in pages) and pages[0].total > 100
            assert await pond.stat("loads", f"{name}a/films?") == 1
            await films.find({**query, "page": 2})
            assert await pond.stat("loads", f"{name}a/films?") == 2 and await pond.stat("loads", f"{name}a/films?total") == 1, "the total is shared"

    asyncio.run(main())


def test_hits_keep_the_gil_moving(name, catalogue):
    """A cached page is answered without giving the GIL away: another thread that computes does not slow it by switch intervals."""
    with millpond.open(f"memory:{name}", namespace=name, store=catalogue) as pond:
        films = pond.collection("films")
        films.find("limit=1")
        stop = threading.Event()

        def spin():
            while not stop.is_set():
                sum(range(1000))

        thread = threading.Thread(target=spin)
        thread.start()
        try:
            began = time.perf_counter()
            for _ in range(1000):
                films.find("limit=1")
            took = time.perf_counter() - began
        finally:
            stop.set()
            thread.join()
        assert took < 1, f"{took:.2f} s: given away in every call it is 1,000 switch intervals of 5 ms"


# ---- options ----


def test_bounds(local):
    films = local.collection("films", filterable=["genre", "rating"], sortable=("rating",), searchable=["title"], max_limit=50, default_limit="10")
    films.prepare()
    assert films.explain("genre=Drama&sort=-rating&search=red")["canonical"].count('"limit":10')
    for query, reason in [("year=1999", "bad_field"), ("sort=genre", "bad_field"), ("search=x&search_in=genre", "bad_field"), ("limit=51", "bad_page")]:
        assert refused(films.find, query) == reason
    text = local.collection("films", filterable="genre, rating", sortable="*")
    text.explain("genre=1&rating=2&sort=anything")
    none = local.collection("films", filterable=[], sortable=(), searchable=[], indexes=[])
    none.prepare()
    for query in ("genre=Drama", "sort=rating", "search=x&search_in=title"):
        assert refused(none.find, query) == "bad_field", query
    everything = local.collection("films", filterable=None, searchable="*", search_fields=["title", "director"])
    assert '"in":["director","title"]' in everything.explain("genre=Drama&sort=x&search=red")["canonical"]
    no_default = local.collection("films", searchable=["title"], search_fields=[])
    assert refused(no_default.find, "search=red") == "bad_field"
    no_default.explain("search=red&search_in=title")
    for options, error in [({"filterable": ["a,b"]}, "a,b"), ({"filterable": [""]}, "name of a field"), ({"sortable": [1]}, "1"), ({"indexes": 5}, "indexes"),
                           ({"filterable": ["$x"]}, r"\$x"), ({"max_limit": 0}, "max_limit"), ({"max_limit": 10, "default_limit": 11}, "default_limit"),
                           ({"searchable": ["id"]}, "id"), ({"find_ttl": "soon"}, "soon"), ({"tttl": "5m"}, "ttl"), ({"cache": "memory:"}, "cache"),
                           ({"filterable": ["a\0b"]}, "clean text"), ({"loader": 1}, "loader")]:
        with pytest.raises(millpond.OptionError, match=error):
            local.collection("films", **options)
    with pytest.raises(TypeError):
        local.collection(5)
    with pytest.raises(millpond.Error):
        local.collection("a/b")
    with millpond.open("memory:", namespace="nostore") as pond, pytest.raises(millpond.OptionError, match="store"):
        pond.collection("films")


def test_indexes(local):
    docs = local.collection("docs", indexes=["n", "-year"])
    docs.prepare()
    docs.prepare()
    for n in range(5):
        local.store("docs").put(str(n), {"n": n, "year": 2000 + n})
    assert docs.explain({"n": {"gte": 3}, "sort": "n"})["index"]
    assert docs.explain({"other": 3})["index"] is None
    assert [doc["n"] for doc in docs.find({"n": {"gte": 3}, "sort": "n"})] == [3, 4]
    assert [doc["n"] for doc in docs.find({"sort": "-year", "limit": 2})] == [4, 3]


def test_a_view_gives_its_options(local):
    view = local.namespace("shop", ttl="7s").namespace(negative_ttl="3s", when_wait_ends="load")
    docs = view.collection("docs")
    docs.prepare()
    local.store("docs").put("a", {"n": 1})
    docs.get("a"), docs.get("ghost")
    assert docs.explain()["namespace"] == "shop/docs?"
    assert local.stat("loads", "shop/docs") == 2


# ---- life ----


def test_life(name, catalogue):
    pond = millpond.open(f"memory:{name}", namespace=name, store=catalogue)
    films = pond.collection("films", indexes=None)
    assert repr(films) == "<millpond.Collection 'films'>" and films.name == "films" and type(films).__module__ == "millpond"
    del pond
    assert films.find("limit=1").data[0]["id"] == "0000", "a collection keeps its pond open"
    del films
    pond = millpond.open(f"memory:{name}", namespace=name, store=catalogue)
    films = pond.collection("films")
    pond.close()
    for call in (films.prepare, lambda: films.get("1"), lambda: films.find("a=1"), lambda: films.explain("a=1"), lambda: films.get_many(["1"]), lambda: films.invalidate("1")):
        with pytest.raises(millpond.ClosedError):
            call()
    with pytest.raises(TypeError, match="made once"):
        films.__init__(pond, "films")
    blank = millpond.Collection.__new__(millpond.Collection)
    for call in (blank.prepare, lambda: blank.get("1"), blank.find, blank.explain, lambda: blank.get_many([]), blank.invalidate):
        with pytest.raises(TypeError, match="was not made"):
            call()
    with pytest.raises(TypeError):
        millpond.Collection(5, "films")


def test_a_store_that_fails(local):
    docs = local.collection("docs")
    for call in (lambda: docs.find(), lambda: docs.get("1"), lambda: docs.get_many(["1", "2"])):
        with pytest.raises(millpond.StoreError):  # there is no table: prepare() makes it
            call()
    docs.prepare()
    assert docs.find().total == 0 and docs.get("1") is None, "no failure was cached"
