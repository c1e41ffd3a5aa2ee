"""The blocking calls."""

from __future__ import annotations

import datetime
import threading
import time

import pytest

import millpond


@pytest.fixture
def pond(cache, name):
    with millpond.open(cache, namespace=name) as pond:
        yield pond


VALUES = [
    {"id": 1, "name": "Ada", "tags": ["a", "é", "🐸"], "nested": {"none": None, "float": 1.5, "true": True}},
    [], {}, 0, -1, 2**70, 1.25, True, False, [None], "", "text é 🐸 \x00", b"", b"\x00\xff bytes", "x" * 100_000, b"y" * 300_000,
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:20])
def test_a_hit_and_a_miss_return_the_same(pond, never, value):
    loaded = pond.fetch("k", lambda: value)
    hit = pond.fetch("k", never)
    assert loaded == hit == value
    assert type(loaded) is type(hit) is type(value)
    assert pond.lookup("k") == millpond.Entry("value", value)


def test_what_json_changes_is_changed_for_the_one_who_loaded_too(pond, never):
    value = {"tuple": (1, (2,)), 1: "one", 2.5: "x", True: "yes", None: "none"}
    changed = {"tuple": [1, [2]], "1": "one", "2.5": "x", "true": "yes", "null": "none"}
    # 1 == True in Python: the dict above has one entry for both.
    changed = {"tuple": [1, [2]], "1": "yes", "2.5": "x", "null": "none"}
    assert pond.fetch("k", lambda: value) == changed
    assert pond.fetch("k", never) == changed


@pytest.mark.parametrize("value", [bytearray(b"abc"), memoryview(b"abc"), memoryview(b"aXbXcX")[::2]])
def test_buffers_are_bytes(pond, never, value):
    assert pond.fetch("k", lambda: value) == b"abc"
    assert pond.fetch("k", never) == b"abc"


def test_absent(pond, never, counter):
    load = counter(None)
    assert pond.fetch("ghost", load) is None
    assert pond.fetch("ghost", never) is None
    assert load.calls == 1
    assert pond.lookup("ghost").state == "absent" and pond.lookup("ghost").value is None
    assert pond.stat("negative_hits") >= 1


def test_absent_can_be_an_error(pond, never):
    for load in (lambda: None, never):
        with pytest.raises(millpond.Absent, match="ghost") as caught:
            pond.fetch("ghost", load, absent="raise")
        assert isinstance(caught.value, LookupError)
        assert (caught.value.code, caught.value.number, caught.value.retriable) == ("POND_EABSENT", -17, False)
    assert pond.fetch("ghost", never, absent="none") is None
    with pytest.raises(millpond.OptionError, match="absent="):
        pond.fetch("ghost", never, absent="maybe")


def test_null_is_data(pond, never, counter):
    load = counter(millpond.NULL)
    assert pond.fetch("n", load) is millpond.NULL
    assert pond.fetch("n", never) is millpond.NULL
    assert pond.fetch("n", never, absent="raise") is millpond.NULL
    assert pond.lookup("n") == millpond.Entry("value", millpond.NULL)
    assert pond.fetch("list", lambda: [None]) == [None]


def test_lookup_and_invalidate(pond, counter):
    assert pond.lookup("k") == millpond.Entry("miss")
    load = counter({"n": 1})
    for _ in range(3):
        pond.fetch("k", load)
    assert load.calls == 1
    assert pond.invalidate("k", "not there") is None
    assert pond.lookup("k").state == "miss"
    pond.fetch("k", load)
    assert load.calls == 2
    pond.invalidate()


def test_should_cache(pond, counter):
    load = counter([])
    asked = []
    for _ in range(2):
        assert pond.fetch("page", load, should_cache=lambda page: asked.append(page) or page) == []
    assert load.calls == 2 and asked == [[], []]
    load.value = [1]
    for _ in range(2):
        assert pond.fetch("page", load, should_cache=len) == [1]
    assert load.calls == 3
    with pytest.raises(ZeroDivisionError):
        pond.fetch("other", load, should_cache=lambda page: 1 / 0)
    assert pond.lookup("other").state == "miss"


