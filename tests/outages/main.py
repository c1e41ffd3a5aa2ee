"""The outage campaign: each way in which Redis can fail, under load, from every host; and the same by hand.

    python tests/outages/main.py [--seconds S] [--only MODE] [--host HOST] [--quick] [--json]

For each mode and host: a server of its own, a process that fetches (load.py, load.mjs), S seconds of outage, and then it must be
back. What Millpond has to keep to is checked, and a breach makes the exit status 1:

- nothing hangs, and no fetch fails: there is a loader to fall back on;
- calls that come to their deadline pass it by 50 ms at most (p99 of these), less the time in which the host's heartbeat stood still;
- no key is loaded twice at the same time in one process;
- values are served from the cache again within 3 s after the outage.

--quick leaves the peers out and takes a second for each. --seconds and --only bound or unbound the rest.
Environment: MILLPOND_NODE, the folder of the npm package.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "servers"))
sys.dont_write_bytecode = True

from modes import MODES, drops_packets  # noqa: E402

OURS = ["python", "asyncio", "node"]
PEERS = ["redis-py", "redis.asyncio", "ioredis"]
NODE_HOSTS = {"node", "ioredis"}
COLUMNS = ["mode", "host", "calls", "hung", "errors", "store_loads", "p50_ms", "p99_ms", "max_ms", "overrun_p99_ms"]
SHOWN = {"mode": "mode", "host": "host", "calls": "calls", "hung": "hung", "errors": "errors", "store_loads": "loads",
         "at_once": "at once", "p50_ms": "p50", "p99_ms": "p99", "max_ms": "max", "late": "late", "overrun_p99_ms": "over p99",
         "overrun_max_ms": "over max", "back_ms": "back in", "stall_ms": "stall"}
OVERRUN_MS = 50
BACK_MS = 3000
WARM_UP = 0.5

# TTLs are short, so that in health about every second call finds a value.
SETTINGS = {"workers": 16, "others": 4, "keys": 24, "ttl_ms": 200, "load_ms": 20,
            "deadlines": {"fetch": 1500, "lookup": 500, "invalidate": 500}}


class HostError(RuntimeError):
    """A load process could not start, or died."""


class Host:
    """A load process."""

    def __init__(self, name: str, settings: dict):
        program = [shutil.which("node") or "node", str(HERE / "load.mjs")] if name in NODE_HOSTS \
            else [sys.executable, "-B", str(HERE / "load.py")]
        self.name = name
        self.process = subprocess.Popen([*program, name, json.dumps(settings)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)
        self._errors: list[str] = []
        threading.Thread(target=lambda: self._errors.extend(self.process.stderr), daemon=True).start()
        self.answer()

    def answer(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            self.process.kill()
            raise HostError(f"{self.name} ended with {self.process.wait()}: {''.join(self._errors)[-2000:]}")
        return json.loads(line)

    def mended(self, start: float, end: float) -> dict:
        self.process.stdin.write(f"mended {start} {end}\n")
        self.process.stdin.flush()
        seen = self.answer()
        try:
            if self.process.wait(15) != 0:
                raise HostError(f"{self.name} ended with {self.process.returncode}: {''.join(self._errors)[-2000:]}")
        except subprocess.TimeoutExpired:
            raise HostError(f"{self.name} did not end within 15 s of its last word") from None
        return seen

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def run(mode_name: str, host_name: str, seconds: float) -> dict:
    mode = MODES[mode_name](seconds)
    host = None
    try:
        host = Host(host_name, {**SETTINGS, "url": mode.url})
        time.sleep(WARM_UP)
        mode.begin()
        start = time.monotonic()
        time.sleep(seconds)
        mode.end()
        return {"mode": mode_name, "host": host_name, **host.mended(start, time.monotonic())}
    finally:
        if host:
            host.close()
        mode.close()


def breaches(row: dict) -> list[str]:
    """What Millpond did not keep to."""
    found = []
    if row["calls"] == 0:
        found.append("no call was made")
    if row["hung"]:
        found.append(f"{row['hung']} calls hang")
    if row["errors"]:
        found.append(f"{row['errors']} fetches failed: {row['error']}")
    if row["overrun_p99_ms"] > OVERRUN_MS:
        found.append(f"deadlines are passed by {row['overrun_p99_ms']} ms")
    if row["at_once"] > 1:
        found.append(f"a key was loaded {row['at_once']} times at once")
    if row["back_ms"] is None or row["back_ms"] > BACK_MS:
        found.append(f"back after {row['back_ms']} ms")
    return [f"{row['mode']} {row['host']}: {one}" for one in found]


def line(row: dict) -> str:
    def text(name: str) -> str:
        value = row[name]
        return "-" if value is None else str(value)
    return " ".join(f"{text(name):<15}" if name in ("mode", "host") else f"{text(name):>8}" for name in SHOWN)


def in_namespace() -> bool:
    """Once more in a network namespace of its own, if the kernel lets us: there packets can be dropped, and hit nobody else."""
    if drops_packets() or not shutil.which("unshare") or not shutil.which("iptables"):
        return drops_packets()
    words = ["unshare", "--net", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    well = "ip link set lo up && iptables -A INPUT -i lo -p tcp --dport 9 -j DROP && iptables -F INPUT"
    if subprocess.run([*words, "sh", "-c", well], capture_output=True).returncode != 0:
        return False
    os.environ["MILLPOND_OUTAGES_NAMESPACE"] = "1"
    os.execvp(words[0], [*words, "sh", "-c", 'ip link set lo up; exec "$@"', "sh", sys.executable, "-B", __file__, *sys.argv[1:]])


def main() -> int:
    parser = argparse.ArgumentParser(description="outages under load", formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, help="of each outage (2.5; with --quick 1)")
    parser.add_argument("--only", action="append", choices=list(MODES), metavar="MODE", help=f"again for more: {', '.join(MODES)}")
    parser.add_argument("--host", action="append", choices=OURS + PEERS, metavar="HOST", help=f"again for more: {', '.join(OURS + PEERS)}")
    parser.add_argument("--quick", action="store_true", help="Millpond only, a second each")
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    arguments = parser.parse_args()
    namespace = in_namespace()
    seconds = arguments.seconds or (1.0 if arguments.quick else 2.5)
    hosts = arguments.host or (OURS if arguments.quick else OURS + PEERS)
    print(f"Outages of {seconds:g} s under {SETTINGS['workers']} callers of {SETTINGS['keys']} keys, a load takes {SETTINGS['load_ms']} ms. "
          f"Times in ms.\nhalf-open: {'the kernel drops the packets' if namespace else 'a proxy swallows the packets'}\n", flush=True)
    print(line(SHOWN), flush=True)
    rows, found = [], []
    for mode in arguments.only or MODES:
        for host in hosts:
            row = run(mode, host, seconds)
            rows.append(row)
            print(line(row), flush=True)
            if host in OURS:
                found += breaches(row)
        print(flush=True)
    print("late: calls that came to their deadline (fetch 1.5 s; lookup and invalidate, which are not among the calls, 500 ms); over: by how\n"
          "much they passed it, less the time in which the host stood still (stall: the longest); at once: most loads of one key at the\n"
          "same time; back in: until a value came from the cache again.\n")
    for one in found:
        print(f"BREACH: {one}")
    print(f"{len(rows)} rows, {len(found)} breaches")
    if arguments.json:
        print(json.dumps({"rows": [{name: row[name] for name in COLUMNS} for row in rows]}), flush=True)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
