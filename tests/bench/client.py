"""A client program of the benchmark, from outside."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess

HERE = pathlib.Path(__file__).resolve().parent


class ClientError(RuntimeError):
    """A client program could not start, or died."""


class Client:
    """A program that waits for `run` lines and uses no CPU meanwhile, pinned to `cpu` if there is one (the server's)."""

    def __init__(self, kind: str, peer: str, words: list[str], cpu: int | None):
        self.name = f"{kind} {peer}"
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                        cwd=HERE, preexec_fn=lambda: os.sched_setaffinity(0, {cpu}) if cpu is not None else None)
        self.version = self._answer().get("version", "")

    def _answer(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            error = self.process.stderr.read().strip().splitlines()
            telling = [line for line in error if "Error" in line] or error or ["ended without a word"]
            raise ClientError(f"{self.name}: {telling[-1].strip()}")
        return json.loads(line)

    def run(self, *words: object) -> dict:
        """-> {"rate": a second, "cpu": seconds of its own for 100,000 operations}"""
        self.process.stdin.write(f"run {' '.join(map(str, words))}\n")
        self.process.stdin.flush()
        answer = self._answer()
        return {"rate": answer["ops"] / answer["seconds"], "cpu": answer.get("cpu", 0) * 100_000 / answer["ops"], "ops": answer["ops"]}

    def close(self) -> None:
        try:
            self.process.communicate("quit\n", timeout=5)
        except (subprocess.TimeoutExpired, BrokenPipeError):
            self.process.kill()
            self.process.communicate()
