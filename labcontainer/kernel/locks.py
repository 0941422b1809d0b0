"""Locks on files that end with their holder, however it ends: flock(2).

A lock belongs to the open file, so a child that inherits the descriptor holds it too.
"""

from __future__ import annotations

import fcntl
import os


def hold(fd: int) -> None:
    """Lock an open file for as long as it stays open; nobody else has it yet."""
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def is_held(path: str) -> bool:
    """Whether somebody holds a lock on the file; no for one that is gone."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
