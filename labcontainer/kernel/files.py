"""Pseudo-files under /proc, /sys and cgroup file systems: one read or one write each.

An error tells the path, the value and what the kernel answered:
`cannot write '20' to /sys/fs/cgroup/lab/pids.max: Permission denied`.
"""

from __future__ import annotations

import os
import stat

from labcontainer.kernel import trace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class PseudoFileError(OSError):
    """An `OSError` that says what was written or read, and where."""

    def __str__(self) -> str:
        return str(self.args[1])


def _fail(error: OSError, tried: str, path: str) -> PseudoFileError:
    reason = os.strerror(error.errno or 0)
    # Three arguments would make OSError pick a subclass by errno and drop ours; two keep it.
    failure = PseudoFileError(error.errno, f"cannot {tried} {path}: {reason}")
    failure.filename = path
    return failure


def write(path: str, value: str | int | bytes, *, dir_fd: int | None = None) -> None:
    """Write a value in one write(2), as the kernel's pseudo-files ask."""
    data = value if isinstance(value, bytes) else str(value).encode()
    shown = data.decode(errors="replace")
    error: OSError | None = None
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC, dir_fd=dir_fd)
        try:
            os.write(fd, data)
        finally:
            os.close(fd)
    except OSError as refused:
        error = refused
    if trace.watchers:
        trace.publish("write", f"write({path!r}, {shown!r})", error or len(data))
    if error is not None:
        raise _fail(error, f"write {shown!r} to", path) from None


def write_each(path: str, values: list[str]) -> None:
    """Several values into one pseudo-file, each in a write(2) of its own."""
    value = values[0]
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            for value in values:
                os.write(fd, value.encode())
                if trace.watchers:
                    trace.publish("write", f"write({path!r}, {value!r})", len(value))
        finally:
            os.close(fd)
    except OSError as error:
        raise _fail(error, f"write {value!r} to", path) from None


def read(path: str, *, dir_fd: int | None = None) -> str:
    """The whole text of a pseudo-file, its last newline taken off."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=dir_fd)
        try:
            parts = []
            while part := os.read(fd, 65536):
                parts.append(part)
        finally:
            os.close(fd)
    except OSError as error:
        raise _fail(error, "read", path) from None
    return b"".join(parts).decode(errors="surrogateescape").removesuffix("\n")


def read_int(path: str, *, dir_fd: int | None = None) -> int:
    """The integer in a pseudo-file."""
    text = read(path, dir_fd=dir_fd)
    try:
        return int(text)
    except ValueError:
        raise PseudoFileError(22, f"{path}: {text[:40]!r} is not a number") from None


def exists(path: str) -> bool:
    """Whether a path leads to anything."""
    return os.access(path, os.F_OK)


def wait_for(path: str, line: str, deadline: float) -> bool:
    """Wait until a pseudo-file that tells of its changes (poll(2): POLLPRI) holds a line.

    `deadline` is a time of the monotonic clock. False when it has passed; True also when what the
    file was about is gone.
    """
    import select
    import time

    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        poll = select.poll()
        poll.register(fd, select.POLLPRI)
        while True:
            if line in os.pread(fd, 4096, 0).decode().split("\n"):
                return True
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            poll.poll(left * 1000)
    except OSError as error:
        if error.errno == 19:  # ENODEV: the group of this file was removed
            return True
        raise _fail(error, "wait on", path) from None
    finally:
        os.close(fd)


def look_again(done: Callable[[], bool], deadline: float) -> bool:
    """Ask until it is so, or until the deadline: for what the kernel has no event for."""
    import time

    pause = 0.0005
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
        pause = min(pause * 2, 0.02)
    return True


def write_atomically(path: str, data: bytes, mode: int = 0o600, *, sync: bool = False) -> None:
    """Put a whole new file in the place of another: readers see the old one or the new one.

    With `sync` that also holds after a power cut.
    """
    temporary = f"{path}.{os.urandom(6).hex()}.new"  # threads may write the same file
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        if sync:
            os.fsync(fd)
        os.rename(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise
    finally:
        os.close(fd)


def own_directory(path: str) -> str:
    """A directory where anybody may make one, such as /tmp; made if need be, and surely ours.

    Raises:
        PermissionError: somebody else made it, or may write there: it is not to be trusted.
    """
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    about = os.lstat(path)
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.geteuid() or about.st_mode & 0o022:
        problem = "is not a directory of ours alone; set XDG_RUNTIME_DIR, or remove it"
        raise PermissionError(1, f"{path} {problem}")
    return path


def lock(fd: int) -> None:
    """Wait for the only right to what the descriptor stands for; given back when it is closed."""
    import fcntl

    fcntl.flock(fd, fcntl.LOCK_EX)


def lock_file(path: str) -> int:
    """The lock of a file of that name, made if need be; ours until the descriptor is closed."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    lock(fd)
    return fd
