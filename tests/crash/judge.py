"""What stands in the store at the end of a round, and whether it may.

Each write has a number of its own, and a time from which and a time until which it was done. Of two that do not overlap the later one is the
newer. What was refused never happened; what ended with an error, or with the death of who made it, may have happened, at any time
since it began. So a document may be what a write made it that no accepted write began behind the end of.

Counters are documents of their own, which are only incremented, each time by one: they must have counted what was accepted, and may have counted what is unknown."""

from __future__ import annotations

import dataclasses
import math
import pathlib

ACCEPTED, REFUSED, UNKNOWN = "done", "refused", "unknown"
COUNTED = ("lost", "regressed", "resurrected", "increments_wrong")


@dataclasses.dataclass
class Write:
    key: str
    number: int | None  # None: it is deleted
    began: int
    ended: float = math.inf
    outcome: str = UNKNOWN
    counts: bool = False  # an increment


def read_log(log: pathlib.Path) -> list[Write]:
    """S NAME NS KEY OP NUMBER: it begins.   E NAME NS OUTCOME [CODE]: it has ended."""
    writes: dict[str, Write] = {}
    for line in log.read_text().splitlines() if log.exists() else []:
        words = line.split()
        if words[0] == "S":
            writes[words[1]] = Write(words[3], None if words[4] == "delete" else int(words[5]), int(words[2]), counts=words[4] == "increment")
        elif words[0] == "E":
            write = writes[words[1]]
            write.outcome = words[3]
            if write.outcome == ACCEPTED:
                write.ended = int(words[2])
    return list(writes.values())


def verdict(writes: list[Write], stands: int | None) -> str | None:
    """Of one key; None: it is as it may be."""
    writes = [Write("", None, 0, 0, ACCEPTED), *(one for one in writes if one.outcome != REFUSED)]
    last = max((one for one in writes if one.outcome == ACCEPTED), key=lambda one: one.began)
    if any(one.number == stands and one.ended >= last.began for one in writes):
        return None
    if stands is None:
        return "lost"
    return "resurrected" if last.number is None else "regressed"


def count_verdict(writes: list[Write], stands: int | None) -> str | None:
    """Of one counter."""
    accepted, unknown = (sum(one.outcome == outcome for one in writes) for outcome in (ACCEPTED, UNKNOWN))
    return None if stands is not None and accepted <= stands <= accepted + unknown else "increments_wrong"


def judge(writes: list[Write], stands) -> tuple[dict[str, int], list[str]]:
    """`stands`: of a key, the number in the store (of a counter, what it has counted), or None. -> (how many of each verdict, what was found)"""
    by_key: dict[str, list[Write]] = {}
    for write in writes:
        by_key.setdefault(write.key, []).append(write)
    counts, found = dict.fromkeys(COUNTED, 0), []
    for key, those in sorted(by_key.items()):
        number = stands(key)
        what = count_verdict(those, number) if those[0].counts else verdict(those, number)
        if what:
            counts[what] += 1
            found.append(f"{what}: {key} is {number}; its last writes: {sorted(those, key=lambda one: one.began)[-4:]}")
    return counts, found
