#!/usr/bin/env python3
"""Writes what the manual and the Python and Node packages must know of the core's tables, so that no list is kept twice.

    python bindings/gen/generate.py            writes core/CONFIGURATION.md, python/millpond/_generated.py,
                                               node/lib/generated.cjs and node/types/generated.d.ts
    python bindings/gen/generate.py --check    writes nothing; exits 1 and says what differs if a file is out of date

Read: POND_ERROR_MAP and the reasons of a query's error in core/include/millpond/error.h, core/src/model/options.def,
core/src/observe/counters.def, gauges.def and behind.def, and the kinds of what crosses into JavaScript in bindings/napi/addon.h. The files written are
committed. A new error code needs a row in ERROR_CLASSES here: its class is part of both languages' public face.
"""

from __future__ import annotations

import difflib
import json
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
ERRORS = "core/include/millpond/error.h"
OPTIONS = "core/src/model/options.def"
COUNTERS = "core/src/observe/counters.def"
GAUGES = "core/src/observe/gauges.def"
BEHIND = "core/src/observe/behind.def"
VALUE = "core/include/millpond/value.h"
ADDON = "bindings/napi/addon.h"

# code: (class in Python and Node, what else it is in Python)
ERROR_CLASSES = {
    "OPTION": ("OptionError", "ValueError"),
    "URL": ("UrlError", "ValueError"),
    "KEY": ("InvalidKey", "ValueError"),
    "VALUE": ("InvalidValue", "ValueError"),
    "LOADER": ("LoaderError", None),
    "TIMEOUT": ("TimeoutError", "_builtins.TimeoutError"),
    "CACHE": ("CacheError", None),
    "STORE": ("StoreError", None),
    "CLOSED": ("ClosedError", None),
    "DEADLOCK": ("DeadlockError", "RuntimeError"),
    "CANCELED": ("CanceledError", None),
    "INTERRUPTED": ("Interrupted", None),
    "NOMEM": ("OutOfMemory", "MemoryError"),
    "PROTOCOL": ("ProtocolError", None),
    "OVERLOAD": ("OverloadError", None),
    "MISUSE": ("MisuseError", "RuntimeError"),
    "ABSENT": ("Absent", "LookupError"),
    "QUERY": ("InvalidQuery", "ValueError"),
    "DUPLICATE": ("DuplicateError", None),
    "INVALID": ("ValidationError", "ValueError"),
}

C_STRING = r'"((?:[^"\\]|\\.)*)"'


def c_text(literal: str) -> str:
    return literal.replace('\\"', '"').replace("\\\\", "\\")


def read_errors() -> list[dict]:
    text = (ROOT / ERRORS).read_text(encoding="utf-8")
    start = text.index("#define POND_ERROR_MAP(X)")
    table = re.match(r"(?:.*\\\n)*.*\n", text[start:]).group(0)
    rows = [{"code": name, "number": int(number), "retriable": retriable == "1", "text": c_text(meaning)}
            for name, number, retriable, meaning
            in re.findall(r"X\(\s*(\w+),\s*(-?\d+),\s*([01]),\s*" + C_STRING + r"\s*\)", table)]
    if len(rows) != table.count(" X("):
        raise SystemExit(f"{ERRORS}: {table.count(' X(')} rows in POND_ERROR_MAP, {len(rows)} understood")
    for row in rows:
        if row["code"] not in ERROR_CLASSES:
            raise SystemExit(f"{ERRORS}: {row['code']} has no class; give it one in ERROR_CLASSES of bindings/gen/generate.py")
        row["class"], row["python"] = ERROR_CLASSES[row["code"]]
    return rows


def read_reasons() -> list[str]:
    """Which rule a query may break: the list in the comment of pond_error_reason."""
    found = re.search(r"Which rule a query broke[^:]*: ([a-z_\s*]+)\.", (ROOT / ERRORS).read_text(encoding="utf-8"))
    if not found:
        raise SystemExit(f"{ERRORS}: the comment of pond_error_reason does not list the reasons")
    return found[1].replace("*", " ").split()


