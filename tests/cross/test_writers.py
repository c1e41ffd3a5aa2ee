"""Writers who meet at a document, and a writer who dies between its commit and its end, with a thousand readers.

WRITE_ROUNDS (100): how often two writers meet, for each pair of languages and each way to write."""

from __future__ import annotations

import collections
import itertools
import json
import os
import random
import shutil
import sys
import time

import pytest

import harness
import spec

ROUNDS = int(os.environ.get("WRITE_ROUNDS", "100"))
PAIRS = [("python", "node", "c"), ("c", "asyncio", "node")]
INTENT_S = 1.5  # of tools/dying.*
TOOLS = harness.HERE / "tools"


@pytest.mark.parametrize("write", ["through", "aside"])
@pytest.mark.parametrize("one, other, third", PAIRS, ids=map("-".join, PAIRS))
def test_two_writers_of_one_document(one, other, third, write, start, redis, ns, tmp_path, say):
    """Whenever both have returned, what is cached is what is stored; in all three processes."""
    tools = [start(language) for language in (one, other, third)]
    for tool in tools:
        tool.open(redis.url, ns, store=f"sqlite:{tmp_path}/films.db")
    tools[2].do("create collection=films")
    tools[2].do(spec.words("put", ("collection", "films"), ("id", "1"), ("doc", '{"n":0}')))
    numbers, chance = itertools.count(1), random.Random(write)
    for _ in range(ROUNDS):
        for tool, name in zip(tools[:2], "ab"):
            time.sleep(chance.random() * 0.004)
            number = next(numbers)
            kind, doc = ("update", {name: number}) if number % 3 else ("replace", {"n": number})
            tool.tell(spec.words("change", ("collection", "films"), ("with.write", write), ("kind", kind), ("id", "1"), ("doc", json.dumps(doc))))
        for tool in tools[:2]:
            answer = tool.answer()
            assert answer["ok"], answer
        stored = tools[2].do("get collection=films id=1")["data"]
        for tool in (tools[2], *tools[:2]):
            assert tool.do(spec.words("document", ("collection", "films"), ("with.write", write), ("id", "1")))["data"] == stored
    loads = sum(tool.do("stat counter=loads")["count"] for tool in tools)
    say(f"{ROUNDS} rounds, behind {loads} of them it was loaded again: the writers had met, or wrote aside")
    assert loads <= 1.1 * ROUNDS, "what was loaded is not cached"


def dying(role: str, *words: str) -> harness.Tool:
    program = [shutil.which("node"), str(TOOLS / "dying.mjs")] if role.startswith("node") else [sys.executable, "-B", str(TOOLS / "dying.py")]
    return harness.Tool(role, [*program, role.removeprefix("node-"), *words])


@pytest.mark.parametrize("writer", ["writer", "node-writer"], ids=["python", "node"])
def test_a_writer_that_dies_between_its_commit_and_its_end(writer, start, redis, ns, log, tmp_path, say):
    """kill -9 behind the commit: who asks from then on is given the new value, by one load at a time in each process; and within the
    intent's time it is cached."""
    store = tmp_path / "store"
    store.write_text("1")
    looker = start("c")
    looker.open(redis.url, ns)
    looker.do("fetch key=k load=json data=1")
    readers = [dying(role, redis.url, ns, str(store), str(log.path), "250") for role in ("python", "asyncio", "node", "node")]
    writing = dying(writer, redis.url, ns, str(store))
    assert writing.answer() == {"began": True}
    end = time.monotonic() + 10
    while len({pid for pid, _ in log.starts}) < len(readers):
        assert time.monotonic() < end, "not all read"
        time.sleep(0.01)
    writing.tell("commit")
    committed = writing.answer()["committed"]
    while looker.do("lookup key=k")["state"] == "miss":
        assert time.monotonic_ns() < committed + 10 * INTENT_S * 1e9, "nothing is cached"
        time.sleep(0.005)
    back = (time.monotonic_ns() - committed) / 1e9
    time.sleep(0.2)
    for reader in readers:
        reader.process.stdin.close()
    seen = [reader.answer() for reader in readers]
    assert looker.do("lookup key=k")["data"] == 2
    loads = collections.Counter(pid for pid, _ in log.starts)
    say(f"{sum(one['reads'] for one in seen)} reads, {sum(loads.values())} loads by {len(loads)} processes, cached again after {back:.2f} s")
    for one in seen:
        assert one["errors"] == [] and set(one["last"]) == {"1", "2"}, one
        assert one["last"]["1"] < committed, "a read that began after the commit was given the old value"
    assert at_once(log) == 1, "a process loaded twice at the same time"
    assert back <= INTENT_S + 0.5, "the intent has run out, and nothing was cached"


def at_once(log: harness.LoadLog) -> int:
    """The most loads of one process that were under way at the same time."""
    most, now = 0, collections.Counter()
    for _, step, pid in sorted([(ns, 1, pid) for pid, ns in log.starts] + [(ns, -1, pid) for pid, ns in log.ends]):
        now[pid] += step
        most = max(most, now[pid])
    return most
