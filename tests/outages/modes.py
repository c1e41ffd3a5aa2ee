"""The outages: how each begins, and how it ends. A real redis-server, and where the network is at fault a real one of those, too:
packets are dropped by the kernel where it lets us, in a network namespace of our own; else a proxy swallows them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading

from proxy import Proxy
from redis_server import RedisServer, ServerError


class Mode:
    """Nothing happens. `url` is what the clients are given."""

    name = "none"
    proxied = False

    def __init__(self, seconds: float):
        self.seconds = seconds
        self.server = RedisServer()
        self.proxy = Proxy(self.server.port) if self.proxied else None
        self._over = threading.Event()
        self._again: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.proxy.port if self.proxy else self.server.port}/0"

    def begin(self) -> None:
        pass

    def end(self) -> None:
        pass

    def close(self) -> None:
        self.stop_repeating()
        if self.proxy:
            self.proxy.close()
        self.server.stop()

    def repeat(self, every: float, action) -> None:
        """From now on, until stop_repeating."""
        def run() -> None:
            while not self._over.is_set():
                action()
                self._over.wait(every)
        self._again = threading.Thread(target=run, daemon=True)
        self._again.start()

    def stop_repeating(self) -> None:
        self._over.set()
        if self._again:
            self._again.join(5)


class Stopped(Mode):
    name = "stopped"

    def begin(self) -> None:
        self.server.kill()

    def end(self) -> None:
        self.server.start()


class Frozen(Mode):
    name = "sigstop"

    def begin(self) -> None:
        self.server.process.send_signal(signal.SIGSTOP)

    def end(self) -> None:
        self.server.process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        self.end()
        super().close()


def drops_packets() -> bool:
    """May this process have the kernel drop packets, where nobody else is hit by it?"""
    return os.environ.get("MILLPOND_OUTAGES_NAMESPACE") == "1"


class HalfOpen(Mode):
    """Packets vanish, both ways: what stands is not closed, what is new is not refused."""

    name = "half-open"
    proxied = not drops_packets()

    def _rules(self, action: str) -> None:
        for way in ("--dport", "--sport"):
            subprocess.run(["iptables", action, "INPUT", "-i", "lo", "-p", "tcp", way, str(self.server.port), "-j", "DROP"], check=True)

    def begin(self) -> None:
        if self.proxy:
            self.proxy.swallow()
        else:
            self._rules("-A")

    def end(self) -> None:
        if self.proxy:
            self.proxy.behave()
        else:
            self._rules("-D")


class Cut(Mode):
    """Every connection is reset in the middle of some answer."""

    name = "cut"
    proxied = True

    def begin(self) -> None:
        self.proxy.cut(1, 3000)

    def end(self) -> None:
        self.proxy.behave()


class RestartedEmpty(Mode):
    """It comes back at once and has lost everything, again and again."""

    name = "restarted-empty"

    def _restart(self) -> None:
        self.server.kill()
        self.server.start()

    def begin(self) -> None:
        self.repeat(0.5, self._restart)

    def end(self) -> None:
        self.stop_repeating()


class ReadOnly(Mode):
    """It has become a replica, of a master that is not there."""

    name = "read-only"

    def begin(self) -> None:
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            self.server.call("REPLICAOF", "127.0.0.1", nobody.getsockname()[1])

    def end(self) -> None:
        self.server.call("REPLICAOF", "NO", "ONE")


class Full(Mode):
    name = "full"

    def begin(self) -> None:
        self.server.call("CONFIG", "SET", "maxmemory-policy", "noeviction", "maxmemory", "1")

    def end(self) -> None:
        self.server.call("CONFIG", "SET", "maxmemory", "0")


class Paused(Mode):
    name = "client-pause"

    def begin(self) -> None:
        self.server.call("CLIENT", "PAUSE", int(self.seconds * 1000), "ALL")


class ScriptsFlushed(Mode):
    name = "script-flush"

    def _flush(self) -> None:
        self.server.call("SCRIPT", "FLUSH", "SYNC")

    def begin(self) -> None:
        self.repeat(0.002, self._flush)

    def end(self) -> None:
        self.stop_repeating()


class Denied(Mode):
    """The clients' user may do nothing any more."""

    name = "acl-denied"

    def __init__(self, seconds: float):
        super().__init__(seconds)
        self.server.call("ACL", "SETUSER", "app", "on", ">secret", "~*", "&*", "+@all")

    @property
    def url(self) -> str:
        return super().url.replace("redis://", "redis://app:secret@")

    def begin(self) -> None:
        self.server.call("ACL", "SETUSER", "app", "-@all")

    def end(self) -> None:
        self.server.call("ACL", "SETUSER", "app", "+@all")


class Slow(Mode):
    """Every answer comes 2 s after its question."""

    name = "latency-2s"
    proxied = True

    def begin(self) -> None:
        self.proxy.delay(1.0)

    def end(self) -> None:
        self.proxy.behave()


MODES = {mode.name: mode for mode in (Stopped, Frozen, HalfOpen, Cut, RestartedEmpty, ReadOnly, Full, Paused, ScriptsFlushed,
                                      Denied, Slow)}
__all__ = ["MODES", "Mode", "ServerError", "drops_packets"]
