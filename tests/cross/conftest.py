from __future__ import annotations

import itertools
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import harness  # noqa: E402
from redis_server import RedisServer  # noqa: E402


@pytest.fixture(scope="session")
def redis():
    """One server for the tests that do not hurt it."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def own_redis():
    """A server that the test may kill."""
    with RedisServer() as server:
        yield server


_numbers = itertools.count()


@pytest.fixture
def ns():
    """A namespace that no other test uses."""
    return f"t{next(_numbers)}"


@pytest.fixture
def start():
    """start("node") -> a new tool, ended with the test."""
    tools = []

    def start(language: str) -> harness.Tool:
        if language not in harness.LANGUAGES:
            pytest.skip(f"MILLPOND_LANGUAGES leaves {language} out")
        tools.append(harness.Tool(language))
        return tools[-1]

    yield start
    for tool in tools:
        tool.close()


@pytest.fixture(scope="session")
def shared():
    """shared("node") -> a tool that lives as long as the session; open and close ponds of your own in it."""
    tools = {}

    def shared(language: str) -> harness.Tool:
        if language not in harness.LANGUAGES:
            pytest.skip(f"MILLPOND_LANGUAGES leaves {language} out")
        if language not in tools or tools[language].process.poll() is not None:
            tools[language] = harness.Tool(language)
        return tools[language]

    yield shared
    for tool in tools.values():
        tool.close()


@pytest.fixture
def log(tmp_path):
    return harness.LoadLog(tmp_path / "loads")


@pytest.fixture
def say(request):
    """Prints a measured figure so that it is seen without -s too (in the summary of a run)."""
    lines = request.config.stash.setdefault(_said, [])

    def say(line: str) -> None:
        lines.append(f"{request.node.name}: {line}")

    return say


_said = pytest.StashKey[list]()


def pytest_terminal_summary(terminalreporter, config):
    lines = config.stash.get(_said, [])
    if lines:
        terminalreporter.section("measured")
        for line in lines:
            terminalreporter.line(line)
