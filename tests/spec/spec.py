"""The shared cases as command lines for the tools of tests/cross, and what their answers must hold. See README.md here."""

from __future__ import annotations

import json
import pathlib
import zlib
from dataclasses import dataclass, field

HERE = pathlib.Path(__file__).resolve().parent
LANGUAGES = ("c", "python", "asyncio", "node")
CACHES = ("memory", "redis")
SHOWN = 4096  # a longer payload is answered by its length and checksum


@dataclass
class Step:
    line: str
    expect: dict = field(default_factory=dict)  # as in the case, values spelled out
    languages: tuple = LANGUAGES
    is_json: bool = False  # the value expected is JSON, so its data is a payload as it stands


@dataclass
class Case:
    name: str
    file: str
    options: dict
    steps: list[Step]
    languages: tuple = LANGUAGES
    caches: tuple = CACHES


def read(name: str) -> dict:
    return json.loads((HERE / name).read_text(encoding="utf-8"))


def spelled(form) -> bytes:
    """A string, {"repeat": [part, times]} or {"bytes": hex} as bytes."""
    if isinstance(form, str):
        return form.encode("utf-8", "surrogatepass")
    if "repeat" in form:
        part, times = form["repeat"]
        return part.encode() * times
    return bytes.fromhex(form["bytes"])


def quote(data: bytes) -> str:
    plain = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:/@{},[]\""
    return "".join(chr(byte) if byte in plain else f"%{byte:02x}" for byte in data)


def compact(value) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def words(verb: str, *pairs: tuple[str, bytes | str]) -> str:
    return " ".join([verb, *(f"{name}={quote(value if isinstance(value, bytes) else value.encode())}" for name, value in pairs)])


def load_words(load: dict) -> list[tuple[str, bytes | str]]:
    kinds = [kind for kind in ("json", "text", "bytes", "null", "absent", "fail", "never", "special") if kind in load]
    if len(kinds) != 1:
        raise ValueError(f"a load has one kind: {load}")
    kind, pairs = kinds[0], [("load", kinds[0])]
    if kind == "json":
        pairs.append(("data", compact(load["json"])))
    elif kind == "bytes":
        pairs.append(("data", bytes.fromhex(load["bytes"])))
    elif isinstance(load[kind], dict):
        part, times = load[kind]["repeat"]
        pairs += [("data", part), ("times", str(times))]
    elif isinstance(load[kind], str):
        pairs.append(("data", load[kind]))
    if load.get("cache") is False:
        pairs.append(("cache", "no"))
    if "delay" in load:
        pairs.append(("delay", str(load["delay"])))
    return pairs


def set_words(load: dict) -> list[tuple[str, bytes | str]]:
    """A kind and the data of a value, always both: the n-th `set` goes with the n-th of each."""
    (name, value), = load.items()
    data = {"json": compact, "bytes": bytes.fromhex, "text": spelled}.get(name, lambda value: b"")(value)
    return [("kind", name), ("data", data)]


def sets_words(sets) -> list[tuple[str, bytes | str]]:
    return [pair for key, load in sets for pair in (("set", spelled(key)), *set_words(load))]


def end_words(step: dict) -> list[tuple[str, bytes | str]]:
    return [("fail", step["fail"])] if "fail" in step else []


def option_words(prefix: str, options: dict) -> list[tuple[str, bytes]]:
    return [(f"{prefix}.{name}", spelled(value)) for name, value in options.items()]


def line_of(step: dict) -> str:
    with_words = option_words("with", step.get("with", {})) + [("tag", spelled(tag)) for tag in step.get("tags", [])]
    if "fetch" in step:
        entry = [("entry", "yes")] if "stale" in step.get("expect", {}) else []
        return words("fetch", ("key", spelled(step["fetch"])), *entry, *with_words, *load_words(step["load"]))
    for verb in ("lookup", "explain"):
        if verb in step:
            return words(verb, ("key", spelled(step[verb])), *with_words)
    if "invalidate" in step:
        return words("invalidate", *(("key", spelled(key)) for key in step["invalidate"]), *with_words)
    if "write" in step:
        sets, ends = sets_words(step.get("set", [])), end_words(step)
        return words("write", *(("key", spelled(key)) for key in step["write"]), *with_words, *sets, *ends,
                     *([("sure", "yes")] if step.get("not_written") else []))
    for verb in ("fetch_many", "warm"):
        if verb in step:
            batch = [("batch", str(step["batch"]))] if "batch" in step else []
            return words(verb, *(("key", spelled(key)) for key in step[verb]), *with_words, *batch, *sets_words(step["load_many"].items()), *end_words(step))
    if "set_many" in step:
        return words("set_many", *with_words, *sets_words(step["set_many"]))
    if "stat" in step:
        return words("stat", ("counter", step["stat"]), ("namespace", "@NS@"))
    if "metrics" in step:
        return words("metrics", ("namespace", "@NS@"))
    if "sleep" in step:
        return words("sleep", ("ms", str(step["sleep"])))
    if "change" in step:
        collection, name = step["of"]
        return words("change", ("kind", step["change"]), ("collection", collection), *([] if name is None else [("id", spelled(name))]),
                     *([("doc", compact(step["document"]))] if "document" in step else []),
                     *([("reject", "yes")] if step.get("reject") else []), *with_words)
    if "increment" in step:
        collection, name, field = step["increment"]
        return words("increment", ("collection", collection), ("id", spelled(name)), ("field", field), ("by", str(step.get("by", 1))), *with_words)
    if "document" in step:
        collection, name = step["document"]
        return words("document", ("collection", collection), ("id", spelled(name)), *with_words)
    if "page" in step:
        collection, query = step["page"]
        return words("page", ("collection", collection), ("query", query))
    if "dead" in step:
        collection, letter = step["of"]
        return words("dead", ("act", step["dead"]), ("collection", collection), *([] if letter is None else [("id", spelled(letter))]),
                     *([("most", str(step["most"]))] if "most" in step else []), *with_words)
    if "open" in step:
        return words("open", ("pond", "second"), *option_words("opt", step["open"]))
    if "create" in step:
        return words("create", ("collection", step["create"]))
    if "put" in step:
        collection, name, document = step["put"]
        return words("put", ("collection", collection), ("id", spelled(name)), ("doc", compact(document)))
    if "get_many" in step:
        collection, names = step["get_many"]
        return words("get_many", ("collection", collection), *(("id", spelled(name)) for name in names))
    for verb in ("get", "delete"):
        if verb in step:
            collection, name = step[verb]
            return words(verb, ("collection", collection), ("id", spelled(name)))
    raise ValueError(f"no such step: {step}")


