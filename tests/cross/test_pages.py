"""What the front page, the packages' pages and the manual show is run as it is printed, one piece behind the other.

Addresses are those of the tests' own servers; what a piece takes for granted (your database, your loaders) stands in STAND_INS. A piece of the manual
that is no code for this is named in NO_CODE, so that a new one is either run or looked at.
"""

from __future__ import annotations

import ast
import os
import pathlib
import re
import shutil
import sqlite3
import subprocess
import sys
import textwrap

import pytest

import harness
import millpond

REDIS = "redis://127.0.0.1:6379/0"
NO_CODE = (  # by how they begin: pictures, queries, other programs' commands; what wants a certificate, RabbitMQ, a web server or a client of Prometheus
    "reader: get", "ACL SETUSER", "genre=Drama", "sum by", "$ export MILLPOND_CACHE",
    'pond = millpond.open("rediss://', 'pond = millpond.open("redis://...", store="sqlite:shop.db", events="amqp:',
    '@app.get("/metrics")', "app.get('/metrics'", "import prometheus_client.parser", "class Metrics:", "prometheus_client.REGISTRY",  # test_examples.py, python/tests/test_metrics.py
)
STAND_INS = """
import json, types
import millpond

class Database:
    def query(self, id): return {"id": id}
    def users(self, ids): return [types.SimpleNamespace(id=id, name="Ada") for id in ids]

class Hand:
    def get(self, key): return None
    def set(self, key, value, ex): assert ex == 300

db, r, ids, all_ids = Database(), Hand(), [1, 2], range(1200)
load_page = load_prices = lambda: [1]
save = lambda user: user
"""
JS_STAND_INS = """
const changes = {}
const loadUser = async id => ({ id })
const saveUser = async () => {}
const queryPrice = async sku => ({ sku })
const app = { get (path, answer) {} }
"""


def fenced(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", (harness.ROOT / page).read_text(encoding="utf-8"), re.M | re.S)


def manual() -> list[str]:
    """What is indented, in pieces: what stands behind an empty line is one of its own if it begins at the margin."""
    text = (harness.ROOT / "core/GUIDE.md").read_text(encoding="utf-8")
    blocks = [textwrap.dedent(block) for block in re.findall(r"(?:^    .*\n(?:\n(?=    ))*)+", text, re.M)]
    return [piece for block in blocks for piece in re.split(r"\n\n(?=\S)", block)]


def run_python(tmp_path: pathlib.Path, pieces: list[str], url: str) -> str:
    program = tmp_path / "page.py"
    program.write_text("\n".join([STAND_INS, *pieces]).replace(REDIS, url), encoding="utf-8")
    done = subprocess.run([sys.executable, str(program)], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_front_page_in_python(tmp_path):
    [first, documents, coming] = fenced("README.md", "python")
    calls = 'assert user(7) == {"id": 7}'
    assert run_python(tmp_path, [first, documents, coming, calls], REDIS) == "Ada 1\n1 The Mill Pond 8.1\n"


def test_front_page_in_c(tmp_path):
    [program] = fenced("README.md", "c")
    (tmp_path / "user.c").write_text(program)
    library = pathlib.Path(harness.newest("build/dev/core/libmillpond.so"))
    assert library.is_file(), "build the C library: cmake --preset dev && cmake --build build/dev"
    subprocess.run([os.environ.get("CC", "cc"), "-std=c11", "-Wall", "-Wextra", "-Werror", "user.c", f"-I{harness.ROOT}/core/include", f"-L{library.parent}",
                    "-lmillpond"], cwd=tmp_path, check=True)
    done = subprocess.run(["./a.out"], cwd=tmp_path, capture_output=True, text=True, timeout=20,
                          env={**os.environ, "LD_LIBRARY_PATH": str(library.parent)})
    assert (done.returncode, done.stdout, done.stderr) == (0, '{"id":42,"name":"Ada"}\n', "")


def test_python_page(tmp_path, own_redis):
    pieces = fenced("python/README.md", "python")
    checks = 'assert views.get("0042") == {"id": "0042", "count": 1} == pond.store("views").get("0042") and price("A7")["cents"] == 995'
    assert run_python(tmp_path, [*pieces, checks], own_redis.url) == "[1] False\n"


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no node")
@pytest.mark.parametrize("page", ["README.md", "node/README.md"])
def test_pages_in_node(page, tmp_path, own_redis):
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules/millpond").symlink_to(os.environ.get("MILLPOND_NODE", harness.ROOT / "node"))
    scopes: list[str] = []
    for piece in fenced(page, "js"):
        piece = piece.replace("import { open } from 'millpond'\n", "")
        if "const pond = " in piece or not scopes:
            scopes.append(piece)  # a program of its own
        else:
            scopes[-1] += piece
    program = "import { open } from 'millpond'\n" + JS_STAND_INS + "".join(f"{{\n{scope}\n}}\n" for scope in scopes)
    (tmp_path / "page.mjs").write_text(program.replace(REDIS, own_redis.url).replace("mongodb://127.0.0.1/shop", "sqlite:shop.db"), encoding="utf-8")
    done = subprocess.run(["node", "page.mjs"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ("Ada 1\n" if page == "README.md" else "")


REFUSED = """
import sqlite3
films = pond.collection("refused", write="behind")
films.prepare()
with sqlite3.connect("shop.db", isolation_level=None) as connection:
    connection.execute("CREATE TRIGGER picky BEFORE INSERT ON refused BEGIN SELECT RAISE(ABORT, 'we do not want it'); END")
    films.replace("0041", {})
    films.replace("0042", {})
    while films.dead_letters.list().total < 2: pass
"""


def test_manual(tmp_path, own_redis):
    program = [f'pond = millpond.open("{REDIS}", store="sqlite:shop.db")']
    left = list(NO_CODE)
    for piece in manual():
        known = next((begin for begin in NO_CODE if piece.startswith(begin)), None)
        if known is not None:
            left = [begin for begin in left if begin != known]
        elif piece.startswith("CREATE TABLE films("):
            with sqlite3.connect(tmp_path / "shop.db") as db:
                db.execute(piece)
        elif piece.startswith("for letter in films.dead_letters:"):
            retry, drop = re.fullmatch(r"(.*\n)(films\.dead_letters\.drop\(letter\.id\).*)", piece, re.S).groups()
            program += [REFUSED, retry, "letter = films.dead_letters.list().letters[0]", drop, "assert films.dead_letters.list().total == 0"]
        else:
            program.append(piece)
    assert left == [], "the manual has no such piece any more"
    *progress, first, second, stats = run_python(tmp_path, program, own_redis.url).splitlines()
    assert len(progress) == 3 and progress[-1] == "1200"  # of 500 at a time, two at once
    assert {first.split()[0], second.split()[0]} == {"0041", "0042"} and "we do not want it" in first
    [printed] = re.findall(r"^    # (\{'shards'.*\})$", (harness.ROOT / "core/GUIDE.md").read_text(encoding="utf-8"), re.M)
    assert ast.literal_eval(stats).keys() == ast.literal_eval(printed).keys()


def test_examples_page(tmp_path):
    [line] = [line.strip() for line in (harness.ROOT / "examples/README.md").read_text().splitlines() if line.startswith("    python -c ")]
    subprocess.run(line.replace("python", sys.executable, 1), shell=True, cwd=tmp_path, check=True)
    assert millpond.open(store=f"sqlite:{tmp_path}/films.db").store("films").get("1") == {"id": "1", "title": "Amélie"}
