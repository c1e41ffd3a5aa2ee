"""Express hands req.query to films.find: the example under a real server, asked by a real HTTP client."""

from __future__ import annotations

import concurrent.futures
import http.client
import json
import os
import pathlib
import shutil
import socket
import sqlite3
import subprocess
import time
import urllib.parse

import pytest

import harness
import ports
import spec

FILMS = [(f"{i:04}", film) for i, film in enumerate(json.loads((harness.ROOT / "examples/demo/data/movies.json").read_text("utf-8")))]
VECTORS = [v for v in spec.read("find.json")["vectors"] if v["collection"] == "films" and isinstance(v["query"], str)]
APP = (harness.ROOT / "examples/express_films.mjs").read_text(encoding="utf-8")


class Server:
    def __init__(self, folder: pathlib.Path, text: str, **environment: str):
        modules = folder / "node_modules"
        express = harness.HERE / "node_modules/express"
        assert express.is_dir(), "npm install --prefix tests/cross"
        assert json.loads((express / "package.json").read_text())["version"].startswith("5."), "the tests are for Express 5"
        modules.mkdir()
        (modules / "express").symlink_to(express)
        (modules / "millpond").symlink_to(os.environ.get("MILLPOND_NODE", harness.ROOT / "node"))
        (folder / "app.mjs").write_text(text, encoding="utf-8")
        self.port = ports.take()
        self.log = folder / "log"
        node = shutil.which("node")
        assert node, "there is no node on the path"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen([node, "app.mjs"], cwd=folder, stdout=log, stderr=log,
                                            env=dict(os.environ, PORT=str(self.port), **environment))
        end = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                assert self.process.poll() is None and time.monotonic() < end, self.log.read_text()[-2000:]
                time.sleep(0.05)

    def get(self, query: str) -> tuple[int, dict]:
        """The query as it stands, but for what no request line can hold."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", "/films?" + urllib.parse.quote(query.removeprefix("?"), safe="%&=+[],.:;$-_*!'()/?@"))
            answer = connection.getresponse()
            body = answer.read()
            return answer.status, json.loads(body) if answer.headers.get_content_type() == "application/json" else {}
        finally:
            connection.close()

    def close(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            pytest.fail("the app did not end when it was asked to")
        assert self.process.returncode in (0, -15, 143), self.log.read_text()[-2000:]


def fill(path: pathlib.Path, films) -> None:
    """Another program's doing, by the book: no library of ours."""
    base = sqlite3.connect(path)
    with base:
        base.executemany("INSERT INTO films(id, doc, ver) VALUES (?, json(?), 0)",
                         [(name, json.dumps(film, ensure_ascii=False)) for name, film in films])
    base.close()


@pytest.fixture(scope="module", params=["simple", "extended"])
def films(request, tmp_path_factory):
    """The example as it stands, with Express 5's own parser; and with qs, which makes objects of brackets."""
    folder = tmp_path_factory.mktemp(request.param)
    text = APP.replace("const app = express()", "const app = express()\napp.set('query parser', 'extended')")
    assert text != APP
    server = Server(folder, APP if request.param == "simple" else text)
    fill(folder / "films.db", FILMS)
    yield server
    server.close()


def test_the_example_has_twelve_lines():
    assert len([line for line in APP.splitlines() if line]) == 12


@pytest.mark.parametrize("vector", VECTORS, ids=[v["query"][:60] for v in VECTORS])
def test_vector(films, vector):
    status, page = films.get(vector["query"])
    if "error" in vector:
        assert (status, page.get("reason")) == (400, vector["error"])
        return
    assert status == 200, page
    assert [film["id"] for film in page["data"]] == vector["ids"]
    assert {name: page[name] for name in ("total", "page", "pages") if name in vector} == \
           {name: vector[name] for name in ("total", "page", "pages") if name in vector}
    if "data" in vector:
        assert spec.same_json(page["data"], vector["data"])
    assert films.get(vector["query"]) == (200, page), "the cached page"


