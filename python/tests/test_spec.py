"""The shared cases of tests/spec in this process, by the blocking calls and by the awaited ones.

tests/cross runs the same cases in all languages, each in a process of its own; what a step means in Python is written once,
in tests/cross/tools/py_tool.py.
"""

from __future__ import annotations

import asyncio
import importlib.util
import pathlib
import sys

import pytest

TREE = pathlib.Path(__file__).resolve().parents[2]


def module(path: str, name: str):
    """A file of the tree as a module, under a name of our own."""
    spec = importlib.util.spec_from_file_location(name, TREE / path)
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules[name] = made
    argv, sys.argv = sys.argv, [path]
    try:
        spec.loader.exec_module(made)
    finally:
        sys.argv = argv
    return made


spec = module("tests/spec/spec.py", "millpond_spec")
tool = module("tests/cross/tools/py_tool.py", "millpond_py_tool")

CASES = spec.all_cases()
RUNS = [pytest.param(language, cache, case, id=f"{language}-{cache}-{case.file.split('.')[0]}: {case.name}")
        for language in ("python", "asyncio") for cache in ("memory", "redis") for case in CASES
        if language in case.languages and cache in case.caches]


@pytest.mark.parametrize("language, cache, case", RUNS, indirect=["cache"])
def test_case(language, cache, case, name, tmp_path):
    def fill(text):
        return text.replace("@NS@", name).replace("@STORE@", f"sqlite:{tmp_path}/store.db") if isinstance(text, str) else text

    async def main():
        runner = tool.Tool()
        runner.asynchronous = language == "asyncio"

        async def ask(line):
            try:
                return await runner.run(tool.Command(line))
            except Exception as error:
                return tool.error_answer(error)

        options = [(f"opt.{option}", spec.spelled(fill(value))) for option, value in case.options.items()]
        opened = await ask(spec.words("open", ("opt.cache", cache), ("opt.namespace", name), *options))
        assert opened["ok"], opened
        try:
            if case.file == "errors.json":
                assert (await ask(fill(spec.WITNESS.line)))["ok"]
            for step in case.steps:
                if language not in step.languages:
                    continue
                answer = await ask(fill(step.line))
                if answer["ok"] and step.line.startswith("open "):
                    await ask("close pond=second")
                assert spec.difference(step.expect, answer) is None, step.line[:200]
            if case.file == "errors.json":
                assert spec.difference(spec.WITNESS_STILL.expect, await ask(fill(spec.WITNESS_STILL.line))) is None
        finally:
            await ask("close")

    asyncio.run(main())
