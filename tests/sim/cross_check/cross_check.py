"""cross_check.py BIN ROUNDS: starts a redis-server whose clock is a file, and compares the simulated Redis with it.

BIN is the folder of the built programs (sim_cross_check, sim_clock.so). Exits with the comparison's status.
"""

import os
import pathlib
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time


def listens(path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def main() -> int:
    programs, rounds = pathlib.Path(sys.argv[1]), sys.argv[2]
    folder = pathlib.Path(tempfile.mkdtemp(prefix="millpond-cross-check-"))
    clock, path = folder / "clock", folder / "socket"
    clock.write_bytes(struct.pack("=q", 1 << 40))  # where virtual time begins
    environment = dict(os.environ, LD_PRELOAD=str(programs / "sim_clock.so"), SIM_CLOCK=str(clock))
    program = os.environ.get("MILLPOND_TEST_REDIS_SERVER", "redis-server")
    server = subprocess.Popen([program, "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(folder)],
                              env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 10
        while not listens(path) and time.monotonic() < until and server.poll() is None:
            time.sleep(0.01)
        return subprocess.call([programs / "sim_cross_check", rounds, path, clock])
    finally:
        server.kill()
        server.wait()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