def read_enum(path: str, name: str, known: dict[str, int]) -> dict[str, int]:
    body = re.search(name + r" \{(.*?)\}", (ROOT / path).read_text(encoding="utf-8"), re.S)
    rows = re.findall(r"^\s*(\w+) = (\w+)", body[1] if body else "", re.M)
    if not rows:
        raise SystemExit(f"{path}: there is no {name}")
    return {member: known[value] if value in known else int(value) for member, value in rows}


def read_kinds() -> dict[str, int]:
    kinds = read_enum(ADDON, "enum mpn_kind", read_enum(VALUE, "enum pond_codec", {}))
    return {member.removeprefix("MPN_"): number for member, number in kinds.items()}


def read_def(path: str, macro: str, words: int, texts: int) -> list[tuple[str, ...]]:
    """The rows of a .def file: `words` names and then `texts` strings."""
    text = re.sub(r"/\*.*?\*/", "", (ROOT / path).read_text(encoding="utf-8"), flags=re.S)
    rows = re.findall(macro + r"\(\s*" + r",\s*".join([r"(\w+)"] * words + [C_STRING] * texts) + r"\s*\)", text)
    if not rows or len(rows) != text.count(macro + "("):
        raise SystemExit(f"{path}: {text.count(macro + '(')} rows, {len(rows)} understood")
    return [row[:words] + tuple(c_text(literal) for literal in row[words:]) for row in rows]


def read_options() -> list[dict]:
    return [{"name": name, "type": kind.lower(), "scope": scope.lower(), "default": default, "range": span, "text": meaning}
            for name, kind, scope, default, span, meaning in read_def(OPTIONS, "OPT", 3, 3)]


def read_counters() -> list[dict]:
    return [{"name": name, "text": meaning} for name, meaning in read_def(COUNTERS, "COUNTER", 1, 1)]


def read_gauges() -> list[dict]:
    return [{"name": name, "kind": kind, "text": meaning} for name, kind, meaning in read_def(GAUGES, "GAUGE", 2, 1)]


def read_behind_gauges() -> list[dict]:
    return [{"name": name, "text": meaning} for name, meaning in read_def(BEHIND, "BEHIND", 1, 1)]


def camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


def as_sentence(text: str) -> str:
    """With a capital, unless what it begins with is spelled like that."""
    return text if re.match(r"\w+(=|://)", text) else text[0].upper() + text[1:]


def in_camels(text: str) -> str:
    """Options by the names that they have in JavaScript."""
    names = {row["name"] for row in read_options()}
    return re.sub(r"\b[a-z]+(?:_[a-z]+)+\b", lambda found: camel(found[0]) if found[0] in names else found[0], text)


def takes_names(option: dict) -> bool:
    return option["type"] == "text" and option["range"].startswith("names with commas")


def takes_number(option: dict) -> bool:
    """A number that is kept as text, so that 'not given' is not a number."""
    return option["type"] == "text" and re.fullmatch(r"\d+\.\.\d+", option["range"]) is not None


def python_type(option: dict) -> str:
    if takes_names(option):
        return "Names"
    if takes_number(option):
        return "int | str"
    if option["type"] == "choice":
        return "Literal[" + ", ".join(json.dumps(choice) for choice in option["range"].split("|")) + "]"
    return {"duration": "Duration", "size": "int | str", "count": "int | str", "switch": "bool | str"}.get(option["type"], "str")


def python_options(options: list[dict], name: str, text: str, base: str = "TypedDict") -> list[str]:
    lines = [f"class {name}({base}, total=False):", f'    """{text}"""', ""]
    for option in options:
        lines.append(f"    # {option['text']}" + (f" (default {option['default']})" if option["default"] else ""))
        lines.append(f"    {option['name']}: {python_type(option)} | None")
    return lines


