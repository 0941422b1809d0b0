"""A container's log, as Docker's json-file driver writes it: a JSON object for each line.

    {"log":"hello\\n","stream":"stdout","time":"2026-01-31T12:00:00.123456789Z"}

A line that has no end yet waits for it, up to PART bytes; then it is written in parts, of which
only the last ends in a newline.
"""

from __future__ import annotations

import os

from labcontainer.runtime import jsontext, state

PART = 16384  # Docker's number


class Journal:
    """The log file of one container, or none where `path` is empty."""

    def __init__(self, path: str) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._fd = os.open(path, flags, 0o640) if path else -1
        self._open: dict[str, bytes] = {}
        self.lost = 0  # bytes of the log that could not be written

    def write(self, stream: str, data: bytes) -> None:
        """Write what `stream` has said; an unfinished line is kept for the next call."""
        if self._fd >= 0:
            parts, rest = cut(self._open.get(stream, b"") + data)
            self._open[stream] = rest
            self._append(stream, parts)

    def close(self) -> None:
        """Write the unfinished lines too."""
        for stream, rest in self._open.items():
            if rest:
                self._append(stream, [rest])
        self._open.clear()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _append(self, stream: str, parts: list[bytes]) -> None:
        if not parts:
            return
        time = state.now()
        text = "".join(entry(stream, part, time) for part in parts)
        view = memoryview(text.encode())
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError:  # a full disk must not stop the container
            self.lost += len(view)


def entry(stream: str, part: bytes, time: str) -> str:
    """One line of the log file."""
    fields = {"log": part.decode(errors="replace"), "stream": stream, "time": time}
    return jsontext.dumps(fields) + "\n"


def cut(data: bytes) -> tuple[list[bytes], bytes]:
    """Whole lines, long ones in parts of at most PART bytes; and what is unfinished."""
    lines = data.split(b"\n")
    rest = lines.pop()
    parts: list[bytes] = []
    for line in lines:
        *begun, last = _split(line)
        parts += [*begun, last + b"\n"]
    *begun, rest = _split(rest)
    return parts + begun, rest


def _split(line: bytes) -> list[bytes]:
    """A line in parts of at most PART bytes; no character of UTF-8 is cut in two."""
    parts = []
    while len(line) > PART:
        end = PART
        while end > PART - 4 and line[end] & 0xC0 == 0x80:  # inside of a character: utf-8(7)
            end -= 1
        parts.append(line[:end])
        line = line[end:]
    return [*parts, line]
