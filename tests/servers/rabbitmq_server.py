"""A real RabbitMQ node for tests, on loopback: start, kill -9, start again with what it had.

    with RabbitmqServer() as server:
        server.url                          # amqp://guest:guest@127.0.0.1:PORT/

Needs Debian's rabbitmq-server. Everything that it writes, its Erlang cookie and port mapper included, is its own.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import ports

PROGRAM = "/usr/lib/rabbitmq/bin/rabbitmq-server"


class RabbitmqServer:
    def __init__(self) -> None:
        if not os.path.exists(PROGRAM):
            raise RuntimeError(f"there is no {PROGRAM}: install rabbitmq-server")
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="millpond-rabbitmq-"))
        self._taken = [ports.take() for _ in range(3)]
        self.port, distribution, epmd = self._taken
        (self.folder / "plugins").write_text("[].")
        self.environment = {
            **{name: value for name, value in os.environ.items() if name not in ("LD_PRELOAD", "PYTHONPATH")},
            "HOME": str(self.folder), "RABBITMQ_NODENAME": f"millpond-{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1", "RABBITMQ_NODE_PORT": str(self.port), "RABBITMQ_DIST_PORT": str(distribution),
            "ERL_EPMD_PORT": str(epmd), "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"), "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_LOGS": str(self.folder / "log.txt"), "RABBITMQ_PID_FILE": str(self.folder / "pid"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"), "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_CONFIG_FILE": str(self.folder / "none"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none", "ERL_FLAGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        }
        self.process: subprocess.Popen | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    def start(self) -> None:
        with (self.folder / "out").open("ab") as out:
            self.process = subprocess.Popen([PROGRAM], env=self.environment, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=out,
                                            stderr=out, start_new_session=True)
        end = time.monotonic() + 120
        while time.monotonic() < end and self.process.poll() is None:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                    connection.sendall(b"AMQP\x00\x00\x09\x01")
                    connection.settimeout(10)
                    if connection.recv(1):
                        return
            except OSError:
                time.sleep(0.1)
        words = (self.folder / "out").read_text(errors="replace")[-500:]
        self.stop()
        raise RuntimeError(f"RabbitMQ did not come up: {words}")

    def kill(self) -> None:
        """kill -9 of all its processes."""
        if self.process is not None:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self.process.wait()
            self.process = None

    def stop(self) -> None:
        self.kill()
        subprocess.run(["epmd", "-port", self.environment["ERL_EPMD_PORT"], "-kill"], env=self.environment, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, check=False)
        while self._taken:
            ports.give_back(self._taken.pop())
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> RabbitmqServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