def python_file(errors: list[dict], options: list[dict], counters: list[dict]) -> str:
    lines = [
        f'"""Written by bindings/gen/generate.py from {ERRORS}, {OPTIONS} and',
        f'{COUNTERS}: do not edit."""',
        "",
        "from __future__ import annotations",
        "",
        "import builtins as _builtins",
        "import datetime",
        "from typing import Any, Iterable, Literal, TypedDict, Union",
        "",
        "# milliseconds, a text such as \"250ms\", \"30s\", \"5m\", \"1h\", or a timedelta",
        "Duration = Union[int, str, datetime.timedelta]",
        "# names of fields: a list (an empty one: none), or a text with commas",
        "Names = Union[str, Iterable[str]]",
        "# which rule a query broke",
        "QueryReason = Literal[",
        *(f'    "{reason}",' for reason in read_reasons()),
        "]",
        "",
        "",
        "class Error(Exception):",
        '    """The base of every error of Millpond\'s own. `code` and `number` are for machines, the message is for people,',
        '    `retriable` says whether the same call may succeed later without a change."""',
        "",
        '    code: str = ""',
        "    number: int = 0",
        "    retriable: bool = False",
        "",
        "    def __init__(self, message: str = \"\", *, retriable: bool | None = None) -> None:",
        "        super().__init__(message)",
        "        if retriable is not None:",
        "            self.retriable = retriable",
        "",
        "    def __reduce__(self) -> tuple[Any, ...]:",
        "        return type(self), self.args, self.__dict__ or None",
        "",
    ]
    for row in errors:
        bases = ", ".join(filter(None, ["Error", row["python"]]))
        lines += ["", f"class {row['class']}({bases}):", f'    """{row["text"][0].upper() + row["text"][1:]}."""', "",
                  f'    code = "POND_E{row["code"]}"', f"    number = {row['number']}", f"    retriable = {row['retriable']}"]
        if row["code"] == "QUERY":
            lines += ['    reason: QueryReason | Literal[""] = ""  # which rule it broke']
        lines += [""]
    lines += ["", "# in the order of their numbers: the class of -1 stands first",
              "ERRORS: tuple[type[Error], ...] = ("]
    lines += [f"    {row['class']}," for row in sorted(errors, key=lambda row: -row["number"])]
    lines += [")", "", ""]
    policy = [option for option in options if option["scope"] in ("both", "policy")]
    lines += python_options(policy, "PolicyOptions", "What a call, a namespace or open() may set.")
    lines += ["", ""]
    # cache, store and namespace are arguments of open() in their own right
    rest = [option for option in options if option["scope"] != "collection" and option["name"] not in ("cache", "store", "namespace")]
    lines += python_options(rest, "PondOptions", "What open() may set beside its own arguments.")
    lines += ["", ""]
    collection = [option for option in options if option["scope"] == "collection"]
    lines += python_options(collection, "CollectionOptions", "What a collection may set.", "PolicyOptions")
    lines += ["", "", "CounterName = Literal["]
    lines += [f'    "{counter["name"]}",' for counter in counters]
    lines += ["]", "", "", "class Counters(TypedDict):", '    """A row of stats(): counted since open."""', ""]
    for counter in counters:
        lines += [f"    # {counter['text']}", f"    {counter['name']}: int"]
    lines += ["    # hits and negative hits by all reads", "    hit_rate: float", ""]
    return "\n".join(lines)


def node_file(errors: list[dict], options: list[dict]) -> str:
    error_rows = [{"code": row["code"], "number": row["number"], "className": row["class"], "retriable": row["retriable"],
                   "text": row["text"]} for row in errors]
    option_rows = [{"name": camel(row["name"]), "core": row["name"], "type": row["type"], "scope": row["scope"],
                    "default": row["default"], "range": row["range"], "text": row["text"]} for row in options]
    lines = [f"// Written by bindings/gen/generate.py from {ERRORS}, {OPTIONS} and", f"// {ADDON}: do not edit.", "'use strict'", "",
             "// what an event or an answer of the addon is",
             f"exports.KIND = {{ {', '.join(f'{kind}: {number}' for kind, number in read_kinds().items())} }}", "",
             "exports.errors = ["]
    lines += [f"  {json.dumps(row, ensure_ascii=False)}," for row in error_rows]
    lines += ["]", "", "exports.options = ["]
    lines += [f"  {json.dumps(row, ensure_ascii=False)}," for row in option_rows]
    lines += ["]", ""]
    return "\n".join(lines)


