"""Histories of real concurrent clients, judged linearizable per key by Porcupine.

    python tests/histories/main.py [--rounds N] [--operations N] [--fault KIND] [--control NAME] [--store mongodb|sqlite] [--quick] [--json]

A round is six processes in Python, asyncio, Node and C that read and write three keys (a document of a collection that writes through, one
of a collection that writes aside, a value under fetch and write) on one Redis and one store, while the fault is played, until
each key has so many operations. What they did with one key is a history. Without --fault every kind is played, N rounds each. A
--control puts clients that are wrong on purpose in the place of ours, and passes if the judge finds them out.

What cannot be explained makes the exit status 1, and is kept in build/histories: the log, and Porcupine's picture of it.
Environment: MILLPOND_HISTORIES_CHECK, the built checker; MILLPOND_TOOL_HISTORY, the client in C; MILLPOND_NODE, the npm package.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "servers"))
sys.dont_write_bytecode = True

from faults import FAULTS  # noqa: E402
from rounds import OURS, Round, Servers  # noqa: E402

KEPT = HERE.parents[1] / "build" / "histories"
CHECK = os.environ.get("MILLPOND_HISTORIES_CHECK", str(KEPT / "check"))
CONTROLS = {"textbook": "write", "too-early": "write", "value-only": "write"}  # the key that each gets wrong
SHOWN = {name: name for name in ("fault", "histories", "operations", "longest", "unknown", "unjudged", "hits", "loads", "illegal", "undecided")}


def judge(history: pathlib.Path) -> list[dict]:
    done = subprocess.run([CHECK, str(history)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{CHECK}: {done.stderr}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def play(servers: Servers, fault: str, kinds: tuple[str, ...], operations: int, name: str) -> dict:
    round = Round(servers, FAULTS[fault], kinds, name)
    try:
        history = round.play(operations, 20 + operations / 20)
        verdicts = judge(history)
        hits, loads = round.served()
        if any(one["result"] != "Ok" for one in verdicts):
            KEPT.mkdir(parents=True, exist_ok=True)
            for file in round.folder.glob("history*"):
                shutil.copy(file, KEPT / f"{name}{file.name[len('history'):] or '.log'}")
        return {"verdicts": verdicts, "hits": hits, "loads": loads, **round.happened}
    finally:
        round.close()


def summed(fault: str, rounds: list[dict]) -> dict:
    verdicts = [one for each in rounds for one in each["verdicts"]]
    row = {"fault": fault, "histories": len(verdicts), "operations": sum(one["operations"] for one in verdicts),
           "longest": max(one["operations"] for one in verdicts), "unknown": sum(one["unknown"] for one in verdicts), "unjudged": sum(one["unjudged"] for one in verdicts),
           "hits": sum(each["hits"] for each in rounds), "loads": sum(each["loads"] for each in rounds),
           "illegal": sum(one["result"] == "Illegal" for one in verdicts), "undecided": sum(one["result"] == "Unknown" for one in verdicts)}
    for what in ("killed", "stopped", "connections", "restarts"):
        if any(what in each for each in rounds):
            row[what] = sum(each.get(what, 0) for each in rounds)
    return row


def line(row: dict) -> str:
    more = ", ".join(f"{row[what]} {what}" for what in row if what not in SHOWN)
    return " ".join(f"{row[name]:<11}" if name == "fault" else f"{row[name]:>10}" for name in SHOWN) + f"  {more}"


def campaign(servers: Servers, arguments) -> tuple[list[dict], int]:
    """-> (the rows, breaches)"""
    rows, breaches = [], 0
    for fault in [arguments.fault] if arguments.fault else FAULTS:
        rounds = [play(servers, fault, OURS, arguments.operations, f"{fault}-{number}") for number in range(arguments.rounds)]
        rows.append(summed(fault, rounds))
        print(line(rows[-1]), flush=True)
        breaches += rows[-1]["illegal"] + rows[-1]["undecided"]
        if not rows[-1]["hits"]:
            breaches += 1
            print(f"BREACH: {fault}: nothing was served from the cache")
    return rows, breaches


def controls(servers: Servers, arguments, names: list[str]) -> tuple[list[dict], int]:
    """Clients that are wrong: the first round in which they are found out is their last."""
    rows, breaches = [], 0
    for name in names:
        rounds = []
        while len(rounds) < max(arguments.rounds, 5) and not any(one["result"] == "Illegal" for each in rounds for one in each["verdicts"]):
            rounds.append(play(servers, arguments.fault or "none", (name,) * 4, arguments.operations, f"{name}-{len(rounds)}"))
        rows.append(summed(name, rounds))
        wrong = {one["key"].split("/")[0] for each in rounds for one in each["verdicts"] if one["result"] != "Ok"}
        print(line(rows[-1]), flush=True)
        if wrong != {CONTROLS[name]}:
            breaches += 1
            print(f"BREACH: {name} is wrong under {CONTROLS[name]}, and was found wrong under {', '.join(wrong) or 'nothing'}")
    return rows, breaches


def main() -> int:
    parser = argparse.ArgumentParser(description="histories, judged linearizable", formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, help="of each fault (20; with --quick 1)")
    parser.add_argument("--operations", type=int, help="on each key, at least (1000; with --quick 300)")
    parser.add_argument("--fault", choices=list(FAULTS), metavar="KIND", help=", ".join(FAULTS))
    parser.add_argument("--control", choices=list(CONTROLS), metavar="NAME", help=f"what must be found out: {', '.join(CONTROLS)}")
    parser.add_argument("--store", choices=["mongodb", "sqlite"], default="mongodb")
    parser.add_argument("--quick", action="store_true", help="a short round of each fault and each control, under a minute")
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    arguments = parser.parse_args()
    arguments.rounds = arguments.rounds or (1 if arguments.quick else 20)
    arguments.operations = arguments.operations or (300 if arguments.quick else 1000)
    began = time.monotonic()
    servers = Servers(arguments.store)
    rows, breaches = [], 0
    print(line(SHOWN), flush=True)
    try:
        if not arguments.control:
            rows, breaches = campaign(servers, arguments)
        if arguments.control or not arguments.fault:
            found = controls(servers, arguments, [arguments.control] if arguments.control else list(CONTROLS))
            rows, breaches = rows + found[0], breaches + found[1]
    finally:
        servers.close()
    print(f"{len(rows)} rows, {breaches} breaches, {time.monotonic() - began:.0f} s")
    if arguments.json:
        print(json.dumps({"rows": rows}), flush=True)
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
