"""Writes the shared cases as a C table: to_c.py OUTPUT. Run by CMake for tests/c/test_spec.c.

A step becomes its command line and the parts that the answer must hold as text, in the order in which the C tool writes them; it
can be compared as text because the C tool gives JSON payloads back byte for byte.
"""

from __future__ import annotations

import json
import pathlib
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import spec  # noqa: E402


def literal(words: str) -> str:
    out = []
    for byte in words.encode("utf-8", "surrogatepass"):
        plain = 0x20 <= byte < 0x7F and chr(byte) not in '"\\?'
        out.append(chr(byte) if plain else f"\\{byte:03o}")
    return '"' + "".join(out) + '"'


def json_text(words: str) -> str:
    """A JSON string as the C tool writes one: only what must be escaped is."""
    escaped = {'"': '\\"', "\\": "\\\\"}
    return '"' + "".join(escaped.get(c) or (f"\\u{ord(c):04x}" if ord(c) < 0x20 else c) for c in words) + '"'


def inside(words: str) -> str:
    return json_text(words)[1:-1]


def parts(step: spec.Step) -> tuple[list[str], list[str]]:
    """-> (what the answer must hold, what it must not)"""
    error = step.expect.get("error")
    if error:
        retriable = json.dumps(error.get("retriable", False))
        return ([f'"ok":false,"code":"{error["code"]}","retriable":{retriable}', *map(inside, error["says"])],
                [inside(part) for part in error.get("not", [])])
    must, must_not = ['"ok":true'], []
    for name, value in step.expect.items():
        if name == "data":
            must.append('"data":' + (spec.compact(value).decode() if step.is_json else json_text(value)))
        elif name == "stale":
            (must if value else must_not).append('"stale":true')
        elif name == "info":
            must += [f'"{member}":{json.dumps(one)}' for member, one in value.items()]
        else:
            must.append(f'"{name}":' + spec.compact(value).decode())
    return must, must_not


def main() -> None:
    lines = ["/* Made by tests/spec/to_c.py from the cases in tests/spec: change those. */", '#include "tool/spec_table.h"', ""]
    table = []
    for number, case in enumerate(spec.all_cases()):
        if "c" not in case.languages:
            continue
        rows = []
        for step in case.steps:
            if "c" not in step.languages:
                continue
            must, must_not = parts(step)
            strings = ", ".join([literal(part) for part in must] + ["NULL"])
            not_strings = ", ".join([literal(part) for part in must_not] + ["NULL"])
            rows.append(f"    {{{literal(step.line)}, {{{strings}}}, {{{not_strings}}}}},")
        lines += [f"static const spec_step steps_{number}[] = {{", *rows, "    {NULL, {NULL}, {NULL}}};", ""]
        options = spec.words("", *spec.option_words("opt", case.options)).strip()
        name = literal(f"{case.file}: {case.name}")
        memory, redis = (str(int(cache in case.caches)) for cache in spec.CACHES)
        witness = int(case.file == "errors.json")
        table.append(f"    {{{name}, {literal(options)}, {memory}, {redis}, {witness}, steps_{number}}},")
    lines += ["const spec_case spec_cases[] = {", *table, "    {NULL, NULL, 0, 0, 0, NULL}};", ""]
    pathlib.Path(sys.argv[1]).write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
