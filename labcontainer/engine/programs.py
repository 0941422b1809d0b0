"""Programs that could outlive the daemon that started them: their numbers are in files.

The next daemon ends what it finds there, before it binds the ports that they may still have.
"""

from __future__ import annotations

import os

from labcontainer.engine import leftovers


def note(path: str, pid: int) -> None:
    """Write down a program, by its number and the time that it started at."""
    with open(f"{path}.new", "w") as file:
        file.write(leftovers.identity(pid))
    os.rename(f"{path}.new", path)


def end(path: str) -> None:
    """End the program that is noted in this file, if it still runs; may be called again."""
    try:
        with open(path) as file:
            line = file.read()
    except FileNotFoundError:
        return
    leftovers.end(line)  # its ports and its device are free only when it is gone
    os.unlink(path)