@pytest.mark.parametrize("query, reason", [
    ("IMDB+Rating[$where]=1", "bad_operator"),
    ("IMDB+Rating[$gt]=", "bad_operator"),
    ("IMDB%20Rating%5B%24ne%5D=x", "bad_operator"),
    ("$where=sleep(1)", "bad_field"),
    ("__proto__[gte]=1&_mpv=1", "bad_field"),
    ("constructor[prototype][x]=1", "bad_operator"),
    ("IMDB+Rating[gte]=" + "9" * 400, "bad_number"),
    ("Title=%00", "bad_encoding"),
    ("limit=1000000000", "bad_page"),
    ("limit=-1", "bad_page"),
    ("page=99999999", "bad_page"),
    ("page=1&page=2", "duplicate"),
    ("a" + "[a]" * 1000 + "=1", ("bad_operator", "too_long")),
    ("&".join(f"f{i}=1" for i in range(1000)), "too_long"),
    ("Title=" + "x" * 2000, "too_long"),
    ("search=" + "+".join(f"w{i}" for i in range(40)), "too_long"),
], ids=lambda value: str(value)[:40])
def test_hostile(films, query, reason):
    began = time.monotonic()
    status, answer = films.get(query)
    assert time.monotonic() - began < 2
    assert status == 400, answer
    assert answer["reason"] in ((reason,) if isinstance(reason, str) else reason), answer
    assert answer["error"] and len(answer["error"]) < 400


@pytest.mark.parametrize("query", ["Title=%27%3B+DROP+TABLE+films%3B--", "Title=%22+OR+1=1", "search=.*(a%2B)%2B$&search_in=Title",
                                   "search=%25_%25", "Title[in]=%27,%22,%24where", "Title=%7B%22%24ne%22%3Anull%7D"])
def test_literal(films, query):
    status, page = films.get(query)
    assert (status, page.get("total")) == (200, 0)
    assert films.get("limit=1")[1]["total"] == len(FILMS)


def test_ten_thousand_parameters(films):
    """Node takes no request line over 16 KiB; what it takes is answered."""
    status, _ = films.get("&".join("a=1" for _ in range(10_000)))
    assert status in (400, 431)
    assert films.get("limit=1")[0] == 200


@pytest.mark.parametrize("cache", spec.CACHES)
def test_one_load(cache, redis, tmp_path):
    """A hundred clients ask for one page, in two forms of the question: one load, whichever cache. The table is then emptied behind
    the cache: in Redis the page is still there, memory: has heard of it; another page of the query says what is so now."""
    if cache == "redis":
        connection = redis.connect()
        connection.call("SELECT", 7)
        connection.call("FLUSHDB")
        connection.close()
    counted = APP.replace("app.listen", "app.get('/stats', (req, res) => res.json(pond.stats()))\napp.listen")
    server = Server(tmp_path, counted, CACHE=redis.database(7) if cache == "redis" else "memory:")
    try:
        fill(tmp_path / "films.db", FILMS[:500])
        forms = ["Major+Genre=Drama&sort=-IMDB+Rating&limit=5", "limit=5&sort=-IMDB%20Rating,id&Major%20Genre=Drama&page=1"]
        with concurrent.futures.ThreadPoolExecutor(20) as clients:
            pages = list(clients.map(server.get, forms * 50))
        assert pages[0][0] == 200 and pages[0][1]["total"] > 5 and all(page == pages[0] for page in pages)
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
        connection.request("GET", "/stats")
        counters = json.loads(connection.getresponse().read())["total"]
        connection.close()
        assert counters["loads"] == 2, "the page and its total"
        base = sqlite3.connect(tmp_path / "films.db")
        with base:
            base.execute("DELETE FROM films")
        base.close()
        if cache == "redis":
            assert server.get(forms[0]) == pages[0]
        else:  # processes with this database as their store hear of each other's commits, also of a stranger's
            assert server.get(forms[0])[1]["total"] == 0
        # An empty page is asked of the store each time, and so is its total.
        assert server.get(forms[0] + "&page=2") == (200, {"data": [], "total": 0, "page": 2, "pages": 0, "limit": 5})
    finally:
        server.close()
