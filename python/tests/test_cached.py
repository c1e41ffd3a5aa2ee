"""pond.cached(): keys from arguments."""

from __future__ import annotations

import asyncio
import datetime
import enum
import inspect

import pytest

import millpond
import millpond.aio


@pytest.fixture
def pond(cache, name):
    with millpond.open(cache, namespace=name) as pond:
        yield pond


class User:
    def __init__(self, id):
        self.id = id


def test_a_template(pond):
    calls = []

    @pond.cached("price:{sku}:{currency}", ttl="1m", negative_ttl="30s")
    def price(sku, currency="EUR"):
        """The price."""
        calls.append((sku, currency))
        return None if sku == "none" else {"sku": sku}

    assert price("A7") == price("A7", "EUR") == price(sku="A7") == price("A7", currency="EUR") == {"sku": "A7"}
    assert calls == [("A7", "EUR")]
    assert price.key("A7") == "price:A7:EUR" and price.key(currency="USD", sku="B") == "price:B:USD"
    assert price.lookup("A7") == millpond.Entry("value", {"sku": "A7"})
    price.invalidate("A7")
    assert price.lookup("A7").state == "miss"
    price("A7")
    assert len(calls) == 2
    assert price("none") is None is price("none")
    assert len(calls) == 3
    assert pond.explain("price:A7:EUR")["ttl_ms"] <= 60_000
    assert (price.__name__, price.__doc__, price.__wrapped__("x")) == ("price", "The price.", {"sku": "x"})
    assert inspect.signature(price) == inspect.signature(price.__wrapped__)
    for bad in ((), ("a", "b", "c")):
        with pytest.raises(TypeError):
            price(*bad)
    assert isinstance(price, millpond.Cached) and "price" in repr(price)


def test_without_a_template(pond):
    @pond.cached
    def one(a, *rest, b=2, **more):
        return [a, list(rest), b, more]

    @pond.cached()
    def two():
        return "two"

    assert one(1, 2, 3, c=4) == [1, [2, 3], 2, {"c": 4}]
    prefix = f"{__name__}.test_without_a_template.<locals>."
    assert one.key(1) == prefix + "one(1,[],2,{})"
    assert one.key("1") != one.key(1) != one.key(1.0)
    assert one.key(1, c=[2], d=3) == one.key(1, d=3, c=[2]) and one.key(1, 2) != one.key(1, [2])
    assert two() == "two" and two.key() == prefix + "two()"
    for value in (None, True, b"x", (1, "x"), {1, 2}, datetime.date(2024, 2, 29), Kind.A):
        assert one.key(value) == one.key(value)
    assert one.key(Kind.A) != one.key("A")
    with pytest.raises(TypeError, match=r"argument a is a User.*\{a.id\}"):
        one.key(User(1))


class Kind(enum.Enum):
    A = "a"


def test_kinds_of_parameters(pond):
    @pond.cached("{a}-{b}-{c}-{d}")
    def function(a, /, b, *, c, d=4):
        return [a, b, c, d]

    assert function(1, 2, c=3) == [1, 2, 3, 4] and function.key(1, b=2, c=3) == "1-2-3-4"
    with pytest.raises(TypeError):
        function(a=1, b=2, c=3)

    @pond.cached("{args[0]}:{kwargs[x]}:{user.id!r:>4}:{{literal}}:{number:03d}")
    def fancy(user, number, *args, **kwargs):
        return 1

    assert fancy.key(User("u"), 7, "first", x="y") == "first:y: 'u':{literal}:007"

    @pond.cached("constant")
    def constant(x):
        return x

    assert constant(1) == constant(2) == 1


def test_bad_templates(pond):
    for template, says in [("{nope}", r"names \{nope\}.*sku"), ("{}", "no argument"), ("{0}", "no argument"), ("{sku", "no template")]:
        with pytest.raises(millpond.OptionError, match=says):
            @pond.cached(template)
            def price(sku):
                return sku

    @pond.cached("{user}")
    def by_user(user):
        return 1

    with pytest.raises(TypeError, match=r"address in memory.*\{user.id\}"):
        by_user(User(1))
    assert by_user(Named()) == 1 and by_user.key(Named()) == "Named"
    with pytest.raises(millpond.InvalidKey):
        by_user("x" * 513)
    with pytest.raises(millpond.OptionError, match="tttl"):
        pond.cached("k", tttl=1)


