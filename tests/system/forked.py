"""Runs a function of a test in a child with namespaces of its own, and looks at it from outside.

value = forked.call(function, "/tmp/x", flags=CLONE.NEWNS)      # raises what the child raised
with forked.held(function, flags=CLONE.NEWNS) as process:       # the child stays: /proc/PID
    process.pid, process.value
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labcontainer.kernel import syscalls
from labcontainer.kernel.flags import CLONE, MS, PR


@dataclass
class Process:
    """A child that ran its function and waits. `pid` is its number in the test's PID namespace."""

    pid: int
    value: Any

    def mounts(self) -> dict[str, dict[str, str]]:
        """What is mounted in it: target -> fstype, options, super options, propagation."""
        found = {}
        for line in self.read("mountinfo").splitlines():
            before, _, after = line.partition(" - ")
            fields, (fstype, source, superblock) = before.split(" "), after.split(" ", 2)
            found[fields[4]] = {
                "fstype": fstype,
                "source": source,
                "options": fields[5],
                "super": superblock,
                "shared": " ".join(fields[6:]),
                "root": fields[3],
                "device": fields[2],
            }
        return found

    def read(self, name: str) -> str:
        """A file of /proc/PID."""
        with open(f"/proc/{self.pid}/{name}") as file:
            return file.read()

    def inode(self, name: str) -> int:
        """The number of a namespace, by its name under /proc/PID/ns."""
        return os.stat(f"/proc/{self.pid}/ns/{name}").st_ino

    def path(self, inner: str) -> str:
        """A path in it, as seen from here."""
        return f"/proc/{self.pid}/root{inner}"


def become_user(uid: int) -> None:
    """An ordinary user without groups who may still write its own /proc files."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    syscalls.prctl(PR.SET_DUMPABLE, 1)


def open_to_all(path: Path) -> None:
    """Let an ordinary user come to a temporary path: pytest's own directories are 0700."""
    for parent in (path, *path.parents):
        if parent != Path("/") and not parent.stat().st_mode & 1:
            parent.chmod(parent.stat().st_mode | 0o111)


def _enter(flags: int, uid: int) -> None:
    if uid:
        become_user(uid)
    inner_uid, inner_gid = os.geteuid(), os.getegid()
    syscalls.unshare(flags)
    if flags & CLONE.NEWUSER:
        for name, line in (
            ("setgroups", "deny"),
            ("uid_map", f"0 {inner_uid} 1"),
            ("gid_map", f"0 {inner_gid} 1"),
        ):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(line)
    if flags & CLONE.NEWNS:
        syscalls.mount(None, "/", None, MS.PRIVATE | MS.REC)


@contextmanager
def held(
    function: Callable[..., Any], *args: Any, flags: int = 0, uid: int = 0
) -> Iterator[Process]:
    """Run `function(*args)` in a child as said, and keep the child until the block ends."""
    read, write = os.pipe()
    first = os.fork()
    if first == 0:
        os.close(read)
        _child(function, args, flags, uid, write)
    os.close(write)
    try:
        with os.fdopen(read, "rb") as answers:
            pid, value, error = pickle.load(answers)
        if error is not None:
            raise _unpacked(error)
        yield Process(pid or first, value)
    finally:
        os.kill(first, signal.SIGKILL)
        os.waitpid(first, 0)


def call(function: Callable[..., Any], *args: Any, flags: int = 0, uid: int = 0) -> Any:
    """The value of `function(*args)`, run in a child as said."""
    with held(function, *args, flags=flags, uid=uid) as process:
        return process.value


def _child(
    function: Callable[..., Any], args: tuple[Any, ...], flags: int, uid: int, write: int
) -> None:
    answer: tuple[int, Any, Any] = (0, None, None)
    try:
        # Outside names of a PID namespace's members: read before the mounts change.
        _enter(flags, uid)
        if flags & CLONE.NEWPID:
            middle, middle_write = os.pipe()
            second = os.fork()
            if second:
                os.close(middle_write)
                with os.fdopen(middle, "rb") as answers:
                    value, error = pickle.load(answers)
                _answer(write, (second, value, error))
                os.close(write)
                os.waitpid(second, 0)
                os._exit(0)
            os.close(middle)
            syscalls.prctl(PR.SET_PDEATHSIG, signal.SIGKILL)
            try:
                _answer(middle_write, (function(*args), None))
            except BaseException as error:
                _answer(middle_write, (None, _packed(error)))
            signal.pause()
        answer = (0, function(*args), None)
    except BaseException as error:
        answer = (0, None, _packed(error))
    _answer(write, answer)
    while True:
        signal.pause()


def _packed(error: BaseException) -> tuple[Any, ...]:
    """An exception in parts: pickle would call a constructor that takes other arguments."""
    return type(error), error.args, error.__dict__, getattr(error, "filename", None)


def _unpacked(parts: tuple[Any, ...]) -> BaseException:
    kind, args, attributes, filename = parts
    error: BaseException = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(attributes)
    if isinstance(error, OSError):
        error.filename = filename
    return error


def _answer(fd: int, value: Any) -> None:
    try:
        data = pickle.dumps(value)
    except Exception as error:
        data = pickle.dumps((*value[:-1], RuntimeError(f"{value!r}: {error!r}")))
    while data:
        data = data[os.write(fd, data) :]
    sys.stdout.flush()
