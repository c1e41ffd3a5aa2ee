"""Absent ids stay off the store, and a new row is seen at once."""

from __future__ import annotations

import pytest

import harness
import spec


@pytest.mark.parametrize("cache", spec.CACHES)
@pytest.mark.parametrize("language", harness.LANGUAGES)
def test_absent_ids(language, cache, start, redis, ns, log, say):
    tool = start(language)
    tool.open(redis.url if cache == "redis" else "memory:", ns)
    answer = tool.do(f"sweep key=ghost: ids=1000 rounds=10 load=absent batch=100 log={log.path}", 60)
    loads = len(log.starts)
    say(f"{answer['answers']:,} lookups of 1,000 absent ids, {loads:,} loads, {answer['took_ms']:.0f} ms")
    assert answer["answers"] == 10_000 and answer["absent"] == 10_000 and not answer["errors"], answer
    assert loads == 1000
    stat = {name: tool.do(f"stat counter={name} namespace={ns}")["count"] for name in ("loads", "negative_hits", "fills")}
    assert stat["loads"] == stat["fills"] == 1000
    # fetches of one id that are under way at once may be counted as waits instead
    assert stat["negative_hits"] == 9000


@pytest.mark.parametrize("reader, writer", [("python", "node"), ("asyncio", "c"), ("node", "python"), ("c", "asyncio"),
                                            ("python", "python"), ("node", "node")])
def test_a_new_row_is_seen_at_once(reader, writer, start, redis, ns, tmp_path):
    """The writer, another process, creates the row in the store and invalidates; the reader's next fetch has it."""
    store = f"sqlite:{tmp_path}/films.db"
    tools = [start(reader), start(writer)]
    for tool in tools:
        tool.open(redis.url, ns, store=store)
    ours, other = tools
    other.do("create collection=films")
    for row in range(20):
        assert ours.do(f"get collection=films id={row}")["state"] == "absent"
        assert ours.do(f"fetch key=film:{row} load=absent")["state"] == "absent"
        assert ours.do(f"fetch key=film:{row} load=never")["state"] == "absent"
        other.do(f'put collection=films id={row} doc={{"title":"new"}}')
        other.do(f"invalidate key=film:{row}")
        found = ours.do(f"get collection=films id={row}")["data"]
        answer = ours.do(spec.words("fetch", ("key", f"film:{row}"), ("load", "json"), ("data", spec.compact(found))))
        assert answer["loaded"] and answer["data"] == {"id": str(row), "title": "new"}
        assert other.do(f"fetch key=film:{row} load=never")["data"] == {"id": str(row), "title": "new"}
