"""What the tests of this folder share: the tools as processes, and the log that counts loads."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
import queue

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE.parent / "spec"))
sys.path.insert(0, str(HERE.parent / "servers"))

import spec  # noqa: E402

ALL_LANGUAGES = spec.LANGUAGES
LANGUAGES = tuple(os.environ.get("MILLPOND_LANGUAGES", ",".join(ALL_LANGUAGES)).split(","))


def newest(pattern: str) -> str:
    found = sorted(ROOT.glob(pattern), key=lambda path: path.stat().st_mtime)
    return str(found[-1]) if found else ""


def command_of(language: str) -> list[str]:
    if language == "c":
        program = os.environ.get("MILLPOND_TOOL_CLIENT") or newest("build/**/tool_client")
        if not program or not os.access(program, os.X_OK):
            raise RuntimeError("no tool_client: build with -DPOND_TESTS=ON, or name it in MILLPOND_TOOL_CLIENT")
        return [program]
    if language == "node":
        node = shutil.which("node")
        if not node:
            raise RuntimeError("there is no node on the path")
        return [node, str(HERE / "tools/node_tool.mjs")]
    return [sys.executable, "-B", str(HERE / "tools/py_tool.py"), language]


class Tool:
    """One language's tool as a process. `ask` waits for the answer; `tell` and `answer` let several work at once."""

    def __init__(self, language: str, command: list[str] | None = None):
        self.language = language
        self.process = subprocess.Popen(command or command_of(language), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True, encoding="utf-8")
        self._lines: queue.Queue = queue.Queue()
        self._errors: list[str] = []
        self._readers = [threading.Thread(target=self._read, daemon=True), threading.Thread(target=self._read_errors, daemon=True)]
        for reader in self._readers:
            reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def _read_errors(self) -> None:
        self._errors.extend(self.process.stderr)

    def tell(self, line: str) -> None:
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def answer(self, timeout: float = 30) -> dict:
        try:
            line = self._lines.get(timeout=timeout)
        except queue.Empty:
            self.kill()
            raise AssertionError(f"{self.language}: no answer within {timeout} s") from None
        if line is None:
            self._readers[1].join(2)
            raise AssertionError(f"{self.language}: ended with {self.process.wait(5)}: {''.join(self._errors)[-2000:]}")
        return json.loads(line)

    def ask(self, line: str, timeout: float = 30) -> dict:
        self.tell(line)
        return self.answer(timeout)

    def do(self, line: str, timeout: float = 30) -> dict:
        """`ask`, and it must succeed."""
        answer = self.ask(line, timeout)
        assert answer["ok"], f"{self.language}: {line[:300]}: {answer}"
        return answer

    def open(self, cache: str, namespace: str, pond: str = "p", **options: str) -> None:
        self.do(spec.words("open", ("pond", pond), ("opt.cache", cache), ("opt.namespace", namespace),
                           *spec.option_words("opt", options)))

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def close(self) -> None:
        """Ends the tool, which must end well."""
        if self.process.poll() is None:
            self.process.stdin.close()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError(f"{self.language}: did not end within 15 s of its last command") from None
        for reader in self._readers:
            reader.join(2)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            stream.close()
        assert self.process.returncode in (0, -signal.SIGKILL), \
            f"{self.language}: ended with {self.process.returncode}: {''.join(self._errors)[-2000:]}"


class LoadLog:
    """Counts loads by the lines that loaders append to a file; see README.md."""

    def __init__(self, path: pathlib.Path):
        self.path = path

    def _times(self, what: str) -> list[tuple[int, int]]:
        if not self.path.exists():
            return []
        rows = (line.split() for line in self.path.read_text().splitlines())
        return [(int(pid), int(ns)) for word, pid, ns in rows if word == what]

    @property
    def starts(self) -> list[tuple[int, int]]:
        """(pid, monotonic ns) of each load that began."""
        return self._times("start")

    @property
    def ends(self) -> list[tuple[int, int]]:
        return self._times("end")


def matches(expect: dict, answer: dict, language: str) -> str | None:
    """spec.difference; Node may name an option by its own name there."""
    wanted = spec.difference(expect, answer)
    if wanted and language == "node" and "error" in expect:
        says = [camel(part) if part not in answer.get("message", "") else part for part in expect["error"]["says"]]
        wanted = spec.difference({**expect, "error": {**expect["error"], "says": says}}, answer)
    return wanted


def camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)
