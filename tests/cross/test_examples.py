"""The examples as a newcomer runs them: the FastAPI and Express apps under real servers, and the demo."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest

import harness
import ports
import spec

EXAMPLES = harness.ROOT / "examples"


def get(port: int, path: str) -> tuple[int, dict]:
    """-> (status, the document; what went wrong may be no JSON)"""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{urllib.parse.quote(path)}", timeout=5) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, {}


def manual(begins: str) -> str:
    """The lines of code in the manual that begin so, up to the next empty one."""
    code = (harness.ROOT / "core/GUIDE.md").read_text(encoding="utf-8").partition("    " + begins)[1:]
    return "\n".join(line.removeprefix("    ") for line in "".join(code).partition("\n\n")[0].splitlines()) + "\n"


def fastapi_app(folder: pathlib.Path, port: int) -> list[str]:
    """With the manual's way to serve metrics."""
    app = (EXAMPLES / "fastapi_app.py").read_text(encoding="utf-8")
    (folder / "fastapi_app.py").write_text(app + "\nfrom fastapi import Response\n" + manual('@app.get("/metrics")'), encoding="utf-8")
    return [sys.executable, "-m", "uvicorn", "--app-dir", str(folder), "--port", str(port), "--log-level", "warning", "fastapi_app:app"]


def express_app(folder: pathlib.Path, port: int) -> list[str]:
    """In a folder where both packages are installed, as npm would leave them."""
    modules = folder / "node_modules"
    express = harness.HERE / "node_modules/express"
    assert express.is_dir(), "npm install --prefix tests/cross"
    modules.mkdir()
    (modules / "express").symlink_to(express)
    (modules / "millpond").symlink_to(os.environ.get("MILLPOND_NODE", harness.ROOT / "node"))
    app = (EXAMPLES / "express_app.mjs").read_text(encoding="utf-8")
    (folder / "express_app.mjs").write_text(app.replace("app.listen", manual("app.get('/metrics'") + "app.listen"), encoding="utf-8")
    return ["node", "express_app.mjs"]


@pytest.fixture
def database(tmp_path, shared):
    """films.db with two films, made by another program."""
    tool = shared("python")
    tool.open("memory:", "examples", store=f"sqlite:{tmp_path}/films.db")
    tool.do("create collection=films")
    put(tool, "0001", {"title": "First Love, Last Rites", "imdb_rating": 6.9})
    put(tool, "0002", {"title": "Amélie & Söhne 🐸", "director": None})
    yield tool
    tool.do("close")


def put(tool, name: str, film: dict) -> None:
    tool.do(spec.words("put", ("collection", "films"), ("id", name), ("doc", spec.compact(film))))


def empty(redis, database: int) -> None:
    connection = redis.connect()
    connection.call("SELECT", database)
    connection.call("FLUSHDB")
    connection.close()


@pytest.mark.parametrize("cache", spec.CACHES)
@pytest.mark.parametrize("command", [fastapi_app, express_app], ids=["fastapi", "express"])
def test_app(command, cache, database, redis, tmp_path):
    empty(redis, 5)  # both apps keep films in the namespace "default"
    port = ports.take()
    environment = dict(os.environ, PORT=str(port), CACHE=redis.database(5) if cache == "redis" else "memory:",
                       PYTHONDONTWRITEBYTECODE="1")
    with open(tmp_path / "log", "wb") as log:
        server = subprocess.Popen(command(tmp_path, port), cwd=tmp_path, env=environment, stdout=log, stderr=log)
    try:
        end = time.monotonic() + 20
        while True:
            try:
                answer = get(port, "/films/0001")
                break
            except OSError:
                assert server.poll() is None and time.monotonic() < end, (tmp_path / "log").read_text()[-2000:]
                time.sleep(0.05)
        assert answer == (200, {"id": "0001", "title": "First Love, Last Rites", "imdb_rating": 6.9})
        assert get(port, "/films/0002") == (200, {"id": "0002", "title": "Amélie & Söhne 🐸", "director": None})
        assert get(port, "/films/none")[0] == 404
        assert get(port, "/films/" + "x" * 600)[0] == 500, "a key over 512 bytes is no film, and no crash"
        # cached: a change that nobody told the cache of is not seen, for films and for absences alike
        put(database, "0001", {"title": "changed"})
        put(database, "none", {"title": "new"})
        assert get(port, "/films/0001")[1]["title"] == "First Love, Last Rites"
        assert get(port, "/films/none")[0] == 404
        if cache == "redis":  # another program invalidates
            database.open(redis.database(5), "default", pond="other")
            database.do("invalidate pond=other key=film:0001 key=film:none")
            database.do("close pond=other")
            assert get(port, "/films/0001")[1]["title"] == "changed"
            assert get(port, "/films/none") == (200, {"id": "none", "title": "new"})
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            metrics = answer.read().decode()
        assert f'\nmillpond_loads_total{{namespace="default"}} {5 if cache == "redis" else 3}\n' in metrics, metrics
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            pytest.fail("the app did not end when it was asked to")
    assert server.returncode in (0, -15, 143), (tmp_path / "log").read_text()[-2000:]


def test_demo(redis, say):
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-B", str(EXAMPLES / "demo/demo.py"), "--json"], capture_output=True, text=True,
                          timeout=100, env=dict(os.environ, MILLPOND_DEMO_REDIS=redis.database(6)))
    assert done.returncode == 0, done.stderr[-2000:]
    say(f"{time.monotonic() - began:.1f} s")
    results = json.loads(done.stdout.splitlines()[-1])
    for part in (results, results["redis"]):
        assert part["stampede"]["callers"] == 1000 and part["stampede"]["loads"] == 1
        assert 100 <= part["stampede"]["load_ms"] <= part["stampede"]["all_answered_ms"] < 1000
        assert part["negative"] == {**part["negative"], "lookups": 10_000, "loads": 1000}
        lookups = part["lookups"]
        assert lookups["hits"] + lookups["loads"] <= lookups["count"] == 20_000
        assert 0.7 < lookups["hit_rate"] < 1
        assert part["invalidation"]["pages"] == 200 and part["invalidation"]["stale_reads"] == 0
        assert part["invalidation"]["reads"] >= 200 and part["invalidation"]["write_ms"] > 0
        assert part["new_row"]["before"] is None and part["new_row"]["cached_as"] == "absent"
        assert part["new_row"]["after"] == "The Millpond"
    behind = results["write_behind"]
    assert behind["lost"] == 0 and 500 <= behind["killed_at"] < behind["accepted"] and 0 < behind["recovered_ms"] < 40_000


def test_demo_without_redis():
    port = ports.take()  # nobody listens there
    done = subprocess.run([sys.executable, "-B", str(EXAMPLES / "demo/demo.py"), "--json"], capture_output=True, text=True,
                          timeout=100, env=dict(os.environ, MILLPOND_DEMO_REDIS=f"redis://127.0.0.1:{port}/0"))
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1])["redis"] is None
    assert "nothing answers" in done.stdout