def test_what_open_is_told_holds_for_all_calls(cache, name, counter, never):
    day = datetime.date(2026, 5, 9)
    with millpond.open(cache, namespace=name, encode=datetime.date.isoformat, decode=datetime.date.fromisoformat,
                       should_cache=lambda found: found != day, absent="raise", ttl="1m") as pond:
        assert pond.fetch("kept", lambda: datetime.date(1999, 1, 1)) == pond.fetch("kept", never) == datetime.date(1999, 1, 1)
        load = counter(day)
        assert pond.fetch("today", load) == pond.fetch("today", load) == day and load.calls == 2
        for _ in range(2):
            with pytest.raises(millpond.Absent, match="ghost"):
                pond.fetch("ghost", lambda: None)
        assert pond.fetch("ghost", never, absent="none") is None  # a call's own word wins
        assert pond.fetch("n", lambda: 7, encode=str, decode=int, should_cache=None) == 7
        assert pond.namespace(ttl="2m").fetch("kept", never) == datetime.date(1999, 1, 1)
        assert pond.explain("kept")["ttl_ms"] <= 60_000
    with millpond.open(cache, namespace=name, model=float, absent=None, encode=None) as pond:
        assert pond.fetch("f", lambda: 7) == 7.0 and type(pond.fetch("f", never)) is float
    for wrong in ({"encode": 5}, {"decode": "x"}, {"should_cache": 1}, {"absent": "maybe"}, {"model": float, "encode": str}):
        with pytest.raises((millpond.OptionError, TypeError)):
            millpond.open(cache, namespace=name, **wrong)


def test_should_cache_is_not_asked_about_absence(pond, never):
    assert pond.fetch("ghost", lambda: None, should_cache=never) is None
    assert pond.lookup("ghost").state == "absent"


def test_encode_and_decode(pond, never):
    day = datetime.date(2024, 2, 29)
    kw = {"encode": datetime.date.isoformat, "decode": datetime.date.fromisoformat}
    assert pond.fetch("day", lambda: day, **kw) == day
    assert pond.fetch("day", never, **kw) == day
    assert pond.fetch("day", never) == "2024-02-29"
    assert pond.lookup("day", decode=datetime.date.fromisoformat).value == day

    kw = {"encode": lambda value: bytearray(str(value), "ascii"), "decode": lambda data: int(data) + 0}
    assert pond.fetch("number", lambda: 7, **kw) == 7
    assert pond.fetch("number", never) == b"7"
    with pytest.raises(millpond.InvalidValue, match="encode= must return bytes or str"):
        pond.fetch("bad", lambda: 7, encode=lambda value: value)
    assert pond.lookup("bad").state == "miss"


def test_decode_alone_reads_the_stored_text(pond, never):
    assert pond.fetch("k", lambda: {"a": 1}, decode=lambda text: text) == '{"a":1}'
    assert pond.fetch("k", never) == {"a": 1}


def test_null_and_absent_pass_the_codec_by(pond, never):
    kw = {"encode": never, "decode": never}
    assert pond.fetch("null", lambda: millpond.NULL, **kw) is millpond.NULL
    assert pond.fetch("null", never, **kw) is millpond.NULL
    assert pond.fetch("absent", lambda: None, **kw) is None


def test_ttl(pond, counter):
    load = counter(1)
    pond.fetch("short", load, ttl=40)
    pond.fetch("long", load, ttl="1h", negative_ttl=datetime.timedelta(seconds=30))
    assert 3_000_000 < pond.explain("long")["ttl_ms"] <= 3_600_000
    assert pond.explain("short")["ttl_ms"] <= 40
    deadline = time.monotonic() + 5
    while pond.lookup("short").state != "miss":
        assert time.monotonic() < deadline, "a value of 40 ms is still there"
        time.sleep(0.01)
    assert pond.lookup("long").state == "value"


