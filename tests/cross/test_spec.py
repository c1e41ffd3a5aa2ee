"""The shared cases of tests/spec in every language, by the tools, on Redis where they hold there: each language's own suite has them on both
caches. MILLPOND_SPEC=all: here, too."""

from __future__ import annotations

import os

import pytest

import harness
import spec

ALL = os.environ.get("MILLPOND_SPEC") == "all"
RUNS = [pytest.param(language, cache, case, id=f"{language}-{cache}-{case.file.split('.')[0]}: {case.name}")
        for language in harness.LANGUAGES for cache in spec.CACHES for case in spec.all_cases()
        if language in case.languages and cache in (case.caches if ALL else case.caches[-1:])]


def fill(words, ns: str, store: str):
    if isinstance(words, str):
        return words.replace("@NS@", ns).replace("@STORE@", store)
    return words


def dump(redis, ns: str) -> dict:
    """What the server holds of a namespace: values, leases, intents."""
    return {name: redis.call("DUMP", name) for name in redis.call("KEYS", "mp:?:{" + ns + ":*")}


@pytest.mark.parametrize("language, cache, case", RUNS)
def test_case(language, cache, case, shared, redis, ns, tmp_path):
    tool, store = shared(language), f"sqlite:{tmp_path}/store.db"
    options = {name: fill(value, ns, store) for name, value in case.options.items()}
    tool.open(redis.url if cache == "redis" else "memory:", ns, **options)
    try:
        before = {}
        if case.file == "errors.json":
            tool.do(spec.WITNESS.line)
            before = dump(redis, ns)
        for step in case.steps:
            if language not in step.languages:
                continue
            answer = tool.ask(fill(step.line, ns, store))
            if answer["ok"] and step.line.startswith("open "):
                tool.do("close pond=second")
            wrong = harness.matches(step.expect, answer, language)
            assert wrong is None, f"{step.line[:200]}: {wrong}"
        if case.file == "errors.json":
            answer = tool.ask(spec.WITNESS_STILL.line)
            assert spec.difference(spec.WITNESS_STILL.expect, answer) is None, answer
            assert dump(redis, ns) == before, "bad input changed what the cache holds"
            assert len(before) == (1 if cache == "redis" else 0)
    finally:
        tool.do("close")
