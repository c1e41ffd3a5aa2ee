"""The command millpond: the program that lies beside the module, where the plugins for its stores are, too."""

from __future__ import annotations

import os
import pathlib
import signal
import sys
from typing import NoReturn


def main() -> NoReturn:
    program = str(pathlib.Path(__file__).parent / "millpond")
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and that would be inherited
    try:
        os.execv(program, [program, *sys.argv[1:]])
    except OSError as error:
        sys.exit(f"millpond: {program}: {error.strerror}: install the package anew")
