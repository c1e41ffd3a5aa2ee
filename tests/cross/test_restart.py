"""Redis is killed and started again empty, under load: no crash, no call past its deadline, and what the policy says."""

from __future__ import annotations

import time

import pytest

from harness import LANGUAGES

STORM_MS, KILL_S, BACK_S, CALM_MS = 4500, 1.0, 2.2, 1000
# connect_timeout 1 s + command_timeout 500 ms, and what two slow cores add
DEADLINE_MS = 2000


def storm(start, server, ns: str, **options: str) -> dict[str, dict]:
    tools = {language: start(language) for language in LANGUAGES}
    for language, tool in tools.items():
        tool.open(server.url, f"{ns}-{language}", **options)
        tool.do("fetch key=warm load=json data=1")
    for tool in tools.values():
        tool.tell(f"storm ms={STORM_MS} callers=4 keys=50 calm={CALM_MS}")
    time.sleep(KILL_S)
    server.kill()
    time.sleep(BACK_S - KILL_S)
    server.start()
    answers = {language: tool.answer(30) for language, tool in tools.items()}
    assert server.call("DBSIZE") > 0, "nothing was cached after the restart"
    for language, tool in tools.items():  # and it still works
        assert tool.do("fetch key=after load=json data=2")["data"] == 2
        assert tool.do("fetch key=after load=never")["loaded"] is False, f"{language} does not cache again"
    return answers


@pytest.mark.parametrize("policy", ["store", "error"])
def test_restart_under_load(policy, start, own_redis, ns, say):
    answers = storm(start, own_redis, ns, when_cache_down=policy)
    for language, answer in answers.items():
        assert answer["ok"], (language, answer)
        say(f"{language}: {answer['answers']:,} calls, {answer['loads']:,} loads, longest {answer['longest_ms']:.0f} ms, "
            f"errors {answer['errors'] or 'none'}")
    for language, answer in answers.items():
        assert answer["wrong"] == 0, language
        assert answer["answers"] > 500, f"{language}: hardly any load"
        assert answer["longest_ms"] <= DEADLINE_MS, language
        assert answer["late_errors"] == 0, f"{language}: errors although the server was back: {answer}"
        if policy == "store":
            assert not answer["errors"], f"{language}: {answer['first_error']}"
            assert answer["loads"] > 50, f"{language}: the store was not asked"
        else:
            assert set(answer["errors"]) == {"POND_ECACHE"}, f"{language}: {answer['errors']} {answer['first_error']}"
            assert "127.0.0.1" in answer["first_error"], f"{language}: the sentence names the server: {answer['first_error']}"


def test_a_frozen_server_does_not_hold_a_call(start, own_redis, ns, say):
    """A server that accepts and says nothing: the command's deadline ends the wait, and the store answers."""
    import os
    import signal
    tools = {language: start(language) for language in LANGUAGES}
    for tool in tools.values():
        tool.open(own_redis.url, ns, command_timeout="300ms")
        tool.do("fetch key=warm load=json data=1")
    os.kill(own_redis.process.pid, signal.SIGSTOP)
    try:
        for language, tool in tools.items():
            began = time.monotonic()
            answer = tool.do("fetch key=k load=json data=7")
            took = time.monotonic() - began
            say(f"{language}: answered by the store after {took * 1000:.0f} ms")
            assert answer["data"] == 7 and answer["loaded"]
            assert took < 1.5, language
    finally:
        os.kill(own_redis.process.pid, signal.SIGCONT)
    for tool in tools.values():
        end = time.monotonic() + 5
        while tool.ask("lookup key=warm").get("data") != 1:
            assert time.monotonic() < end, f"{tool.language} did not come back"
            time.sleep(0.05)
