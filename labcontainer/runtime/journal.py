"""A container's log, as Docker's json-file driver writes it: a JSON object for each line.

    {"log":"hello\\n","stream":"stdout","time":"2026-01-31T12:00:00.123456789Z"}

A line that has no end yet waits for it, up to PART bytes; then it is written in parts, of which
only the last ends in a newline.
"""

from __future__ import annotations

import os

from labcontainer.runtime import jsontext, state

try:
    from _json import encode_basestring_ascii as _quote
except ImportError:
    _quote = jsontext.dumps

PART = 16384  # Docker's number


class Journal:
    """The log file of one container, or none where `path` is empty.

    With a `size` a file that has grown to it is renamed to PATH.1, that one to PATH.2, and so on;
    there are at most `count` of them.
    """

    def __init__(self, path: str, size: int = 0, count: int = 1) -> None:
        self._path, self._size, self._count = path, size, count
        self._fd = self._written = -1
        self._begin()
        self._open: dict[str, bytes] = {}
        self.lost = 0  # bytes of the log that could not be written
        self._torn = False  # the file ends in the middle of a line

    def _begin(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        if self._path:
            self._fd = os.open(self._path, flags, 0o640)
            self._written = os.fstat(self._fd).st_size

    def write(self, stream: str, data: bytes) -> None:
        """Write what `stream` has said; an unfinished line is kept for the next call."""
        if self._fd < 0:
            return
        data, time = self._open.get(stream, b"") + data, state.now()
        text, start = "", 0
        while end := next_end(data, start):
            line = entry(stream, data[start:end], time)
            start = end
            # A chunk of empty lines is a hundred times as long in the log.
            if len(text) > PART or (self._size and self._is_full(len(text) + len(line))):
                self._append(text)
                text = ""
            text += line
        self._append(text)
        self._open[stream] = data[start:]

    def close(self) -> None:
        """Write the unfinished lines too."""
        for stream, rest in self._open.items():
            if rest:
                self._append(entry(stream, rest, state.now()))
        self._open.clear()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _append(self, text: str) -> None:
        if not text:
            return
        view = memoryview(b"\n" * self._torn + text.encode())
        if self._size and self._written and self._is_full(len(view)):
            self._rotate()
        self._written += len(view)
        whole = len(view)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
            self._torn = False
        except OSError:  # a full disk must not stop the container
            self.lost += len(view)
            self._torn |= len(view) < whole

    def _is_full(self, more: int) -> bool:
        return self._written + more > self._size

    def _rotate(self) -> None:
        """Begin a new file; the oldest one goes."""
        try:
            for number in range(self._count - 1, 0, -1):
                older = f"{self._path}.{number - 1}" if number > 1 else self._path
                if os.path.exists(older):
                    os.rename(older, f"{self._path}.{number}")
            if self._count == 1:
                os.unlink(self._path)
            os.close(self._fd)
            self._begin()
        except OSError:  # the old file goes on
            self._written = 0


def warm() -> None:
    """Let the interpreter adapt this code to its work now: in a fork that would copy its pages."""
    journal = Journal(os.devnull)
    for _ in range(100):
        journal.write("stdout", b"a line\nand a beginning")
        journal.write("stderr", b"a line\n")
    journal.close()


def entry(stream: str, part: bytes, time: str) -> str:
    """One line of the log file."""
    text = _quote(part.decode(errors="replace"))
    return f'{{"log":{text},"stream":"{stream}","time":"{time}"}}\n'


def next_end(data: bytes, start: int) -> int:
    """Where the line that begins at `start` ends, or its first part; 0 where that is not known."""
    end = data.find(b"\n", start, start + PART) + 1
    if end or len(data) - start <= PART:
        return end
    end = start + PART
    if data[end] == 10:
        return end + 1
    for _ in range(3):
        if data[end] & 0xC0 != 0x80:  # no character of UTF-8 is cut in two: utf-8(7)
            break
        end -= 1
    return end