class Named:
    def __str__(self):
        return "Named"


def test_methods(pond):
    class Shop:
        def __init__(self, name):
            self.name, self.calls = name, 0

        @pond.cached("price:{sku}")
        def price(self, sku):
            self.calls += 1
            return sku

        @pond.cached("{self.name}:{sku}")
        def own(self, sku):
            self.calls += 1
            return [self.name, sku]

        @pond.cached
        def default(self, sku):
            self.calls += 1
            return sku

        @classmethod
        @pond.cached("cls:{x}")
        def of_class(cls, x):
            return [cls.__name__, x]

        @staticmethod
        @pond.cached("static:{x}")
        def static(x):
            return x

    one, two = Shop("one"), Shop("two")
    assert one.price("A") == two.price("A") == "A" and (one.calls, two.calls) == (1, 0)
    assert one.own("A") == ["one", "A"] and two.own("A") == ["two", "A"]
    assert one.default("B") == two.default("B") == "B"
    assert one.default.key("B").endswith("Shop.default('B')")
    assert one.price.key("A") == "price:A" and two.own.key("A") == "two:A"
    one.own.invalidate("A")
    assert one.own.lookup("A").state == "miss" and two.own.lookup("A").state == "value"
    assert Shop.of_class(1) == ["Shop", 1] and Shop.static(2) == 2
    assert Shop.own(one, "A") == ["one", "A"]
    assert one.price.__name__ == "price" and one.price.__self__ is one


def test_options_of_all_kinds(pond, never):
    @pond.cached("d:{n}", encode=datetime.date.isoformat, decode=datetime.date.fromisoformat, should_cache=lambda day: day.day != 1)
    def day(n):
        return datetime.date(2024, 1, n)

    assert day(5) == day(5) == datetime.date(2024, 1, 5)
    assert day.lookup(5).value == datetime.date(2024, 1, 5)
    assert day(1) == datetime.date(2024, 1, 1) and day.lookup(1).state == "miss"

    @pond.cached("r:{n}", absent="raise", namespace="elsewhere")
    def row(n):
        return None

    with pytest.raises(millpond.Absent):
        row(1)
    assert pond.lookup("r:1").state == "miss" and pond.lookup("r:1", namespace="elsewhere").state == "absent"


def test_async_functions_belong_to_aio(pond):
    with pytest.raises(TypeError, match="millpond.aio"):
        @pond.cached("k")
        async def function():
            return 1


def test_aio(cache, name):
    pond = millpond.aio.open(cache, namespace=name)
    calls = []

    @pond.cached("price:{sku}", ttl="1m")
    async def price(sku):
        calls.append(sku)
        await asyncio.sleep(0.01)
        return {"sku": sku}

    class Shop:
        @pond.cached
        async def stock(self, sku, where="here"):
            calls.append(sku)
            return [sku, where]

        @pond.cached("plain:{sku}")
        def plain(self, sku):
            return sku

    async def main():
        assert await asyncio.gather(*[price("A7") for _ in range(100)]) == [{"sku": "A7"}] * 100
        assert calls == ["A7"]
        assert price.key("A7") == "price:A7" and (await price.lookup("A7")).value == {"sku": "A7"}
        await price.invalidate("A7")
        assert (await price.lookup("A7")).state == "miss"
        shop = Shop()
        assert await shop.stock("B") == await shop.stock("B", where="here") == ["B", "here"]
        assert calls == ["A7", "B"]
        await shop.stock.invalidate("B")
        assert (await shop.stock.lookup("B")).state == "miss"
        assert await shop.plain("C") == "C"
        assert inspect.iscoroutinefunction(price.__call__) and asyncio.iscoroutinefunction(shop.stock.__call__)
        with pytest.raises(TypeError):
            await price()
        await pond.close()

    asyncio.run(main())
