"""Real Redis servers for tests: start, stop, kill, start again empty, on loopback.

    with RedisServer() as server:           # a port of its own (ports.py), no persistence
        server.url, server.call("INCR", "n")

    python tests/servers/redis_server.py -- ctest --test-dir build/c
        starts one, runs the command with MILLPOND_TEST_REDIS=redis://127.0.0.1:PORT/0, stops it,
        and exits with the command's status.
        --tls: it speaks TLS as well, on the port of MILLPOND_TEST_REDIS_TLS=rediss://127.0.0.1:PORT/0;
        MILLPOND_TEST_CERTIFICATES names the folder that certificates.py filled.
        --acl: MILLPOND_TEST_REDIS has the user of the manual, who may do what it says and no more.

MILLPOND_TEST_REDIS_SERVER is the server's program, where it is another than redis-server: Valkey's, or another version's.

Only the standard library is used, so that a suite in any language can lean on it.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import certificates
import ports


class ServerError(RuntimeError):
    """The server answered with an error, or did not come up."""


class Connection:
    """A small blocking RESP2 client: independent of the library under test, and of its peers."""

    def __init__(self, host: str, port: int, timeout: float = 5.0):
        self._socket = socket.create_connection((host, port), timeout)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rb")

    def call(self, *words):
        self.send(*words)
        return self.receive()

    def send(self, *words) -> None:
        self.send_all([words])

    def send_all(self, commands) -> None:
        parts = []
        for words in commands:
            parts.append(b"*%d\r\n" % len(words))
            for word in words:
                data = word if isinstance(word, bytes) else str(word).encode()
                parts.append(b"$%d\r\n%s\r\n" % (len(data), data))
        self._socket.sendall(b"".join(parts))

    def receive(self):
        line = self._file.readline()
        if not line:
            raise ConnectionError("the server closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest.decode()
        if kind == b"-":
            raise ServerError(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            size = int(rest)
            return None if size < 0 else self._file.read(size + 2)[:-2]
        if kind == b"*":
            count = int(rest)
            return None if count < 0 else [self.receive() for _ in range(count)]
        raise ServerError(f"not RESP2: {line!r}")

    def close(self) -> None:
        self._file.close()
        self._socket.close()


class RedisServer:
    """One redis-server without persistence; `start` after `kill` brings it back empty on the same port.

    With `tls` it has a second port, `secure_url`, on which it shows `server.pem` of the folder `certificates` and asks for
    no client certificate: `show` and `demand` change that.
    """

    def __init__(self, port: int | None = None, cpu: int | None = None, options: dict | None = None,
                 program: str | None = None, tls: bool = False):
        self.program = program or os.environ.get("MILLPOND_TEST_REDIS_SERVER", "redis-server")
        if not shutil.which(self.program):
            raise ServerError(f"there is no {self.program} on the path (MILLPOND_TEST_REDIS_SERVER): install redis-server")
        self.cpu = cpu
        self.options = options or {}
        self.process: subprocess.Popen | None = None
        self.folder = tempfile.mkdtemp(prefix="millpond-redis-")
        self.certificates = os.path.join(self.folder, "certificates")
        self.tls = tls
        if tls:
            os.mkdir(self.certificates)
            certificates.make(self.certificates)
        self._control: Connection | None = None
        self._taken = [ports.take() for _ in range((port is None) + tls)]
        self.port = port or self._taken[0]
        self.tls_port = self._taken[-1] if tls else 0
        self.start()

    def start(self) -> None:
        words = [self.program, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", self.folder, "--save", "",
                 "--appendonly", "no", "--daemonize", "no", "--logfile", "redis.log"]
        if self.tls:
            words += ["--tls-port", str(self.tls_port), "--tls-auth-clients", "no"]
            for name, file in ("ca-cert", "ca.pem"), ("cert", "server.pem"), ("key", "server.key"):
                words += [f"--tls-{name}-file", self.certificate(file)]
        for name, value in self.options.items():
            words += [f"--{name}", str(value)]
        pin = None if self.cpu is None else lambda: os.sched_setaffinity(0, {self.cpu})
        self.process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=pin)
        if not self._usable():
            raise ServerError(f"redis-server did not come up on port {self.port}: {self._last_words()}")

    def _usable(self) -> bool:
        end = time.monotonic() + 10
        while time.monotonic() < end and self.process.poll() is None:
            try:
                connection = Connection("127.0.0.1", self.port, 1)
                info = connection.call("INFO", "server").decode()
                if f"process_id:{self.process.pid}" not in info:  # somebody else's server
                    connection.close()
                    self.process.kill()
                    self.process.wait()
                    return False
                self._control = connection
                return True
            except (OSError, ServerError):
                time.sleep(0.01)
        self.process.kill()
        self.process.wait()
        return False

    def _last_words(self) -> str:
        try:
            with open(os.path.join(self.folder, "redis.log"), encoding="utf-8", errors="replace") as log:
                return " / ".join(log.read().splitlines()[-3:])
        except OSError:
            return "it wrote no log"

    @property
    def url(self) -> str:
        return self.database(0)

    def database(self, number: int) -> str:
        return f"redis://127.0.0.1:{self.port}/{number}"

    @property
    def secure_url(self) -> str:
        return f"rediss://127.0.0.1:{self.tls_port}/0"

    def certificate(self, name: str) -> str:
        return os.path.join(self.certificates, name)

    def show(self, name: str) -> None:
        """Another certificate to who connects from now on."""
        self.call("CONFIG", "SET", "tls-cert-file", self.certificate(name))

    def demand(self, demanded: bool) -> None:
        """A client certificate of who connects from now on."""
        self.call("CONFIG", "SET", "tls-auth-clients", "yes" if demanded else "no")

    def restricted(self) -> str:
        """An address with a user as the manual makes one."""
        lines = (pathlib.Path(__file__).resolve().parents[2] / "core" / "GUIDE.md").read_text(encoding="utf-8").splitlines()
        (line,) = (line for line in lines if line.startswith("    ACL SETUSER "))
        words = line.replace(">PASSWORD", ">open-sesame").split()
        self.call(*words)
        return self.url.replace("//", f"//{words[2]}:open-sesame@")

    def connect(self) -> Connection:
        return Connection("127.0.0.1", self.port)

    def call(self, *words):
        return self._control.call(*words)

    def stats(self) -> dict[str, int]:
        """Calls by command since CONFIG RESETSTAT."""
        lines = self.call("INFO", "commandstats").decode().splitlines()
        pairs = (line[len("cmdstat_"):].split(":calls=") for line in lines if line.startswith("cmdstat_"))
        return {name: int(rest.split(",")[0]) for name, rest in pairs}

    def script_us(self) -> int:
        """How long scripts have run since CONFIG RESETSTAT."""
        lines = self.call("INFO", "commandstats").decode().splitlines()
        return sum(int(line.split("usec=")[1].split(",")[0]) for line in lines if line.startswith(("cmdstat_evalsha:", "cmdstat_eval:")))

    def kill(self) -> None:
        """SIGKILL: nothing is saved, nobody is told."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        if self.process is not None:
            self._end(signal.SIGTERM if self.process.poll() is None else signal.SIGKILL)
        while self._taken:
            ports.give_back(self._taken.pop())
        shutil.rmtree(self.folder, ignore_errors=True)

    def _end(self, number: int) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def __enter__(self) -> RedisServer:
        return self

    def __exit__(self, *_) -> None:
        self.stop()


def main() -> int:
    parser = argparse.ArgumentParser(description="run a command beside a Redis server of its own")
    parser.add_argument("--port", type=int)
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--acl", action="store_true")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    words = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    if not words:
        parser.error("name a command after --")
    with RedisServer(arguments.port, tls=arguments.tls) as server:
        environment = dict(os.environ, MILLPOND_TEST_REDIS=server.restricted() if arguments.acl else server.url)
        if arguments.tls:
            environment.update(MILLPOND_TEST_REDIS_TLS=server.secure_url, MILLPOND_TEST_CERTIFICATES=server.certificates)
        return subprocess.call(words, env=environment)


if __name__ == "__main__":
    sys.exit(main())
