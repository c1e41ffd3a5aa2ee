"""The hit path is one GET and no script; and no read that began after an invalidation returned sees the old value."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

import harness

HITS = 3000
ROUNDS = 10_000
# What the fence check runs once a second and connection: a script, and what the script calls.
FENCE = {"evalsha", "eval", "script|load", "info", "hmget", "hset", "del"}
OURS = {"config|resetstat", "info", "client|list"}


@pytest.mark.parametrize("language", harness.LANGUAGES)
def test_a_hit_is_one_get(language, start, redis, ns, say):
    tool = start(language)
    tool.open(redis.url, ns)
    tool.do(f"sweep key=k ids=10 rounds=2 load=json")
    redis.call("CONFIG", "RESETSTAT")
    began = time.monotonic()
    for _ in range(3):  # with pauses, so that the fence's check is due
        answer = tool.do(f"sweep key=k ids=10 rounds={HITS // 30} load=json", 60)
        assert answer["answers"] == HITS // 3 and answer["loads"] == 0 and not answer["errors"], answer
        time.sleep(0.6)
    took = time.monotonic() - began
    calls = redis.stats()
    scripts = calls.get("evalsha", 0) + calls.get("eval", 0)
    say(f"{HITS:,} hits in {took:.1f} s, pauses included: {calls.get('get', 0):,} GET, {scripts} fence checks")
    assert calls.get("get", 0) == HITS
    assert 1 <= scripts <= took + 1, "the fence is checked once a second, and nothing else is a script"
    assert set(calls) <= {"get"} | FENCE | OURS, calls
    assert calls.get("hmget", 0) == scripts, "the scripts that ran were not the fence's"


PAIRS = [("python", "node"), ("node", "c"), ("c", "asyncio"), ("asyncio", "python"), ("node", "node")]
HEIRS = [("python", "c"), ("asyncio", "node"), ("node", "python"), ("c", "asyncio")]


def started(log: harness.LoadLog, loads: int = 1) -> None:
    end = time.monotonic() + 5
    while len(log.starts) < loads:
        assert time.monotonic() < end, "the load did not start"
        time.sleep(0.002)


@pytest.mark.parametrize("loader, writer", PAIRS, ids=map("-".join, PAIRS))
def test_an_invalidation_refuses_the_fill_of_a_slow_load(loader, writer, start, redis, ns, log):
    """A load under way read the old row; the writer invalidates; what the load brings is not cached."""
    slow, other = start(loader), start(writer)
    for tool in (slow, other):
        tool.open(redis.url, ns)
    slow.tell(f"crowd key=k callers=3 delay=300 log={log.path}")
    started(log)
    other.do("invalidate key=k")
    assert other.do("lookup key=k")["state"] == "miss"
    new = other.do("fetch key=k load=json data=2")
    assert new["loaded"] and new["data"] == 2, "the reader waited for a load that it may not share"
    answer = slow.answer()
    assert answer["answers"] == 3 and not answer["errors"], answer
    assert slow.do("lookup key=k")["data"] == other.do("lookup key=k")["data"] == 2
    assert slow.do(f"stat counter=refused_fills namespace={ns}")["count"] == 1


@pytest.mark.parametrize("loader, heir", HEIRS, ids=map("-".join, HEIRS))
def test_a_loader_that_slept_past_its_lease_fills_nothing(loader, heir, start, redis, ns, log, say):
    """Its process is stopped in mid-load; another takes over; when it wakes up, its older value is refused."""
    sleeper, other = start(loader), start(heir)
    for tool in (sleeper, other):
        tool.open(redis.url, ns, lease="600ms")
    sleeper.tell(f"crowd key=k callers=1 delay=200 log={log.path}")
    started(log)
    os.kill(sleeper.process.pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        new = other.do("fetch key=k load=json data=2")
        took = time.monotonic() - began
    finally:
        os.kill(sleeper.process.pid, signal.SIGCONT)
    say(f"took over after {took:.2f} s")
    assert new["loaded"] and new["data"] == 2
    assert took <= 0.6 + 0.2
    answer = sleeper.answer()
    assert answer["answers"] == 1 and not answer["errors"], answer
    assert sleeper.do("lookup key=k")["data"] == other.do("lookup key=k")["data"] == 2
    assert sleeper.do(f"stat counter=refused_fills namespace={ns}")["count"] == 1


def race(kind: str, port: int, rounds: int) -> dict:
    words = [sys.executable, "-B", str(harness.HERE / "tools/stale.py"), kind, str(port), str(rounds)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_no_stale_read_after_an_invalidation(own_redis, say):
    answer = race("millpond", own_redis.port, ROUNDS)
    say(f"{answer['rounds']:,} rounds, {answer['reads']:,} reads, {answer['loads']:,} loads: {answer['stale']} stale "
        f"({answer['seconds']} s)")
    assert answer["rounds"] == ROUNDS
    assert answer["loads"] > ROUNDS, "the race needs loads"
    assert answer["stale"] == 0


def test_the_textbook_fails_the_same_test(own_redis, say):
    answer = race("textbook", own_redis.port, ROUNDS // 10)  # two in a hundred are stale
    say(f"{answer['rounds']:,} rounds, {answer['reads']:,} reads, {answer['loads']:,} loads: {answer['stale']} stale "
        f"({answer['seconds']} s)")
    assert answer["rounds"] == ROUNDS // 10
    assert answer["stale"] > 0
