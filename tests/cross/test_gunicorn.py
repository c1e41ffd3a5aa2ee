"""gunicorn with preload: the application, its pond and what it has cached are made once, and four workers are forked off."""

from __future__ import annotations

import collections
import concurrent.futures
import json
import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import time
import urllib.request

import pytest

import ports

WORKERS = 4

APPLICATION = """
    import asyncio, json, os, threading, time
    import millpond, millpond.aio

    options = dict(namespace=os.environ["SHOP"], store="sqlite:" + os.environ["SHOP_DB"], command_timeout="20s", lease="20s")
    pond = millpond.open(os.environ["SHOP_CACHE"], **options)
    apond = millpond.aio.open(os.environ["SHOP_CACHE"], **options)

    # All of it is used before the fork: the blocking lane, a loop's queue, the store, and a thread that renews a lease.
    pond.store("films").create()
    pond.store("films").put("1", {"title": "Heat"})
    pond.fetch("warm", lambda: "by the parent")
    asyncio.run(apond.fetch("awarm", lambda: "by the parent"))
    began = threading.Event()
    threading.Thread(target=pond.fetch, args=("forever", lambda: began.set() or time.sleep(3600)), kwargs=dict(lease="300ms"), daemon=True).start()
    began.wait()

    def load(key):
        with open(os.environ["SHOP_LOG"], "a") as log:
            log.write(key + "\\n")
        time.sleep(0.2)
        return key

    def answer(key):
        film = pond.store("films").get("1")
        return {"pid": os.getpid(), "value": pond.fetch(key, lambda: load(key)), "film": film["title"], "warm": pond.lookup("warm").value,
                "loads": pond.stat("loads")}

    def app(environ, start):
        start("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(answer(environ["PATH_INFO"][1:])).encode()]

    async def asgi(scope, receive, send):
        if scope["type"] != "http":
            return
        key = scope["path"][1:]
        film = await apond.store("films").get("1")
        async def slow():
            with open(os.environ["SHOP_LOG"], "a") as log:
                log.write(key + "\\n")
            await asyncio.sleep(0.2)
            return key
        body = {"pid": os.getpid(), "value": await apond.fetch(key, slow), "film": film["title"], "warm": (await apond.lookup("awarm")).value,
                "loads": await apond.stat("loads")}
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": json.dumps(body).encode()})
"""


def get(port: int, key: str) -> dict:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{key}", timeout=30) as answer:
        return json.load(answer)


def children(pid: int) -> list[int]:
    return [int(word) for word in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize("worker, kind", [("sync", "redis"), ("gthread", "redis"), ("uvicorn.workers.UvicornWorker", "redis"), ("gthread", "memory")])
def test_preload(worker, kind, own_redis, ns, say, tmp_path):
    (tmp_path / "shop.py").write_text(textwrap.dedent(APPLICATION))
    log, errors = tmp_path / "loads", tmp_path / "errors"
    log.touch()
    port = ports.take()
    target = "shop:asgi" if "uvicorn" in worker else "shop:app"
    with errors.open("w") as stream:
        server = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "--preload", "-w", str(WORKERS), "-k", worker, "--threads", "4", "-b", f"127.0.0.1:{port}",
             "--graceful-timeout", "5", "--chdir", str(tmp_path), target],
            env={**os.environ, "SHOP": ns, "SHOP_DB": str(tmp_path / "s.db"), "SHOP_LOG": str(log),
                 "SHOP_CACHE": own_redis.url if kind == "redis" else "memory:shop"},
            stdout=stream, stderr=stream)
    try:
        end = time.monotonic() + 30
        while True:
            try:
                get(port, "first")
                break
            except OSError:
                assert server.poll() is None and time.monotonic() < end, errors.read_text()
                time.sleep(0.1)
        rows = []
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            for wave in range(8):
                rows += pool.map(lambda row: (row % 3, get(port, f"k{wave}-{row % 3}")), range(24))
        assert all(row["value"].endswith(f"-{key}") and row["film"] == "Heat" for key, row in rows)
        by_worker = collections.Counter(row["pid"] for _, row in rows)
        loads = collections.Counter(log.read_text().split())
        connections = own_redis.call("INFO", "clients").decode().partition("connected_clients:")[2].split()[0]
        say(f"{worker} on {kind}: {len(rows)} answers by {len(by_worker)} workers, {sum(loads.values())} loads of {len(loads)} keys, "
            f"{connections} connections")
        assert len(by_worker) > 1 and server.pid not in by_worker
        if kind == "redis":
            assert set(loads.values()) == {1}, "one load per key, whichever worker asks"
            assert all(row["warm"] == "by the parent" for _, row in rows)
        else:
            assert max(loads.values()) <= WORKERS, "one load per key and process"
        # A worker that is killed, and all of them by HUP, are replaced.
        os.kill(next(iter(by_worker)), signal.SIGKILL)
        server.send_signal(signal.SIGHUP)
        end = time.monotonic() + 30
        while set(children(server.pid)) & set(by_worker) or len(children(server.pid)) < WORKERS:
            assert time.monotonic() < end, errors.read_text()
            time.sleep(0.1)
        assert get(port, "afterwards")["value"] == "afterwards"
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            code = server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
            raise AssertionError("gunicorn does not end: " + errors.read_text()) from None
    assert code == 0, errors.read_text()
    assert "Traceback" not in errors.read_text() and "Worker failed" not in errors.read_text()
