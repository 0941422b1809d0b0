"""What a container has said: its log files read back, the last lines of them, or all that comes.

The monitor writes one JSON object a line (runtime/journal.py). Whoever follows waits on inotify(7)
for more, and on the container's bell for its end.
"""

from __future__ import annotations

import json
import os
import select
import struct

from labcontainer.engine import moments
from labcontainer.kernel import syscalls
from labcontainer.kernel.flags import IN
from labcontainer.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from labcontainer.engine.container import Container

BLOCK = 65536
STREAMS = {"stdout": 1, "stderr": 2}


class Wanted(Record):
    """What a reader wants. `tail` -1 is everything; times are seconds since 1970, 0 for none."""

    stdout: bool = True
    stderr: bool = True
    tail: int = -1
    since: float = 0.0
    until: float = 0.0
    timestamps: bool = False
    details: str = ""


def frame(stream: str, data: bytes) -> bytes:
    """Docker's frame: one byte of the stream, three of zero, four of the length, the bytes."""
    return struct.pack(">BxxxL", STREAMS[stream], len(data)) + data


def lines(
    container: Container, wanted: Wanted, encode: Callable[[str, bytes], bytes]
) -> Iterator[bytes]:
    """What is there now, each line encoded (`frame`, or plain for a terminal)."""
    with Reader(container, wanted) as reader:
        for stream, data in reader.now():
            yield encode(stream, data)


def plain(_stream: str, data: bytes) -> bytes:
    """A line as it is: what has a terminal has one stream."""
    return data


class Reader:
    """A container's log, from its `tail` on."""

    def __init__(self, container: Container, wanted: Wanted) -> None:
        self._path = container.log_path
        self._wanted = wanted
        self._rest = b""
        self._over = False
        # Watched before it is read: what is written in between rings too.
        self._notify = syscalls.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        syscalls.inotify_add_watch(
            self._notify, container.home, IN.MODIFY | IN.CREATE | IN.MOVED_TO
        )
        self._older, self._file = self._open()

    def _open(self) -> tuple[list[int], int]:
        """The rotated files wanted, the oldest first, and the newest, each at its start."""
        numbers: list[int] = []
        while os.path.exists(f"{self._path}.{len(numbers) + 1}"):
            numbers.append(len(numbers) + 1)
        names = [*(f"{self._path}.{number}" for number in reversed(numbers)), self._path]
        files = [fd for name in names if (fd := _open(name)) >= 0]
        left = self._wanted.tail
        if left >= 0:
            for fd in reversed(files):
                left -= _seek_tail(fd, left)
        current = files.pop() if files and os.path.exists(self._path) else -1
        return files, current

    def now(self) -> Iterator[tuple[str, bytes]]:
        """What is there and was not told yet."""
        while self._older:
            fd = self._older.pop(0)
            yield from self._read(fd)
            os.close(fd)
        while True:
            if self._file < 0:
                self._file = _open(self._path)
            if self._file < 0:
                return
            yield from self._read(self._file)
            if _is(self._file, self._path):
                return
            yield from self._read(self._file)  # what came before it was renamed
            os.close(self._file)
            self._file = -1

    def _read(self, fd: int) -> Iterator[tuple[str, bytes]]:
        while data := os.read(fd, BLOCK):
            *whole, self._rest = (self._rest + data).split(b"\n")
            for line in whole:
                found = self._entry(line)
                if found is not None:
                    yield found

    def _entry(self, line: bytes) -> tuple[str, bytes] | None:
        """(stream, what was said) of a line of the file, None for one that is not wanted."""
        wanted = self._wanted
        try:
            entry = json.loads(line)
            stream, said, time = entry["stream"], entry["log"], entry["time"]
        except (ValueError, KeyError, TypeError):
            return None  # torn by a full disk
        if not (wanted.stdout if stream == "stdout" else wanted.stderr):
            return None
        if wanted.since or wanted.until:
            moment = moments.moment(time)
            if moment < wanted.since:
                return None
            if wanted.until and moment > wanted.until:
                self._over = True
                return None
        head = f"{time} " if wanted.timestamps else ""
        head += f"{wanted.details} " if wanted.details else ""
        return stream, (head + said).encode(errors="surrogatepass")

    @property
    def over(self) -> bool:
        """Whether a line was met that is later than what is wanted."""
        return self._over

    def wait(self, *others: int, seconds: float | None = None) -> set[int]:
        """Wait for more, or for one of the other descriptors; which of them are ready."""
        poll = select.poll()
        poll.register(self._notify, select.POLLIN)
        for fd in others:
            poll.register(fd, select.POLLIN | select.POLLRDHUP)
        ready = {fd for fd, _ in poll.poll(None if seconds is None else min(seconds, 3600) * 1000)}
        if self._notify in ready:
            try:
                os.read(self._notify, BLOCK)
            except BlockingIOError:
                pass
        return ready - {self._notify}

    def close(self) -> None:
        """Let go of the files."""
        for fd in (*self._older, self._file, self._notify):
            if fd >= 0:
                os.close(fd)

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return -1


def _is(fd: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False


def _seek_tail(fd: int, count: int) -> int:
    """Go to where the last `count` lines begin; how many there are from there on."""
    end = position = os.lseek(fd, 0, os.SEEK_END)
    found = 0
    while position > 0 and count > 0:
        start = max(0, position - BLOCK)
        data = os.pread(fd, position - start, start)
        at = len(data)
        if position == end and data.endswith(b"\n"):
            at -= 1
        while (at := data.rfind(b"\n", 0, at)) >= 0:
            found += 1
            if found == count:
                os.lseek(fd, start + at + 1, os.SEEK_SET)
                return count
        position = start
    if count <= 0:
        return 0
    os.lseek(fd, 0, os.SEEK_SET)
    return found + (1 if end else 0)
