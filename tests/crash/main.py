"""Crashes, and what was accepted: nothing may be lost, go back or come back.

    python tests/crash/main.py [--rounds N] [--seconds S] [--store mongodb|sqlite] [--control textbook|unfenced] [--directed] [--outage S]
                                [--quick] [--json]

README.md says what a round is. What must not be makes the exit status 1, and stands in build/crash.
Environment: MILLPOND_TOOL_CRASH, the client in C; MILLPOND_NODE, the npm package.
"""

from __future__ import annotations

import argparse
import collections
import json
import pathlib
import shutil
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "servers"))
sys.dont_write_bytecode = True

from alone import Alone  # noqa: E402
from directed import Directed, Popped, schedules  # noqa: E402
from judge import COUNTED  # noqa: E402
from outage import Others, Outage  # noqa: E402
from rounds import NAMED, Round, Servers  # noqa: E402
from storms import Storm  # noqa: E402

KEPT = HERE.parents[1] / "build" / "crash"
BAD = (*COUNTED, "left_dirty")
SHOWN = ("what", "accepted", "deletes", "increments", "unknown", *BAD)


def play(servers: Servers, store: str, name: str, quick: bool, what, embedded: bool = False) -> dict:
    """One round; `what` plays it."""
    round = Round(servers, store, name, quick, embedded)
    try:
        what(round)
        row = {"what": name, **round.end(), "hits": round.hits, "events": round.events}
        if row["found"]:
            shutil.rmtree(KEPT / name, ignore_errors=True)
            shutil.copytree(round.folder, KEPT / name)
            (KEPT / name / "found").write_text("\n".join(row["found"]) + "\n")
        return row
    finally:
        round.close()


def line(row: dict) -> str:
    more = [f"{count} {what}" for what, count in sorted(row["events"].items())] + [f"{point} x{row['hits'][point]}" for point in NAMED if row["hits"][point]]
    return " ".join(f"{row[name]:<24}" if name == "what" else f"{row[name]:>{max(11, len(name))}}" for name in SHOWN) + "  " + ", ".join(more)


def main() -> int:
    parser = argparse.ArgumentParser(description="crashes, and what was accepted", formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, help="random rounds (10; with --quick 2)")
    parser.add_argument("--seconds", type=float, help="of trouble in each (30; with --quick 3)")
    parser.add_argument("--store", choices=["mongodb", "sqlite"], help="one of them; else in turn")
    parser.add_argument("--control", choices=["textbook", "unfenced"], help="what is wrong on purpose, in place of the library: must be found out")
    parser.add_argument("--directed", action="store_true", help="all the directed schedules, and no random round")
    parser.add_argument("--outage", type=int, help="seconds that MongoDB is away under load (10; with --quick 3; 0: never)")
    parser.add_argument("--seed", default="0", help="of the blows")
    parser.add_argument("--quick", action="store_true", help="who is stopped is not waited for as long: the time is ended by hand")
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    arguments = parser.parse_args()
    quick, began = arguments.quick, time.monotonic()
    count = (2 if quick else 10) if arguments.rounds is None else arguments.rounds
    count = 0 if arguments.directed or arguments.control else count
    seconds = arguments.seconds or (3 if quick else 30)
    stores = [arguments.store] if arguments.store else ["sqlite", "mongodb"]
    outage = (3 if quick else 10) if arguments.outage is None else arguments.outage
    rows: list[dict] = []
    outages: list[dict] = []

    def shown(row: dict) -> dict:
        rows.append(row)
        print(line(row), flush=True)
        for one in row["found"][:5]:
            print(f"  {one}", flush=True)
        return row

    servers = Servers(set(stores))
    print(" ".join(f"{name:<24}" if name == "what" else f"{name:>{max(11, len(name))}}" for name in SHOWN), flush=True)
    breaches = 0
    try:
        for store, point, kind in schedules(stores, not arguments.directed, arguments.control):
            def directed(round: Round, point: str = point, kind: str = kind) -> None:
                (Popped(round) if kind == "textbook" else Directed(round, point, kind)).play()
            row = shown(play(servers, store, f"{store}-{point}-{kind}", quick, directed))
            breaches += any(row[name] for name in BAD)
        for policy in ("wait", "fail", "others") if outage and "mongodb" in stores and not arguments.directed and not arguments.control else ():
            def away(round: Round, policy: str = policy) -> None:
                one = Others(round, min(outage, 10)) if policy == "others" else Outage(round, outage, policy)
                one.play()
                outages.append(one.told)
                round.events.update({name.replace("_", " "): value for name, value in one.told.items() if isinstance(value, int)})
            row = shown(play(servers, "mongodb", f"mongodb-outage-{policy}", quick, away))
            breaches += any(row[name] for name in BAD) or not row["accepted"]
        for number in range(count):
            store = stores[number % len(stores)]
            row = shown(play(servers, store, f"{store}-{arguments.seed}-{number}", quick, lambda round: Storm(round, seconds).play()))
            breaches += any(row[name] for name in BAD) or not row["accepted"]
            if store == "sqlite":
                row = shown(play(servers, store, f"journal-{arguments.seed}-{number}", quick, lambda round: Alone(round, seconds / 3).play(), embedded=True))
                breaches += any(row[name] for name in BAD) or not row["accepted"]
    finally:
        servers.close()
    hits = sum((row["hits"] for row in rows), collections.Counter())
    print("hit: " + ", ".join(f"{point} {hits[point]}" for point in NAMED))
    print(f"{len(rows)} rows, {breaches} breaches, {time.monotonic() - began:.0f} s")
    if arguments.json:
        print(json.dumps({"rounds": len(rows), "kill_points_named": len(NAMED), "kill_points_hit": sum(hits[point] > 0 for point in NAMED),
                          "accepted": sum(row["accepted"] for row in rows), "increments": sum(row["increments"] for row in rows),
                          **{name: sum(row[name] for row in rows) for name in COUNTED},
                          "left_dirty": sum(row["left_dirty"] for row in rows), "outages": outages}), flush=True)
    if arguments.control:
        found = breaches == len(rows)  # each schedule must find it
        print(f"{arguments.control}: {'found out' if found else 'NOT found out'}")
        return 0 if found else 1
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