def expectation(form: dict) -> dict:
    """Members that stand for themselves stay; a value becomes state, and data or len and adler."""
    out = {name: form[name] for name in ("state", "loaded", "error", "count", "info", "list", "asked", "existed", "stale") if name in form}
    value = None
    if "json" in form:
        value, out["data"] = compact(form["json"]), form["json"]
    elif "null" in form:
        value, out["data"] = b"null", None
    elif "text" in form:
        value = spelled(form["text"])
        out["data"] = value.decode("utf-8", "surrogatepass")
    elif "bytes" in form:
        value = bytes.fromhex(form["bytes"])
        out["data"] = form["bytes"]
    if value is not None:
        out["state"] = "value"
        if len(value) > SHOWN:
            del out["data"]
            out.update(len=len(value), adler=zlib.adler32(value))
    return out


def step_of(form: dict) -> Step:
    expect = form.get("expect", {})
    return Step(line_of(form), expectation(expect), tuple(form.get("languages", LANGUAGES)), "json" in expect or "null" in expect)


def cases(name: str) -> list[Case]:
    """The cases of a file that holds such."""
    return [Case(form["name"], name, form.get("options", {}), [step_of(step) for step in form["steps"]],
                 tuple(form.get("languages", LANGUAGES)), tuple(form.get("caches", CACHES)))
            for form in read(name)["cases"]]


def value_case(form: dict) -> Case:
    """One value within one language: miss, load, hit, lookup, invalidate, miss."""
    load, absent = form["load"], "absent" in form["load"]
    value = {"state": "absent"} if absent else load
    steps = [{"lookup": "k", "expect": {"state": "miss"}},
             {"fetch": "k", "load": load, "expect": {**value, "loaded": True}},
             {"fetch": "k", "load": {"never": True}, "expect": {**value, "loaded": False}},
             {"lookup": "k", "expect": value},
             {"invalidate": ["k"]},
             {"lookup": "k", "expect": {"state": "miss"}}]
    return Case(form["name"], "values.json", {}, [step_of(step) for step in steps], tuple(form.get("languages", LANGUAGES)))


def values() -> list[dict]:
    return read("values.json")["values"]


def all_cases() -> list[Case]:
    files = ("errors.json", "semantics.json", "writes.json", "bulk.json", "documents.json", "stale.json")
    return [value_case(form) for form in values()] + [case for name in files for case in cases(name)]


WITNESS = step_of({"fetch": "witness", "load": {"json": {"seen": True}}, "expect": {"json": {"seen": True}}})
WITNESS_STILL = step_of({"lookup": "witness", "expect": {"json": {"seen": True}}})


def same_json(one, other) -> bool:
    """1 and 1.0 are one number; true and 1 are not; the order of members does not matter."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return one == other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same_json(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same_json, one, other))
    return type(one) is type(other) and one == other


def difference(expect: dict, answer: dict) -> str | None:
    """What is wrong with an answer, or None."""
    wanted = expect.get("error")
    if wanted is None and not answer.get("ok"):
        return f"failed: {answer}"
    if wanted is not None:
        if answer.get("ok"):
            return f"succeeded instead of {wanted['code']}: {answer}"
        if answer["code"] not in ([wanted["code"]] if isinstance(wanted["code"], str) else wanted["code"]):
            return f"{answer['code']} instead of {wanted['code']}: {answer['message']!r}"
        missing = [part for part in wanted["says"] if part not in answer["message"]]
        leaked = [part for part in wanted.get("not", []) if part in answer["message"]]
        if missing or leaked:
            return f"the sentence {answer['message']!r} lacks {missing} and shows {leaked}"
        if answer["retriable"] != wanted.get("retriable", False):
            return f"retriable is {answer['retriable']}"
        return None
    for name, value in expect.items():
        if name == "stale":
            if answer.get("stale", False) != value:
                return f"it is {'' if value else 'not '}to be stale: {answer}"
            continue
        if name not in answer:
            return f"no {name} in {answer}"
        if name == "info":
            wrong = [member for member in value if answer["info"].get(member) != value[member]]
            if wrong:
                return f"info: {wrong} in {answer['info']}, not {value}"
        elif not same_json(answer[name], value):
            return f"{name} is {answer[name]!r}, not {value!r}"
    return None
