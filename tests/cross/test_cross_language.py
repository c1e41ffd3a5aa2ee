"""One language fills, the others hit, a third invalidates: every value, through Redis."""

from __future__ import annotations

import pytest

import harness
import spec

# who fills, who hits, who invalidates: Node fills, Python hits, C invalidates, and the rotations of it
ROLES = [("node", "python", "c"), ("python", "c", "node"), ("c", "node", "python"),
         ("node", "asyncio", "c"), ("asyncio", "c", "node"), ("c", "node", "asyncio"), ("asyncio", "python", "asyncio")]
RUNS = [pytest.param(roles, value, id=f"{'-'.join(roles)}: {value['name']}")
        for roles in ROLES if set(roles) <= set(harness.LANGUAGES)
        for value in spec.values() if set(roles) <= set(value.get("languages", spec.LANGUAGES))]


@pytest.mark.parametrize("roles, value", RUNS)
def test_value(roles, value, shared, redis, ns):
    load = value["load"]
    expect = {"state": "absent"} if "absent" in load else load
    tools = {language: shared(language) for language in roles}
    for tool in tools.values():
        tool.open(redis.url, ns)
    filler, hitter, remover = (tools[language] for language in roles)

    def run(tool, step):
        step = spec.step_of(step)
        answer = tool.do(step.line)
        wrong = spec.difference(step.expect, answer)
        assert wrong is None, f"{tool.language}: {step.line[:120]}: {wrong}"
        return answer

    try:
        run(filler, {"fetch": "k", "load": load, "expect": {**expect, "loaded": True}})
        answer = run(hitter, {"fetch": "k", "load": {"never": True}, "expect": {**expect, "loaded": False}})
        if "text" in load or "bytes" in load:
            assert answer["type"] == ("text" if "text" in load else "bytes")
        run(hitter, {"lookup": "k", "expect": expect})
        run(remover, {"invalidate": ["k"]})
        for tool in tools.values():
            run(tool, {"lookup": "k", "expect": {"state": "miss"}})
        # and now the other way: the hitter loads, the filler sees it
        run(hitter, {"fetch": "k", "load": load, "expect": {**expect, "loaded": True}})
        run(filler, {"fetch": "k", "load": {"never": True}, "expect": {**expect, "loaded": False}})
    finally:
        for tool in tools.values():
            tool.do("close")
