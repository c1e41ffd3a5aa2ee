"""The package itself: types, generated files, the stub, versions."""

from __future__ import annotations

import importlib.metadata
import inspect
import pathlib
import re
import subprocess
import sys
import textwrap
from typing import get_args

import millpond
import millpond.aio
from millpond import _core, _generated

TREE = pathlib.Path(__file__).resolve().parents[2]

ENVIRONMENT = {"PATH": "/usr/bin:/bin", "MYPYPATH": str(TREE / "python")}

SAMPLE = '''
import asyncio
import dataclasses
import datetime
from typing import Any

import millpond
import millpond.aio

@dataclasses.dataclass
class User:
    name: str

pond = millpond.open("memory:", ttl="5m", negative_ttl=datetime.timedelta(seconds=30), fence=False, when_cache_down="error")

def maybe() -> dict[str, int] | None: ...
def surely() -> list[str]: ...

reveal_type(pond.fetch("k", surely))
reveal_type(pond.fetch("k", maybe, ttl=500, should_cache=bool))
reveal_type(pond.fetch("k", maybe, absent="raise"))
reveal_type(pond.fetch("k", maybe, model=User))
reveal_type(pond.fetch("k", maybe, model=User, absent="raise"))
reveal_type(pond.fetch("k", surely, encode=str, decode=int))
reveal_type(pond.lookup("k", model=User).value)
reveal_type(pond.lookup("k").state)
reveal_type(pond.namespace("other", ttl="1m"))
reveal_type(pond.store("films").get("1"))
reveal_type(pond.explain("k"))
reveal_type(pond.stats()["namespaces"]["default"]["hits"])
reveal_type(pond.stats()["behind"]["shop/views"]["problem"])
reveal_type(pond.stats()["events"]["waiting"])
reveal_type(pond.metrics())
films = pond.collection("films", filterable=["genre"], sortable="*", searchable=("title",), indexes=[], max_limit=50, find_ttl="1m", cache_empty=True, ttl="1h",
                        when_cache_down="error")
reveal_type(films.get("1"))
reveal_type(films.get("1", absent="raise"))
reveal_type(films.get_many(["1"]))
reveal_type(films.find({"rating": {"gte": 7}}))
reveal_type(films.find("a=1").total)
reveal_type([film for film in films.find([("a", "1")])])
reveal_type(films.explain(b"a=1"))

@pond.cached("price:{sku}", ttl="1m")
def price(sku: str, currency: str = "EUR") -> float: ...

reveal_type(price("A7", currency="USD"))
reveal_type(price.key("A7"))
price.invalidate("A7")

@pond.cached("user:{name}", tags=lambda name: [name])
def by_name(name: str) -> User: ...

reveal_type(by_name("ann"))
reveal_type(pond.write("k", surely, tags=["users"]))
reveal_type(pond.write(["k", "l"], lambda writing: writing.set("k", 1), not_written=bool, ttl="1m"))
pond.invalidate(tags=["users"])

def load_many(keys: list[str]) -> dict[str, User]: ...
async def aload_many(keys: list[str]) -> list[User | None]: ...

reveal_type(pond.fetch_many(["k", "l"], load_many, model=User, tags=("users",)))
pond.fetch_many(["k"], lambda keys: keys)
pond.set_many({"k": User("ann")}, model=User, ttl="1h")
pond.set_many([("k", 1)])
reveal_type(pond.warm((str(i) for i in range(9)), load_many, batch=100, parallel=2, progress=print))

@pond.cached
def bare(x: int) -> int: ...

reveal_type(bare(1))

apond = millpond.aio.open()

async def aload() -> list[str]: ...
async def amaybe() -> list[str] | None: ...

@apond.cached("stock:{sku}")
async def stock(sku: str) -> int: ...

async def main() -> None:
    reveal_type(await apond.fetch("k", aload))
    reveal_type(await apond.fetch("k", amaybe, absent="raise"))
    reveal_type(await apond.fetch("k", surely))
    reveal_type(await apond.fetch("k", aload, model=User))
    reveal_type(await stock("A7"))
    reveal_type(await apond.fetch_many(["k"], aload_many))
    reveal_type(await apond.warm(["k"], load_many))
    await apond.set_many({"k": 1})
    reveal_type(await apond.write("k", aload))
    reveal_type(await apond.write("k", surely, when_cache_down_write="lenient"))

    async def awriter(writing: millpond.Writing) -> int: ...

    reveal_type(await apond.write("k", awriter, model=User))
    reveal_type((await apond.lookup("k", decode=int)).value)
    reveal_type(await apond.store("films").get_many(["1"]))
    afilms = apond.collection("films", indexes=["-year"])
    reveal_type(await afilms.get("1", absent="raise"))
    reveal_type(await afilms.get("1"))
    reveal_type((await afilms.find("a=1")).data)
    await afilms.invalidate("1", "2")
    task: asyncio.Task[list[str]] = asyncio.create_task(apond.fetch("k", aload))
    both = await asyncio.gather(apond.fetch("k", aload), apond.fetch("k", surely))
    async with millpond.aio.open("memory:") as other:
        reveal_type(other)
    await apond.stats()
    await apond.stat("hits", "default")

error: millpond.Error = millpond.TimeoutError("x", retriable=False)
entry: millpond.Entry[int] = millpond.Entry("value", 1)

pond.fetch("k", surely, tttl="5m")  # E: unknown
pond.fetch("k", surely, ttl=1.5)  # E: no duration
pond.fetch(1, surely)  # E: no key
pond.fetch("k", len)  # E: takes an argument
price(1)  # E: no str
pond.lookup("k", should_cache=len)  # E: not of lookup
millpond.open("memory:", when_cache_down="panic")  # E: no choice
millpond.open("memory:", absent="raise", decode=int, should_cache=len, ttl="1m")
millpond.open("memory:", absent="maybe")  # E: no choice
pond.collection("films", absent="raise")
pond.collection("films", encode=str)  # E: not of collections
millpond.open("memory:", find_ttl="1m")  # E: of collections
pond.collection("films", filterable=[1])  # E: no names
films.find(5)  # E: no query
pond.stat("strikes")  # E: no counter
pond.write("k", surely, should_cache=len)  # E: not of write
pond.write("k", surely, tags=[1])  # E: no str
pond.fetch_many(["k"], surely)  # E: takes no keys
pond.set_many({1: 2})  # E: no str
pond.namespace("other", tags=["users"])  # E: not of namespaces
'''