def node_type(option: dict) -> str:
    if takes_names(option):
        return "string | readonly string[]"
    if takes_number(option):
        return "number | string"
    if option["type"] == "choice":
        return " | ".join(f"'{choice}'" for choice in option["range"].split("|"))
    return {"duration": "Duration", "size": "number | string", "count": "number | string",
            "switch": "boolean | 'on' | 'off'"}.get(option["type"], "string")


def node_options(options: list[dict]) -> list[str]:
    lines = []
    for option in options:
        default = f" Default: {option['default']}." if option["default"] else ""
        lines += [f"  /** {as_sentence(in_camels(option['text']))}.{default} */",
                  f"  {camel(option['name'])}?: {node_type(option)} | null | undefined"]
    return lines


def node_types_file(errors: list[dict], options: list[dict], counters: list[dict]) -> str:
    lines = [f"// Written by bindings/gen/generate.py from {ERRORS}, {OPTIONS} and", f"// {COUNTERS}: do not edit.", "",
             "/** Milliseconds, or a text such as \"250ms\", \"30s\", \"5m\", \"1h\", \"1d\". */",
             "export type Duration = number | string", "", "export type ErrorCode ="]
    lines += [f"  | 'POND_E{row['code']}'" for row in errors]
    lines += ["", "/** Which rule a query broke: `error.reason` of an InvalidQuery. */", "export type QueryReason ="]
    lines += [f"  | '{reason}'" for reason in read_reasons()]
    lines += ["", "/** The base of every error of Millpond's own. */", "export declare class PondError extends Error {",
              "  constructor(message: string, options?: { retriable?: boolean, cause?: unknown })",
              "  readonly code: ErrorCode", "  readonly number: number",
              "  /** The same call may succeed later without a change. */", "  readonly retriable: boolean", "}"]
    for row in errors:
        reason = "; readonly reason: QueryReason" if row["code"] == "QUERY" else ""
        lines += ["", f"/** {row['text'][0].upper() + row['text'][1:]}. */",
                  f"export declare class {row['class']} extends PondError {{ readonly code: 'POND_E{row['code']}'{reason} }}"]
    lines += ["", "/** What a call, a namespace or open() may set. */", "export interface PolicyOptions {"]
    lines += node_options([option for option in options if option["scope"] in ("both", "policy")])
    lines += ["}", "", "/** What open() alone may set, beside PolicyOptions. The cache is its first argument. */",
              "export interface PondOptions extends PolicyOptions {"]
    lines += node_options([option for option in options if option["scope"] == "pond" and option["name"] != "cache"])
    lines += ["}", "", "/** What a collection may set, beside PolicyOptions. */",
              "export interface CollectionOptions extends PolicyOptions {"]
    lines += node_options([option for option in options if option["scope"] == "collection"])
    lines += ["}", "", "/** A row of stats(): counted since open. */", "export interface Counters {"]
    for counter in counters:
        lines += [f"  /** {as_sentence(in_camels(counter['text']))}. */", f"  {counter['name']}: number"]
    lines += ["  /** Hits and negative hits by all reads. */", "  hit_rate: number", "}", ""]
    return "\n".join(lines)


MANUAL = """\
# Configuration

Written by `bindings/gen/generate.py` from the core's tables (`{options}`, `{counters}` and
`POND_ERROR_MAP` in `{errors}`): do not edit. What it all means is told in [the guide](GUIDE.md).

- [Options](#options): [of the pond](#given-when-the-pond-is-opened), [of calls too](#given-when-the-pond-is-opened-and-per-namespace-collection-or-call),
  [of collections](#given-when-a-collection-is-made)
- [Counters](#counters), and what [metrics](#of-the-whole) has besides
- [Errors](#errors)
"""

