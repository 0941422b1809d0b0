"""Locks on files that end with their holder, however it ends: flock(2).

A lock belongs to the open file, so a child that inherits the descriptor holds it too.
"""

from __future__ import annotations

import fcntl
import os


def hold(fd: int) -> None:
    """Lock an open file for as long as it stays open; nobody else has it yet."""
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def hold_file(path: str) -> int:
    """A descriptor with the lock of a file, which is made if it is not there.

    Raises:
        BlockingIOError: somebody else holds it.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        hold(fd)
    except BaseException:
        os.close(fd)
        raise
    return fd


def wait(fd: int, path: str) -> bool:
    """Wait for the lock of an open file; False when `path` leads to it no more.

    A lock is the file's, not the name's: who held it may have renamed or deleted the file between
    our open and our lock.
    """
    fcntl.flock(fd, fcntl.LOCK_EX)
    return is_named(fd, path)


def is_named(fd: int, path: str) -> bool:
    """Whether a path leads to an open file."""
    try:
        return os.path.samestat(os.fstat(fd), os.lstat(path))
    except FileNotFoundError:
        return False


def hold_left(path: str) -> int:
    """A descriptor with the lock of a file; -1 where somebody holds it, or there is none."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return -1
    try:
        hold(fd)
        if is_named(fd, path):
            return fd
    except BlockingIOError:
        pass
    os.close(fd)
    return -1


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
