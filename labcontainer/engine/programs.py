"""Programs that could outlive the daemon that started them: their numbers are in files.

The next daemon ends what it finds there, before it binds the ports that they may still have.
"""

from __future__ import annotations

import os
import signal
import time

from labcontainer.engine import leftovers

PATIENCE = 2  # seconds that a killed program may take to be gone


def note(path: str, pid: int) -> None:
    """Write down a program, by its number and the time that it started at."""
    with open(f"{path}.new", "w") as file:
        file.write(leftovers.identity(pid))
    os.rename(f"{path}.new", path)


def end(path: str) -> None:
    """End the program that is noted in this file, if it still runs; may be called again."""
    try:
        with open(path) as file:
            pid, _, ticks = file.read().partition(" ")
    except FileNotFoundError:
        return
    if ticks and leftovers.start_time(int(pid)) == ticks:
        os.kill(int(pid), signal.SIGKILL)
        _await_end(int(pid), ticks)
    os.unlink(path)


def _await_end(pid: int, ticks: str) -> None:
    """Its ports and its device are free only then. Whoever started it may have died: no waitpid."""
    last = time.monotonic() + PATIENCE
    while leftovers.start_time(pid) == ticks and time.monotonic() < last:
        time.sleep(0.005)