def test_explain_and_stats(pond, name):
    assert pond.explain("k")["state"] == "miss"
    pond.fetch("k", lambda: 1)
    pond.fetch("k", lambda: 1)
    assert pond.explain("k")["state"] == "value"
    stats = pond.stats()
    assert stats["namespaces"][name]["hits"] == 1
    assert pond.stat("hits") == pond.stat("hits", name) == 1
    assert pond.stat("hits", "nobody") == 0 and pond.stat("no such counter") == 0


def test_namespaces(pond, name, never):
    pond.fetch("k", lambda: "ours")
    view = pond.namespace(name + "-b", ttl="1m", absent="raise")
    assert type(view) is millpond.Pond
    assert view.lookup("k").state == "miss"
    assert view.fetch("k", lambda: "theirs") == "theirs"
    assert pond.fetch("k", never) == "ours"
    assert pond.fetch("k", never, namespace=name + "-b") == "theirs"
    assert pond.lookup("k", namespace=name + "-b").value == "theirs"
    assert view.explain("k")["ttl_ms"] <= 60_000 < pond.explain("k")["ttl_ms"]
    with pytest.raises(millpond.Absent):
        view.fetch("ghost", lambda: None)
    assert view.fetch("ghost", never, absent="none") is None
    view.invalidate("k")
    assert view.lookup("k").state == "miss" and pond.lookup("k").state == "value"
    pond.invalidate("k", namespace=name)
    assert pond.lookup("k").state == "miss"
    deeper = view.namespace(name + "-c")
    with pytest.raises(millpond.Absent):  # a view of a view keeps its defaults
        deeper.fetch("ghost", lambda: None)
    same = view.namespace(ttl="2m")
    assert same.lookup("ghost").state == "absent"
    assert repr(deeper) == f"<millpond.Pond, namespace {name + '-c'!r}>"


def test_a_view_outlives_the_pond_object(cache, name):
    view = millpond.open(cache, namespace=name).namespace("other")
    assert view.fetch("k", lambda: 1) == 1
    view.close()


def test_close(cache, name):
    pond = millpond.open(cache, namespace=name)
    view = pond.namespace(name + "b")
    pond.fetch("k", lambda: 1)
    pond.close()
    pond.close(timeout=0)
    for call in (lambda: pond.fetch("k", lambda: 1), lambda: pond.lookup("k"), lambda: view.fetch("k", lambda: 1),
                 lambda: pond.invalidate("k"), lambda: pond.explain("k")):
        with pytest.raises(millpond.ClosedError):
            call()
    for timeout in ("soon", "", "-1s", 1.5):
        with pytest.raises(millpond.OptionError, match="timeout"):
            pond.close(timeout=timeout)


def test_close_waits_for_a_load_and_a_loader_may_close(cache, name):
    pond = millpond.open(cache, namespace=name)
    started, go_on, seen = threading.Event(), threading.Event(), []

    def load():
        started.set()
        assert go_on.wait(10)
        return 1

    thread = threading.Thread(target=lambda: seen.append(pond.fetch("k", load)))
    thread.start()
    assert started.wait(10)
    closer = threading.Thread(target=pond.close)
    closer.start()
    go_on.set()
    closer.join(10)
    thread.join(10)
    assert seen == [1]

    pond = millpond.open(cache, namespace=name)
    with pytest.raises(millpond.ClosedError):
        pond.fetch("other", lambda: pond.close(timeout=0) or 1)


def test_arguments(pond, never):
    with pytest.raises(TypeError, match="fetch.*key"):
        pond.fetch()
    with pytest.raises(TypeError, match="loader"):
        pond.fetch("k")
    with pytest.raises(TypeError, match="loader is a callable"):
        pond.fetch("k", {"a": "value"})
    with pytest.raises(TypeError, match="named"):
        pond.fetch("k", never, "5m")
    with pytest.raises(TypeError, match="twice"):
        pond.fetch("k", never, key="k")
    with pytest.raises(TypeError, match="encode"):
        pond.fetch("k", never, encode="utf-8")
    with pytest.raises(TypeError, match="takes no should_cache"):
        pond.lookup("k", should_cache=len)
    with pytest.raises(TypeError, match="takes no decode"):
        pond.invalidate("k", decode=len)
    with pytest.raises(TypeError, match="takes no key"):
        pond.invalidate("k", key="x")
    with pytest.raises(TypeError, match="not both"):
        pond.fetch("k", never, model=int, decode=len)
    assert pond.fetch(key="k", loader=lambda: 1) == 1
    assert pond.fetch("k", never, ttl=None, should_cache=None, encode=None, decode=None, model=None, absent=None) == 1
    with pytest.raises(TypeError):
        millpond.Pond()


