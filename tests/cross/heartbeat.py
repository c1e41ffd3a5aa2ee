"""How long this machine stood still: what a deadline that was missed is measured by. As ../c/support/heartbeat.h."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

PROGRAM = pathlib.Path(__file__).resolve().parent / "tools/heartbeat.py"


class Heartbeat:
    """Beats on each processor from `with` on."""

    def __enter__(self) -> Heartbeat:
        self._hearts = [subprocess.Popen([sys.executable, "-B", str(PROGRAM), str(cpu)], stdout=subprocess.PIPE)
                        for cpu in os.sched_getaffinity(0)]
        self._late: list[list[int]] | None = None
        return self

    def stop(self) -> None:
        if self._late is None:
            for heart in self._hearts:
                heart.terminate()
            self._late = [span for heart in self._hearts for span in json.loads(heart.communicate(timeout=30)[0])]

    def __exit__(self, *_) -> None:
        self.stop()

    def left(self, start: int, end: int) -> float:
        """Of the time from `start` to `end`, in ns of the monotonic clock: the milliseconds in which every processor went on."""
        self.stop()
        moved, at = 0, start
        for late, came in sorted(self._late):
            if came > at and late < end:
                moved += max(0, late - at)
                at = min(max(at, came), end)
        return (moved + end - at) / 1e6