REVEALED = [
    "list[str]", "dict[str, int] | None", "dict[str, int]", "User | None", "User", "int | None", "User | None",
    "Literal['value'] | Literal['absent'] | Literal['miss']", "millpond._pond.Pond", "dict[str, Any] | None", "dict[str, Any]", "int", "str | None", "int", "str",
    "dict[str, Any] | None", "dict[str, Any]", "list[dict[str, Any] | None]", "millpond._collection.Page", "int", "list[dict[str, Any]]", "dict[str, Any]",
    "float", "str", "User", "list[str]", "None", "list[Any]", "int", "int",
    "list[str]", "list[str]", "list[str]", "User | None", "int", "list[Any]", "int", "list[str]", "list[str]", "int", "int | None", "list[dict[str, Any] | None]",
    "dict[str, Any]", "dict[str, Any] | None", "list[dict[str, Any]]", "millpond.aio.Pond",
]


def test_types(tmp_path):
    sample = tmp_path / "sample.py"
    sample.write_text(SAMPLE)
    done = subprocess.run([sys.executable, "-m", "mypy", "--strict", "--python-version", "3.10", "--no-error-summary", "--cache-dir", str(tmp_path / "cache"),
                           "--allow-empty-bodies", "--disable-error-code", "empty-body", str(sample)], capture_output=True, text=True, cwd=tmp_path,
                          env=ENVIRONMENT)
    revealed = [re.sub(r"\bsample\.|builtins\.|typing\.", "", text.replace("?", "")) for text in re.findall(r'Revealed type is "(.*)"', done.stdout)]
    revealed = [re.sub(r"Union\[(.*)\]$", lambda match: match[1].replace(", ", " | ") if "[" not in match[1] else match[0], text) for text in revealed]
    errors = {int(line) for line in re.findall(r"sample\.py:(\d+): error", done.stdout)}
    wanted = {number for number, line in enumerate(SAMPLE.splitlines(), 1) if "# E:" in line}
    assert errors == wanted, done.stdout + done.stderr
    assert revealed == REVEALED, done.stdout