def test_keywords_that_are_no_constants_of_the_code(pond, never):
    """Names that come from a dict made at run time are other objects than the interned ones."""
    built = {"".join(["t", "tl"]): "".join(["5", "m"]), "".join(["ab", "sent"]): "".join(["ra", "ise"])}
    with pytest.raises(millpond.Absent):
        pond.fetch("ghost", lambda: None, **built)
    with pytest.raises(millpond.OptionError, match="nonsense"):
        pond.fetch("ghost", never, **{**built, "nonsense": 1})
    assert pond.fetch(**{"".join(["ke", "y"]): "k", "".join(["load", "er"]): lambda: 1}) == 1


def test_thousands_of_ttls(pond, never):
    """Policies are cached, but not without a bound."""
    pond.fetch("k", lambda: 1)
    for ttl in range(10_000, 13_000):
        assert pond.fetch("k", never, ttl=ttl) == 1


def test_the_values_of_options(name, never):
    with millpond.open(f"memory:{name}", memory_max=8 * 1024 * 1024, fence=False, ttl=datetime.timedelta(minutes=1),
                       negative_max=5, when_cache_down="error") as pond:
        pond.fetch("k", lambda: 1)
        assert 0 < pond.explain("k")["ttl_ms"] <= 60_000
        assert pond.stats()["memory"]["max_bytes"] == 8 * 1024 * 1024
        for bad, text in [({"ttl": 1.5}, "1.5s"), ({"ttl": []}, r"ttl=\[\] is a list"), ({"ttl": "10 parsecs"}, "10 parsecs"),
                          ({"ttl": True}, "ttl"), ({"tttl": "5m"}, "tttl"), ({"ttl": "5m\0"}, "clean text"), ({"ttl": "\udcff"}, "clean text"),
                          ({"memory_max": 1}, "memory_max"), ({"ttl": -1}, "-1")]:
            with pytest.raises(millpond.OptionError, match=text) as caught:
                pond.fetch("k", never, **bad)
            assert isinstance(caught.value, ValueError) and not caught.value.retriable
            with pytest.raises(millpond.OptionError, match=text):
                pond.namespace("x", **bad)
    with pytest.raises(millpond.OptionError, match="tttl"):
        millpond.open("memory:", tttl="5m")
    with pytest.raises(millpond.UrlError, match="memcached"):
        millpond.open("memcached://127.0.0.1")
    with pytest.raises(millpond.OptionError, match="clean text"):
        millpond.open("memory:\0")
    with pytest.raises(millpond.OptionError):
        millpond.open("memory:", namespace="a:b")


@pytest.mark.parametrize("key", [42, b"bytes", None, ["k"]])
def test_keys_of_another_type(pond, never, key):
    for call in (lambda: pond.fetch(key, never), lambda: pond.lookup(key), lambda: pond.explain(key), lambda: pond.invalidate("good", key)):
        with pytest.raises(TypeError, match="key"):
            call()


@pytest.mark.parametrize("key", ["", "x" * 513, "é" * 257, "a\0b", "\udcff"])
def test_bad_keys(pond, never, key):
    for call in (lambda: pond.fetch(key, never), lambda: pond.lookup(key), lambda: pond.explain(key), lambda: pond.invalidate("good", key)):
        with pytest.raises(millpond.InvalidKey) as caught:
            call()
        assert isinstance(caught.value, ValueError)


def test_memory_is_shared_by_name_within_the_process(name, never):
    with millpond.open(f"memory:{name}", namespace=name) as one, millpond.open(f"memory:{name}", namespace=name) as other:
        one.fetch("k", lambda: 1)
        assert other.fetch("k", never) == 1