OPTIONS_INTRO = """
## Options

Durations are written `250ms`, `30s`, `5m`, `1h`, `1d` or in milliseconds; sizes `512KiB`, `64MiB`, `1GiB` or in bytes. In Node the names
are in camel case (`negativeTtl`); Python takes a `timedelta` for a duration, and both take lists for names and booleans for `on|off`.
"""

SCOPES = (("pond", "Given when the pond is opened"),
          ("both", "Given when the pond is opened, and per namespace, collection or call"),
          ("policy", "Given per namespace, collection or call"),
          ("collection", "Given when a collection is made"))

COUNTERS_INTRO = """
## Counters

Of `stats()`, in total and per namespace. `metrics()` has them as `millpond_NAME_total{namespace="shop"}`; a collection's have the labels
`collection` and `part` (`documents`, `pages` or `totals`) besides.
"""

GAUGES_INTRO = """
## Of the whole

Beside the counters `metrics()` has these, of what the pond's cache is, and per namespace the histogram `millpond_load_seconds`.
"""

BEHIND_INTRO = """
And these of each collection that is written behind, with the labels `namespace` and `collection`; with `worker=off` they are 0.
"""

ERRORS_INTRO = """
## Errors

*Retriable*: the same call may succeed later, unchanged. The classes are under `millpond.Error` in Python and `PondError` in Node.
"""


def table(heads: list[str], rows: list[list[str]]) -> list[str]:
    lines = [heads, ["---"] * len(heads), *([cell.replace("|", "&#124;") for cell in row] for row in rows)]
    return ["| " + " | ".join(line) + " |" for line in lines]


def code(text: str) -> str:
    return f"`{text}`" if text else ""


def manual_file(errors: list[dict], options: list[dict], counters: list[dict]) -> str:
    lines = [MANUAL.format(options=OPTIONS, counters=COUNTERS, errors=ERRORS), OPTIONS_INTRO.strip("\n"), ""]
    for scope, head in SCOPES:
        rows = [[code(row["name"]), row["type"], code(row["default"]), row["range"], row["text"]]
                for row in options if row["scope"] == scope]
        if rows:
            lines += [f"### {head}", "", *table(["option", "type", "default", "takes", "what it does"], rows), ""]
    lines += [COUNTERS_INTRO.strip("\n"), "", *table(["counter", "what it counts"], [[code(row["name"]), row["text"]] for row in counters]), ""]
    rows = [[code(f"millpond_{row['name']}{'_total' if row['kind'] == 'counter' else ''}"), row["kind"], row["text"]] for row in read_gauges()]
    lines += [GAUGES_INTRO.strip("\n"), "", *table(["metric", "kind", "what it tells"], rows), ""]
    rows = [[code(f"millpond_behind_{row['name']}"), "gauge", row["text"]] for row in read_behind_gauges()]
    lines += [BEHIND_INTRO.strip("\n"), "", *table(["metric", "kind", "what it tells"], rows), ""]
    lines += [ERRORS_INTRO.strip("\n"), ""]
    lines += table(["code", "number", "class in Python and Node", "retriable", "meaning"],
                   [[code("POND_E" + row["code"]), str(row["number"]), code(row["class"]), "yes" if row["retriable"] else "no", row["text"]]
                    for row in errors])
    return "\n".join([*lines, ""])


def main() -> int:
    check = "--check" in sys.argv[1:]
    errors, options, counters = read_errors(), read_options(), read_counters()
    stale = 0
    for path, text in (("core/CONFIGURATION.md", manual_file(errors, options, counters)),
                       ("python/millpond/_generated.py", python_file(errors, options, counters)),
                       ("node/lib/generated.cjs", node_file(errors, options)),
                       ("node/types/generated.d.ts", node_types_file(errors, options, counters))):
        file = ROOT / path
        old = file.read_text(encoding="utf-8") if file.exists() else ""
        if old == text:
            continue
        if check:
            stale = 1
            sys.stdout.writelines(difflib.unified_diff(old.splitlines(True), text.splitlines(True), path, path + " (as it should be)"))
            print(f"{path} is out of date: run python bindings/gen/generate.py and commit it")
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
            print(f"{path} written")
    return stale


if __name__ == "__main__":
    sys.exit(main())
