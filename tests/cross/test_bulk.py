"""1,000 keys in one call, 100 of them missing: what that costs the server, by its own count, and how often the caller has to hear an
answer before it goes on, counted by a relay that keeps back every answer for a while."""

from __future__ import annotations

import re
import socket
import threading
import time

import pytest

import harness

KEYS, MISSING = 1000, 100
DELAY_S = 0.4


class Relay:
    """Between one client and the server, with the latency of a long way: answers arrive DELAY_S after they were given. A round trip is counted
    when the client sends something after it has heard something and been silent: answers come in pieces, and what they call for does, too."""

    def __init__(self, port: int):
        self.server_port = port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.lock = threading.Lock()
        self.rounds = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client = self.listener.accept()[0]
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.server_port))
            heard = threading.Event()
            heard.set()
            threading.Thread(target=self._up, args=(client, server, heard), daemon=True).start()
            threading.Thread(target=self._down, args=(server, client, heard), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket, heard: threading.Event) -> None:
        last = 0.0
        try:
            while data := client.recv(1 << 20):
                now = time.monotonic()
                if heard.is_set() and now - last > DELAY_S / 2:
                    with self.lock:
                        self.rounds += 1
                heard.clear()
                last = now
                server.sendall(data)
        except OSError:
            pass
        server.close()

    def _down(self, server: socket.socket, client: socket.socket, heard: threading.Event) -> None:
        pending: list[tuple[float, bytes]] = []
        try:
            while True:
                server.settimeout(max(pending[0][0] - time.monotonic(), 0.001) if pending else None)
                try:
                    data = server.recv(1 << 20)
                    if not data:
                        break
                    pending.append((time.monotonic() + DELAY_S, data))
                except TimeoutError:
                    pass
                while pending and pending[0][0] <= time.monotonic():
                    heard.set()
                    client.sendall(pending.pop(0)[1])
        except OSError:
            pass
        client.close()

    def take(self) -> int:
        with self.lock:
            rounds, self.rounds = self.rounds, 0
        return rounds

    def close(self) -> None:
        self.listener.close()


@pytest.fixture
def relay(redis):
    made = Relay(redis.port)
    yield made
    made.close()


def calls(redis) -> dict[str, int]:
    return {name: int(count) for name, count in re.findall(r"cmdstat_(\w+):calls=(\d+)", str(redis.call("INFO", "commandstats")))}


@pytest.mark.parametrize("language", harness.LANGUAGES)
def test_a_thousand_keys(language, start, redis, relay, ns):
    tool = start(language)
    tool.open(f"redis://127.0.0.1:{relay.port}/0", ns, command_timeout="20s", connect_timeout="5s")

    def bulk() -> tuple[dict, int, float, dict[str, int]]:
        relay.take()
        before, began = calls(redis), time.monotonic()
        answer = tool.do(f"bulk key=user: ids={KEYS}")
        took, after = time.monotonic() - began, calls(redis)
        return answer, relay.take(), took, {name: after[name] - before.get(name, 0) for name in after}

    answer, _, _, _ = bulk()  # connects, and loads everything
    assert (answer["values"], answer["wrong"], answer["asked"]) == (KEYS, 0, [KEYS])
    tool.do("invalidate " + " ".join(f"key=user:{number * 10}" for number in range(MISSING)))

    answer, rounds, _, cost = bulk()
    print(f"{language}: {MISSING} of {KEYS} missing: {rounds} round trips, {cost['get'] - MISSING} GETs and {cost['evalsha']} scripts, loader calls: {answer['asked']}")
    assert (answer["values"], answer["wrong"], answer["asked"]) == (KEYS, 0, [MISSING]), "one call of the loader"
    assert rounds == 3, "the keys, the leases, the fills"
    assert 2 * MISSING <= cost["evalsha"] <= 2 * MISSING + 4  # and the fence, once a second

    answer, rounds, took, cost = bulk()
    print(f"{language}: all {KEYS} there: {rounds} round trip, {cost['get']} GETs, {took * 1000:.0f} ms at {DELAY_S * 1000:.0f} ms away")
    assert (answer["values"], answer["wrong"], answer["asked"]) == (KEYS, 0, [])
    assert rounds == 1, "one round trip for the hits"
    assert KEYS <= cost["get"] <= KEYS + 4 and cost["evalsha"] <= 2
    tool.do("close")


@pytest.mark.parametrize("language", harness.LANGUAGES)
def test_setting_and_invalidating(language, start, redis, relay, ns):
    """40 values in two round trips; 100 keys and two tags out of reach in one."""
    tool = start(language)
    tool.open(f"redis://127.0.0.1:{relay.port}/0", ns, command_timeout="20s", connect_timeout="5s")
    tool.do("set_many set=k kind=json data=1")  # connects; and the server knows the scripts from here on
    relay.take()
    tool.do("set_many " + " ".join(f"set=k{number} kind=json data={number}" for number in range(40)))
    assert relay.take() == 2
    assert tool.do("lookup key=k39")["data"] == 39
    relay.take()
    tool.do("invalidate " + " ".join(f"key=k{number}" for number in range(100)) + " tag=a tag=b")
    assert relay.take() == 1
    assert tool.do("lookup key=k39")["state"] == "miss"
    tool.do("close")
