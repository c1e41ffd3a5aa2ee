"""What cannot be stored is named by its path; model= gives types back."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import json
import pathlib
import subprocess
import sys
import textwrap
import typing
import uuid

import pydantic
import pytest

import millpond
from millpond import _models

NOW = datetime.datetime(2024, 2, 29, 12, 30, tzinfo=datetime.timezone.utc)


@pytest.fixture
def pond(cache, name):
    with millpond.open(cache, namespace=name) as pond:
        yield pond


class Thing:
    pass


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


circular: dict = {"a": 1}
circular["self"] = circular
deep: list = []
for _ in range(100_000):
    deep = [deep]


@pytest.mark.parametrize("value, says", [
    ({"user": {"id": 1, "created": NOW}}, "user.created: datetime"),
    ({"users": [{"id": 1}, {"id": 2, "created": NOW}]}, "users[1].created: datetime"),
    ([1, [2, {3}]], "[1][1]: set"),
    (NOW, "the value: datetime"),
    ({"a": b"x"}, "a: bytes"),
    ({"a": {"b": float("nan")}}, "a.b: nan"),
    ([float("-inf")], "[0]: -inf"),
    (float("inf"), "the value: inf"),
    ({"a": {(1, 2): 3}}, "a: a tuple as the key of a dict"),
    ({(1, 2): 3}, "the value: a tuple as the key of a dict"),
    ({"user": {"name": "abc\udcff"}}, "user.name: a text with a lone surrogate"),
    ({"user": {"abc\udcff": 1}}, "a text with a lone surrogate"),
    ("abc\udcff", "lone surrogate"),
    ({"price": decimal.Decimal("1.5")}, "price: Decimal"),
    ({"thing": Thing()}, "thing: test_values.Thing"),
    ({"p": Point(1)}, "p: the dataclass test_values.Point"),
    ({"u": uuid.UUID(int=1)}, "u: UUID"),
    ((n for n in range(3)), "generator"),
    (len, "builtin_function_or_method"),
    ({1: {2: {3: object()}}}, "1.2.3: object"),
    ({"a": 1j}, "a: complex"),
    (circular, "refers to itself"),
    (deep, "nested too deeply"),
], ids=lambda value: value if isinstance(value, str) else "")
def test_the_path_of_what_is_no_json(pond, value, says):
    with pytest.raises(millpond.InvalidValue) as caught:
        pond.fetch("k", lambda: value)
    assert says in str(caught.value), str(caught.value)
    assert caught.value.code == "POND_EVALUE" and isinstance(caught.value, ValueError)
    assert pond.lookup("k").state == "miss"


def test_over_max_value(cache, name, never):
    with millpond.open(cache, namespace=name, max_value="4KiB") as pond:
        assert pond.fetch("fits", lambda: "x" * 4096) == "x" * 4096
        for value in ("x" * 4097, ["x" * 4094]):
            with pytest.raises(millpond.InvalidValue, match="max_value"):
                pond.fetch("k", lambda: value)
        assert pond.lookup("k").state == "miss"


def test_what_json_takes_as_it_is(pond, never):
    class Text(str):
        pass

    class Color(str, enum.Enum):
        RED = "red"

    class Number(enum.IntEnum):
        ONE = 1

    Pair = collections.namedtuple("Pair", "a b")
    for value, back in [(Text("x"), "x"), (Color.RED, "red"), ({"c": Color.RED}, {"c": "red"}), (Number.ONE, 1), (Pair(1, "b"), [1, "b"]),
                        (collections.OrderedDict(a=1), {"a": 1}), ("\u2028</script>", "\u2028</script>")]:
        pond.invalidate("k")
        for loader in (lambda: value, never):
            found = pond.fetch("k", loader)
            assert found == back and type(found) is type(back)


def test_the_text_that_is_stored(pond):
    pond.fetch("k", lambda: {"é": [1, 1.0, 1e100, None, True, "\n\"", 2**60]})
    text = pond.lookup("k", decode=lambda text: text).value
    assert text == '{"é":[1,1.0,1e+100,null,true,"\\n\\"",1152921504606846976]}'


def foreign(pond, text):
    """What another language stored: JSON that was made elsewhere."""
    pond.invalidate("foreign")
    return pond.fetch("foreign", lambda: text, model=RawJson)


class RawJson:
    """A model whose codec takes JSON text as it is."""


@pytest.fixture
def raw_json(monkeypatch):
    monkeypatch.setattr(_models, "_codec", lambda model: (str, lambda text, is_json: text))


def test_json_of_other_writers(pond, raw_json, never):
    for text, value in [(" {\n\"a\" : 1 }\r\n", {"a": 1}), ("\t null ", millpond.NULL), ("-0.0", -0.0), ("1E5", 1e5), ('"\\ud83d\\udc38"', "🐸"),
                        ("[" * 100 + "]" * 100, json.loads("[" * 100 + "]" * 100))]:
        foreign(pond, text)
        assert pond.fetch("foreign", never) == value
    for text in ("{", "[1,]", "1 2", "nul", "[1] x", "'x'", ""):
        try:
            foreign(pond, text)
        except millpond.InvalidValue:
            assert text == ""  # the core refuses it at once
            continue
        with pytest.raises(millpond.InvalidValue, match="not JSON that Python can read"):
            pond.fetch("foreign", never)
        with pytest.raises(millpond.InvalidValue):
            pond.lookup("foreign")


# ---- models ----

class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Pair(typing.NamedTuple):
    left: int
    right: str = ""


class Address(typing.TypedDict, total=False):
    street: typing.Any
    number: int


@dataclasses.dataclass
class Node:
    name: str
    children: list[Node] = dataclasses.field(default_factory=list)
    parent: typing.Optional[str] = None


@dataclasses.dataclass(frozen=True)
class Everything:
    id: uuid.UUID
    created: datetime.datetime
    day: datetime.date
    at: datetime.time
    took: datetime.timedelta
    price: decimal.Decimal
    color: Color
    path: pathlib.Path
    blob: bytes
    ratio: float
    tags: frozenset[str]
    pair: tuple[int, str]
    many: tuple[int, ...]
    by_number: dict[int, Point]
    point: Point | None
    either: int | str
    literal: typing.Literal["a", "b"]
    named: Pair
    address: Address
    anything: typing.Any
    computed: int = dataclasses.field(init=False, default=5)


EVERYTHING = Everything(uuid.UUID(int=7), NOW, NOW.date(), NOW.timetz(), datetime.timedelta(seconds=1.5), decimal.Decimal("9.95"), Color.RED,
                        pathlib.Path("/tmp/x"), b"\x00\xff", 2.0, frozenset({"a"}), (1, "x"), (1, 2, 3), {1: Point(1, 2)}, None, "text", "b", Pair(1, "r"),
                        {"street": [1]}, {"free": [None]})


@pytest.mark.parametrize("model, value", [
    (Everything, EVERYTHING), (Point, Point(1, 2)), (Node, Node("a", [Node("b", [Node("c")], "a")])), (list[Point], [Point(1), Point(2)]),
    (dict[str, Point], {"a": Point(1)}), (typing.Optional[Point], Point(3)), (datetime.date, NOW.date()), (set[int], {1, 2}), (Pair, Pair(1)), (Color, Color.BLUE),
    (tuple[Point, ...], (Point(1),)), (typing.List[int], [1]), (int, 5), (float, 5.0), (typing.Any, [1]), (bytes, b"\xff"), (str, "text"),
    (typing.Annotated[int, "cents"], 5), (dict, {"a": 1}), (list, [1]), (typing.NewType("Id", int), 3),
], ids=lambda value: getattr(value, "__name__", ""))
def test_models(pond, never, model, value):
    loaded = pond.fetch("k", lambda: value, model=model)
    hit = pond.fetch("k", never, model=model)
    assert loaded == hit == value and type(loaded) is type(hit) is type(value)
    assert pond.lookup("k", model=model) == millpond.Entry("value", value)
    assert pond.explain("k")["codec"] == "json", "other languages can read it"


def test_text_and_bytes_of_others_are_read_as_models(pond, never):
    """A text that Node stored is stored as text, not as a JSON string."""
    pond.fetch("color", lambda: "red")
    pond.fetch("day", lambda: "2024-02-29")
    pond.fetch("bytes", lambda: b"x")
    assert pond.fetch("color", never, model=Color) is Color.RED
    assert pond.fetch("color", never, model=str) == "red"
    assert pond.fetch("day", never, model=datetime.date) == NOW.date()
    with pytest.raises(millpond.InvalidValue):
        pond.fetch("bytes", never, model=int)
    assert pond.fetch("day", never, model=typing.Annotated[datetime.date, pydantic.Field()]) == NOW.date()


def test_models_and_absence(pond, never):
    assert pond.fetch("ghost", lambda: None, model=Point) is None
    with pytest.raises(millpond.Absent):
        pond.fetch("ghost", never, model=Point, absent="raise")
    assert pond.fetch("null", lambda: millpond.NULL, model=Point) is millpond.NULL


def test_a_dict_will_do(pond, never):
    assert pond.fetch("k", lambda: {"x": 1}, model=Point) == Point(1, 0)
    assert pond.fetch("k", never, model=Point) == Point(1, 0)
    assert pond.fetch("newer", lambda: {"x": 1, "z": 9}, model=Point) == Point(1), "fields of a newer program are left out"


@pytest.mark.parametrize("model, value, says", [
    (Point, {"y": 1}, "with x"), (Point, {"x": "1"}, "x is str '1', not int"), (Point, [1], "not dict"), (list[Point], [{"x": 1}, {"x": None}], "[].x is NoneType"),
    (datetime.date, "yesterday", "not date"), (Color, "green", "not Color"), (int, True, "bool True, not int"), (int | None, "x", "int or NoneType"),
    (typing.Literal["a"], "b", "one of 'a'"), (tuple[int, int], [1], "a list of 2"), (dict[int, int], {"a": 1}, "not int"), (Address, {"number": "x"}, "number"),
    (Everything, {}, "with id"), (Pair, [1], "a list of 2"),
], ids=lambda value: getattr(value, "__name__", ""))
def test_what_is_no_such_model(pond, model, value, says):
    with pytest.raises(millpond.InvalidValue) as caught:
        pond.fetch("k", lambda: value, model=model)
    assert says in str(caught.value), str(caught.value)


@pytest.mark.parametrize("model", [Thing, [1], {"a": int}, 5, "Point", list[Thing]])
def test_what_is_no_model(pond, never, model):
    with pytest.raises(millpond.OptionError, match="model="):
        pond.fetch("k", never, model=model)


def test_pydantic(pond, never):

    class User(pydantic.BaseModel):
        id: int
        created: datetime.datetime
        tags: set[str] = set()

    user = User(id=1, created=NOW, tags={"a"})
    assert pond.fetch("u", lambda: user, model=User) == user
    hit = pond.fetch("u", never, model=User)
    assert hit == user and type(hit) is User and hit is not user
    assert pond.fetch("u", never) == {"id": 1, "created": "2024-02-29T12:30:00Z", "tags": ["a"]}
    assert pond.fetch("d", lambda: {"id": "2", "created": "2024-02-29T12:30:00Z"}, model=User) == User(id=2, created=NOW)
    assert pond.fetch("l", lambda: [user], model=list[User]) == [user] == pond.fetch("l", never, model=list[User])
    assert pond.fetch("o", lambda: None, model=typing.Optional[User]) is None
    with pytest.raises(pydantic.ValidationError):
        pond.fetch("bad", lambda: {"id": "x"}, model=User)
    assert pond.lookup("bad").state == "miss"
    pond.fetch("other", lambda: {"name": "no user"})
    with pytest.raises(pydantic.ValidationError):
        pond.fetch("other", never, model=User)


def test_dataclasses_need_no_pydantic():
    script = """
        import sys
        sys.modules["pydantic"] = None
        import dataclasses, datetime, millpond
        @dataclasses.dataclass
        class Day:
            date: datetime.date
        pond = millpond.open("memory:")
        print(pond.fetch("k", lambda: Day(datetime.date(2024, 2, 29)), model=Day))
        try:
            pond.fetch("k", lambda: 1, model=object())
        except millpond.OptionError as error:
            print("OptionError")
        class Thing: pass
        try:
            pond.fetch("k", lambda: 1, model=Thing)
        except millpond.OptionError as error:
            print(error)
        """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[:2] == ["Day(date=datetime.date(2024, 2, 29))", "OptionError"], done.stderr
    assert "Thing is no type" in done.stdout
