"""1,000 keys in one call, 100 of them missing: what that costs the server, by its own count, and how often the caller has to hear an
answer before it goes on, shown by a relay that keeps back all that a client sends until a whole round of it is there."""

from __future__ import annotations

import collections
import hashlib
import re
import socket
import threading
import typing

import pytest

import harness

KEYS, MISSING = 1000, 100
SCRIPTS = {hashlib.sha1(path.read_bytes()).hexdigest(): path.stem for path in (harness.ROOT / "core/src/cache/lua").glob("*.lua")}


class Relay:
    """Between one client and the server. While gates are shut nothing that the client sends gets through; one opens for all that stands before it
    when so many commands of a name are there, be that soon or late. So whoever waits for an answer between two of them stands there for ever,
    and so does who sends more than the gates are for and waits for that. A command that is not counted (the fence, once a second) goes with the
    others."""

    def __init__(self, port: int):
        self.server_port = port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.lock = threading.Lock()
        self.gates: collections.deque[tuple[str, int]] | None = None
        self.held: list[tuple[str, socket.socket, bytes]] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client = self.listener.accept()[0]
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.server_port))
            threading.Thread(target=self._up, args=(client, server), daemon=True).start()
            threading.Thread(target=self._down, args=(server, client), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        try:
            with client.makefile("rb") as stream:
                while command := read_command(stream):
                    with self.lock:
                        self.held.append((command[0], server, command[1]))
                        if self.gates is None:
                            self._pass()
                        elif self.gates and self.standing()[self.gates[0][0]] == self.gates[0][1]:
                            self.gates.popleft()
                            self._pass()
        except OSError:
            pass
        server.close()

    def _down(self, server: socket.socket, client: socket.socket) -> None:
        try:
            while data := server.recv(1 << 20):
                client.sendall(data)
        except OSError:
            pass
        client.close()

    def _pass(self) -> None:
        for _, server, data in self.held:
            server.sendall(data)
        self.held = []

    def standing(self) -> collections.Counter:
        return collections.Counter(name for name, _, _ in self.held)

    def shut(self, *gates: tuple[str, int]) -> None:
        with self.lock:
            self.gates = collections.deque(gates)

    def open(self) -> list[tuple[str, int]]:
        """-> the gates that did not open by themselves."""
        with self.lock:
            left, self.gates = self.gates, None
            self._pass()
        return list(left or ())

    def close(self) -> None:
        self.listener.close()


def read_command(stream: typing.BinaryIO) -> tuple[str, bytes] | None:
    """-> its name, which is a script's if it runs one, and all of it."""
    data = stream.readline()
    words = []
    for _ in range(int(data[1:] or 0)):
        size = stream.readline()
        word = stream.read(int(size[1:]) + 2)
        words.append(word[:-2])
        data += size + word
    if not words:
        return None
    name = words[0].decode()
    script = {"EVALSHA": lambda: words[1].decode(), "EVAL": lambda: hashlib.sha1(words[1]).hexdigest()}.get(name)
    return (SCRIPTS[script()] if script else name), data


def in_rounds(relay: Relay, tool: harness.Tool, line: str, *gates: tuple[str, int]) -> dict:
    """What the tool answers. It gets that only by sending what the gates are for, all of one before it has an answer to any of it, and without
    an answer to anything else."""
    relay.shut(*gates)
    try:
        tool.tell(line)
        answer = tool.answer()
    except AssertionError as error:
        raise AssertionError(f"{error}: before {list(relay.gates or ())} it waits for {dict(relay.standing())}") from error
    finally:
        left = relay.open()
    assert answer["ok"], answer
    assert not left, "it needed fewer"
    return answer


@pytest.fixture
def relay(redis):
    made = Relay(redis.port)
    yield made
    made.close()


def calls(redis) -> dict[str, int]:
    return {name: int(count) for name, count in re.findall(r"cmdstat_(\w+):calls=(\d+)", str(redis.call("INFO", "commandstats")))}


@pytest.fixture
def tool(start, relay, ns, language):
    tool = start(language)
    tool.open(f"redis://127.0.0.1:{relay.port}/0", ns, command_timeout="60s", connect_timeout="5s")
    return tool


@pytest.mark.parametrize("language", harness.LANGUAGES)
def test_a_thousand_keys(language, tool, redis, relay):
    def bulk(*gates: tuple[str, int]) -> tuple[dict, dict[str, int]]:
        before = calls(redis)
        answer = in_rounds(relay, tool, f"bulk key=user: ids={KEYS}", *gates)
        after = calls(redis)
        return answer, {name: after[name] - before.get(name, 0) for name in after}

    answer = tool.do(f"bulk key=user: ids={KEYS}")  # connects, and loads everything
    assert (answer["values"], answer["wrong"], answer["asked"]) == (KEYS, 0, [KEYS])
    tool.do("invalidate " + " ".join(f"key=user:{number * 10}" for number in range(MISSING)))

    answer, cost = bulk(("GET", KEYS), ("get", MISSING), ("fill", MISSING))  # the keys, the leases, the fills
    print(f"{language}: {MISSING} of {KEYS} missing: 3 round trips, {cost['get'] - MISSING} GETs and {cost['evalsha']} scripts, loader calls: {answer['asked']}")
    assert (answer["values"], answer["wrong"], answer["asked"]) == (KEYS, 0, [MISSING]), "one call of the loader"
    assert 2 * MISSING <= cost["evalsha"] <= 2 * MISSING + 4

    answer, cost = bulk(("GET", KEYS))
    print(f"{language}: all {KEYS} there: 1 round trip, {cost['get']} GETs")
    assert (answer["values"], answer["wrong"], answer["asked"]) == (KEYS, 0, [])
    assert KEYS <= cost["get"] <= KEYS + 4 and cost["evalsha"] <= 2
    tool.do("close")


@pytest.mark.parametrize("language", harness.LANGUAGES)
def test_setting_and_invalidating(language, tool, relay):
    """40 values in two round trips; 100 keys and two tags out of reach in one."""
    tool.do("set_many set=k kind=json data=1")  # connects; and the server knows the scripts from here on
    in_rounds(relay, tool, "set_many " + " ".join(f"set=k{number} kind=json data={number}" for number in range(40)), ("begin", 40), ("end", 40))
    assert tool.do("lookup key=k39")["data"] == 39
    in_rounds(relay, tool, "invalidate " + " ".join(f"key=k{number}" for number in range(100)) + " tag=a tag=b", ("end", 102))
    assert tool.do("lookup key=k39")["state"] == "miss"
    tool.do("close")