def test_the_package_passes_mypy(tmp_path):
    done = subprocess.run([sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), "-p", "millpond"], capture_output=True, text=True,
                          cwd=tmp_path, env=ENVIRONMENT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_generated_files_are_those_of_the_tables():
    done = subprocess.run([sys.executable, str(TREE / "bindings/gen/generate.py"), "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_stale_generated_file_is_found(tmp_path):
    for part in ("core/include/millpond/error.h", "core/include/millpond/value.h", "core/src/model/options.def", "core/src/observe/counters.def",
                 "core/src/observe/gauges.def", "core/src/observe/behind.def", "bindings/napi/addon.h", "bindings/gen/generate.py", "python/millpond/_generated.py"):
        (tmp_path / part).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / part).write_text((TREE / part).read_text())
    program = [sys.executable, str(tmp_path / "bindings/gen/generate.py")]
    assert subprocess.run([*program, "--check"], capture_output=True).returncode == 1, "the Node file is missing"
    assert subprocess.run(program, capture_output=True).returncode == 0
    assert subprocess.run([*program, "--check"], capture_output=True).returncode == 0
    for table, old, new in (("core/src/model/options.def", '"5m"', '"6m"'), ("core/src/observe/counters.def", "(hits,", "(strikes,"),
                            ("core/src/observe/gauges.def", "(calls,", "(shouts,"),
                            ("core/include/millpond/error.h", "bad_field", "odd_field"), ("bindings/napi/addon.h", "MPN_OK = 7", "MPN_OK = 77")):
        text = (tmp_path / table).read_text()
        assert old in text
        (tmp_path / table).write_text(text.replace(old, new))
        done = subprocess.run([*program, "--check"], capture_output=True, text=True)
        assert done.returncode == 1 and re.search(rf"^\+.*{new.strip('(,').split()[-1].strip(chr(34))}", done.stdout, re.M), table
        (tmp_path / table).write_text(text)
    assert subprocess.run([*program, "--check"], capture_output=True).returncode == 0


def test_the_tables_of_the_core():
    """What was generated is what the core that is linked in says."""
    for error in _generated.ERRORS:
        assert _core.code_name(error.number) == error.code
        assert (error.__doc__ or "").lower().startswith(_core.code_text(error.number)[:20].lower())
        assert error.__name__ in millpond.__all__ and getattr(millpond, error.__name__) is error and error.__module__ == "millpond"
        assert issubclass(error, millpond.Error)
    rows = range(_core.option_count())
    policy = {_core.option_name(row) for row in rows if _core.option_scope(row) in ("both", "policy")}
    assert policy == set(_generated.PolicyOptions.__annotations__)
    collection = {_core.option_name(row) for row in rows if _core.option_scope(row) == "collection"}
    assert policy | collection == set(_generated.CollectionOptions.__annotations__) and collection
    assert {_core.option_name(row) for row in rows} - collection - {"cache", "store", "namespace"} == set(_generated.PondOptions.__annotations__)
    with millpond.open("memory:tables") as pond:
        assert list(pond.stats()["total"]) == list(_generated.Counters.__annotations__) == [*get_args(_generated.CounterName), "hit_rate"]


def test_the_stub_is_complete():
    stub = (pathlib.Path(millpond.__file__).parent / "_core.pyi").read_text()
    for name in dir(_core):
        if name.startswith("__") or name in ("SWIG_PyInstanceMethod_New", "SWIG_PyStaticMethod_New", "Plan", "TagSet"):
            continue
        assert re.search(rf"\b(def|class) {name}\b", stub), f"_core.pyi lacks {name}"
    for kind in (_core.SyncHandle, _core.LoopHandle, _core.Queue, _core.Load, _core.Handle, _core.SyncCollection, _core.LoopCollection):
        body = re.search(rf"class {kind.__name__}\b.*?(?=\n(?:@final\n)?class |\n# ----)", stub, re.S)[0]
        for name in vars(kind):
            assert name.startswith("__") or f"def {name}(" in body, f"_core.pyi lacks {kind.__name__}.{name}"


def test_versions():
    assert re.fullmatch(r"\d+\.\d+\.\d+", millpond.__version__)
    assert f'version = "{millpond.__version__}"' in (TREE / "python/pyproject.toml").read_text()
    try:
        assert importlib.metadata.version("millpond") == millpond.__version__
    except importlib.metadata.PackageNotFoundError:
        pass  # run from a build folder


def test_names():
    assert sorted(millpond.__all__, key=str.lower) == sorted(set(millpond.__all__), key=str.lower)
    for name in millpond.__all__:
        assert getattr(millpond, name) is not None
    for method in ("fetch", "lookup", "invalidate", "explain", "stats", "stat", "metrics", "processes", "namespace", "cached", "store", "close"):
        assert inspect.getdoc(getattr(millpond.Pond, method)), method
        assert hasattr(millpond.aio.Pond, method), method


def test_imported_twice():
    """A second import in one process (a reloader, a test runner) shares the C types."""
    script = """
        import sys, millpond
        first = millpond
        for name in [name for name in sys.modules if name.partition(".")[0] == "millpond"]: del sys.modules[name]
        import millpond
        one, other = first.open("memory:"), millpond.open("memory:")
        print(millpond is not first, one.fetch("k", lambda: 1), other.fetch("k", lambda: 2))
        """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60)
    assert done.stdout == "True 1 1\n", done.stderr
