"""FastAPI's request.query_params straight into find(): examples/fastapi_films.py under uvicorn, asked by a real HTTP client."""

from __future__ import annotations

import http.client
import json
import os
import pathlib
import sqlite3
import subprocess
import sys
import time
import urllib.parse

import pytest

import ports

ROOT = pathlib.Path(__file__).resolve().parents[2]
FIND = json.loads((ROOT / "tests/spec/find.json").read_text())
CANONICAL = json.loads((ROOT / "tests/spec/canonical.json").read_text())


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("films") / "films.db"
    films = json.loads((ROOT / "examples/demo/data/movies.json").read_text())
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE films(id TEXT PRIMARY KEY NOT NULL, doc TEXT NOT NULL CHECK(json_valid(doc)), ver INTEGER NOT NULL)")
    db.executemany("INSERT INTO films VALUES (?, ?, 1)",
                   [(f"{row:04}", json.dumps(film, ensure_ascii=False, separators=(",", ":"))) for row, film in enumerate(films)])
    db.commit()
    db.close()
    return path


class App:
    """The example, as a newcomer starts it."""

    def __init__(self, folder: pathlib.Path, cache: str, store: pathlib.Path):
        self.port = ports.take()
        self.log = folder / "log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "uvicorn", "--app-dir", str(ROOT / "examples"), "--port", str(self.port), "--log-level", "warning", "fastapi_films:app"],
                cwd=folder, env=dict(os.environ, CACHE=cache, STORE=f"sqlite:{store}", PYTHONDONTWRITEBYTECODE="1"), stdout=log, stderr=log)
        end = time.monotonic() + 30
        while True:
            try:
                self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
                self.connection.connect()
                return
            except OSError:
                assert self.process.poll() is None and time.monotonic() < end, self.log.read_text()[-2000:]
                time.sleep(0.05)

    def get(self, query: str) -> tuple[int, dict]:
        """-> (status, document). `query` is sent as it is, but for what no request line can hold."""
        self.connection.request("GET", "/films?" + urllib.parse.quote(query, safe="".join(map(chr, range(33, 127)))))
        answer = self.connection.getresponse()
        body = answer.read()
        try:
            return answer.status, json.loads(body)
        except ValueError:
            return answer.status, {}

    def stop(self) -> None:
        self.connection.close()
        self.process.terminate()
        self.process.wait(10)


@pytest.fixture(scope="module", params=["memory", "redis"])
def app(request, store, tmp_path_factory):
    cache = "memory:"
    if request.param == "redis":
        cache = request.getfixturevalue("redis").database(7)
    app = App(tmp_path_factory.mktemp("app"), cache, store)
    yield app
    app.stop()


def test_the_vectors_over_http(app):
    """Every query string over the films of the shared vectors, loaded and then cached."""
    vectors = [vector for vector in FIND["vectors"] if vector["collection"] == "films" and isinstance(vector["query"], str)]
    assert len(vectors) >= 10
    for _ in range(2):
        for vector in vectors:
            status, page = app.get(vector["query"])
            if "error" in vector:
                assert (status, page["detail"]["reason"]) == (400, vector["error"]), vector
                continue
            assert status == 200, (vector, page)
            assert [film["id"] for film in page["data"]] == vector["ids"], vector
            assert (page["total"], page["page"], page["pages"]) == (vector["total"], vector["page"], vector["pages"]), vector
            assert "data" not in vector or page["data"] == vector["data"]


def test_refusals_over_http(app):
    """What the shared vectors refuse is a 400 with its reason. Frameworks mend what is no UTF-8 before they hand it on: not these."""
    vectors = [vector for vector in CANONICAL["vectors"] if "error" in vector and isinstance(vector["in"], str) and vector["error"] != "bad_encoding"]
    assert len(vectors) >= 20
    for vector in vectors:
        status, answer = app.get(vector["in"].removeprefix("?"))
        assert (status, answer["detail"]["reason"]) == (400, vector["error"]), (vector, answer)
        assert answer["detail"]["message"]


def test_hostile_queries_over_http(app):
    for query, reason in [("price[$where]=1", "bad_operator"), ("$where=1", "bad_field"), ("limit=1000000000", "bad_page"), ("a[gt]=" + "9" * 400, "bad_number"),
                          ("a" + "[a]" * 1000 + "=1", "bad_operator"), ("a=%00", "bad_encoding"), ("&".join(f"f{n}=1" for n in range(5000)), "too_long")]:
        began = time.monotonic()
        status, answer = app.get(query)
        assert (status, answer["detail"]["reason"]) == (400, reason), (query[:80], answer)
        assert time.monotonic() - began < 2
    for query in ("Title=.*", "Title=' OR 1=1 --", "search=.*%25_", "x=%ff", "x=%zz", "Title=%24gt", "o'b`c;--=1"):
        status, page = app.get(query)
        assert status == 200 and page["total"] == 0, (query, page)
    assert app.get("limit=1")[1]["total"] == 3201


def test_one_key_for_one_question(app):
    """However it is spelled: the page that is cached is served."""
    first = app.get("Major+Genre=Drama&IMDB+Rating[gte]=8&limit=3")
    for query in ("limit=3&IMDB%20Rating%5Bgte%5D=8.0&Major%20Genre=Drama", "IMDB Rating[gte]=8e0&Major Genre[eq]=Drama&limit=3&page=1&sort=id", "where[Major+Genre]=Drama&limit=3&where[IMDB+Rating][gte]=8"):
        assert app.get(query) == first
