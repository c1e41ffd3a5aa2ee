#!/usr/bin/env python3
"""Writes fold_table.def, the simple case folding of fold.c, from Python's own Unicode tables.

    python3.11 core/src/model/fold_table.py            writes it
    python3.11 core/src/model/fold_table.py --check    writes nothing; exits 1 if it is out of date

The table is that of Unicode 14.0.0, and stays it: a newer one would change what searches find, and which of them are the
same question. So this wants a Python with those tables (3.11). CaseFolding.txt itself is not needed: `str.casefold` is its
full folding (C + F). Where that is one character it is the simple one (C) as well; where it is several, the simple one (S)
is the lower case, if that is one other character.
"""

import pathlib
import sys
import unicodedata

VERSION, ENTRIES = "14.0.0", 1454
TABLE = pathlib.Path(__file__).with_name("fold_table.def")


def simple(code: int) -> int:
    char = chr(code)
    for folded in (char.casefold(), char.lower()):
        if len(folded) == 1:
            return ord(folded)
    return code


def runs(pairs: list) -> list:
    """[first, last, step, delta]: first, first + step, ... last fold to themselves + delta."""
    found = []
    for code, to in pairs:
        last = found[-1] if found else None
        gap = code - last[1] if last else 0
        if last and last[3] == to - code and gap <= 2 and (last[0] == last[1] or last[2] == gap):
            last[1], last[2] = code, gap
        else:
            found.append([code, code, 1, to - code])
    return found


def text() -> str:
    pairs = [(code, simple(code)) for code in range(0x110000) if not 0xD800 <= code < 0xE000 and simple(code) != code]
    if len(pairs) != ENTRIES:
        raise SystemExit(f"{len(pairs)} entries instead of {ENTRIES}")
    lines = [f"/* Simple case folding of Unicode {VERSION}, {ENTRIES} entries. Written by fold_table.py: do not edit.",
             " * FOLD(first, last, step, delta): first, first + step, ... last fold to themselves + delta. */"]
    lines += [f"FOLD(0x{first:X}, 0x{last:X}, {step}, {delta})" for first, last, step, delta in runs(pairs)]
    return "\n".join(lines) + "\n"


def main() -> int:
    if unicodedata.unidata_version != VERSION:
        raise SystemExit(f"this Python has Unicode {unicodedata.unidata_version}, the table is of {VERSION}: use Python 3.11")
    new = text()
    if sys.argv[1:] == ["--check"]:
        if TABLE.read_text(encoding="utf-8") == new:
            return 0
        print(f"{TABLE} is out of date: run {pathlib.Path(__file__).name}")
        return 1
    TABLE.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
