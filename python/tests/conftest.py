"""Every test that talks to a cache runs on memory: and on a real Redis server of our own. Redis is required: nothing is skipped.
MILLPOND_TEST_REDIS_SERVER names another program than redis-server; -m redis are the tests that talk to it."""

from __future__ import annotations

import asyncio
import functools
import inspect
import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from typing import Any, Awaitable, Callable, Iterator

import pytest

import millpond
import millpond.aio

if "MILLPOND_SANITIZED" in os.environ:
    # Leaks are looked for in this process. The programs that tests start end with threads and loads under way, or are forked children,
    # whose threads LeakSanitizer cannot stop and look at.
    os.environ["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"

# In a child of a process with threads AddressSanitizer's own allocator may wait for ever, for a thread that is not there.
forks_with_threads = pytest.mark.skipif("MILLPOND_SANITIZED" in os.environ, reason="AddressSanitizer does not survive a fork with threads")

PORTS = range(7600, 7650)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "redis: it talks to a Redis server")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "redis" in item.name or {"redis", "own_redis"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.redis)


class Mode:
    """The same test in both worlds: `call` is awaited in one, and done in the other; functions are async in the one."""

    def __init__(self, asynchronous: bool) -> None:
        self.asynchronous = asynchronous

    def open(self, cache: str, **options: Any) -> Any:
        return (millpond.aio if self.asynchronous else millpond).open(cache, **options)

    def function(self, body: Callable[..., Any]) -> Any:
        """`body` (a plain function) as this world has it, with the same parameters."""
        if not self.asynchronous:
            return body

        @functools.wraps(body)
        async def wrapped(*args: Any) -> Any:
            await asyncio.sleep(0)
            return body(*args)

        return wrapped

    async def __call__(self, result: Any) -> Any:
        return await result if inspect.isawaitable(result) else result


def in_both(test: Callable[..., Awaitable[None]]) -> Any:
    """test(call, pond), in both worlds and on both caches."""

    @pytest.mark.parametrize("asynchronous", [False, True], ids=["blocking", "asyncio"])
    def run(asynchronous: bool, cache: str, name: str) -> None:
        async def main() -> None:
            call = Mode(asynchronous)
            pond = call.open(cache, namespace=name)
            try:
                await test(call, pond)
            finally:
                await call(pond.close(timeout="1s"))

        asyncio.run(main())

    run.__doc__ = test.__doc__
    return run


class Redis:
    """A redis-server on loopback that keeps nothing."""

    def __init__(self) -> None:
        name = os.environ.get("MILLPOND_TEST_REDIS_SERVER", "redis-server")
        program = shutil.which(name)
        assert program, f"the tests need {name} (apt-get install redis-server)"
        self.folder = tempfile.mkdtemp(prefix="millpond-redis-")
        self.port = 0
        first = os.getpid() % len(PORTS)
        for offset in range(len(PORTS)):
            self.port = PORTS[(first + offset) % len(PORTS)]
            if self._start(program):
                return
        raise RuntimeError(f"no redis-server starts on any port of {PORTS}")

    def _start(self, program: str) -> bool:
        self.process = subprocess.Popen(
            [program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", self.folder],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={name: value for name, value in os.environ.items() if name != "LD_PRELOAD"})  # a sanitizer's is ours alone
        for _ in range(200):
            if self.process.poll() is not None:
                return False  # the port was taken
            try:
                if f"process_id:{self.process.pid}\r\n" in self.call("INFO", "server"):
                    return True
            except OSError:
                pass
            time.sleep(0.02)
        self.stop()
        return False

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def call(self, *words: str) -> Any:
        """One command by a connection of its own; only what the tests need of the protocol."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            parts = [f"*{len(words)}\r\n".encode()]
            for word in words:
                data = word.encode()
                parts.append(b"$%d\r\n%s\r\n" % (len(data), data))
            connection.sendall(b"".join(parts))
            with connection.makefile("rb") as stream:
                return self._reply(stream)

    def _reply(self, stream: Any) -> Any:
        line = stream.readline().decode()
        kind, rest = line[:1], line[1:-2]
        if kind == "-":
            raise RuntimeError(rest)
        if kind == ":":
            return int(rest)
        if kind == "$":
            return None if rest == "-1" else stream.read(int(rest) + 2)[:-2].decode(errors="surrogateescape")
        if kind == "*":
            return [self._reply(stream) for _ in range(int(rest))]
        return rest

    def pause(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture(scope="session")
def redis() -> Iterator[Redis]:
    server = Redis()
    yield server
    server.stop()


@pytest.fixture
def own_redis() -> Iterator[Redis]:
    """One that the test may stop."""
    server = Redis()
    yield server
    server.stop()


_numbers = itertools.count()


@pytest.fixture
def name() -> str:
    """A namespace, and a memory: cache, that no other test has."""
    return f"t{os.getpid()}-{next(_numbers)}"


@pytest.fixture(params=["memory", "redis"])
def cache(request: pytest.FixtureRequest, name: str) -> str:
    if request.param == "memory":
        return f"memory:{name}"
    server: Redis = request.getfixturevalue("redis")
    return server.url


class Counter:
    """A loader that counts its calls."""

    def __init__(self, value: Any = None, error: BaseException | None = None) -> None:
        self.value, self.error, self.calls = value, error, 0

    def __call__(self) -> Any:
        self.calls += 1
        if self.error is not None:
            raise self.error
        return self.value


@pytest.fixture
def counter() -> type[Counter]:
    return Counter


def _never() -> Any:
    raise AssertionError("this is a hit: the loader must not be called")


@pytest.fixture
def never() -> Any:
    return _never
