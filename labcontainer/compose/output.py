"""What containers say, line by line, each with its container's name before it.

web-1  | GET / 200
db-1   | ready
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import TextIO

from labcontainer.client import http
from labcontainer.client.api import ApiError, Client
from labcontainer.compose.observed import Container
from labcontainer.engine import moments

# ECMA-48: cyan, yellow, green, magenta, blue, and the same bright.
COLOURS = ("36", "33", "32", "35", "34", "36;1", "33;1", "32;1", "35;1", "34;1")


class Printer:
    """Writes whole lines of several containers, one at a time."""

    def __init__(
        self, out: TextIO, *, colour: bool = True, prefix: bool = True, clock: bool = False
    ) -> None:
        self._out, self._colour, self._prefix = out, colour, prefix
        self._clock = clock  # whether each line says when it came
        self._names: dict[str, str] = {}
        self._width = 0
        self._lock = threading.Lock()

    def know(self, names: Iterable[str]) -> None:
        """Give names their colours, and the prefix its width."""
        with self._lock:
            for name in names:
                self._names.setdefault(name, COLOURS[len(self._names) % len(COLOURS)])
                self._width = max(self._width, len(name))

    def line(self, name: str, text: str) -> None:
        """Write one line of a container."""
        self.know([name])
        with self._lock:
            when = f"{moments.now()} " if self._clock else ""
            self._out.write(f"{self._before(name)}{when}{text}\n")
            self._out.flush()

    def _before(self, name: str) -> str:
        if not self._prefix:
            return ""
        text = f"{name.ljust(self._width)}  | "
        return f"\x1b[{self._names[name]}m{text}\x1b[0m" if self._colour else text

    def tell(self, text: str) -> None:
        """Write a line of our own."""
        with self._lock:
            self._out.write(f"{text}\n")
            self._out.flush()


class Lines:
    """Pieces of output cut into lines; the streams of a container are cut one by one."""

    def __init__(self, printer: Printer, name: str) -> None:
        self._printer, self._name = printer, name
        self._rest: dict[int, bytes] = {}

    def add(self, stream: int, data: bytes) -> None:
        """One more piece."""
        *lines, rest = (self._rest.get(stream, b"") + data).split(b"\n")
        self._rest[stream] = rest
        for line in lines:
            self._printer.line(self._name, line.rstrip(b"\r").decode(errors="replace"))

    def end(self) -> None:
        """What had no line break yet."""
        for stream, rest in self._rest.items():
            if rest:
                self.add(stream, b"\n")


def follow(printer: Printer, name: str, pieces: Iterable[tuple[int, bytes]]) -> None:
    """Print all pieces until their end."""
    lines = Lines(printer, name)
    try:
        for stream, data in pieces:
            lines.add(stream, data)
    except (OSError, http.ProtocolError, ApiError):
        pass  # the connection was cut, or the container is gone
    lines.end()


def logs(
    client: Client, one: Container, *, follow: bool = False, tail: str = "all", since: str = "",
    until: str = "", timestamps: bool = False,
) -> Iterator[tuple[int, bytes]]:  # fmt: skip
    """(stream, bytes) of a container's log."""
    tty = client.get(f"/containers/{one.id}/json")["Config"]["Tty"]
    response = client.download(
        f"/containers/{one.id}/logs", stdout=True, stderr=True, follow=follow, tail=tail,
        since=moments.stamp(since), until=moments.stamp(until), timestamps=timestamps,
    )  # fmt: skip
    try:
        yield from (((1, part) for part in response) if tty else http.frames(response))
    finally:
        response.close()


def unseen(pieces: Iterable[tuple[int, bytes]], last: list[bytes]) -> Iterator[tuple[int, bytes]]:
    """Lines of a log without their timestamps, and without those that were there before.

    `last` holds the newest timestamp, and is shared by all who read one log: each line, which has
    a time of its own, is handed out once.
    """
    rests: dict[int, bytes] = {}
    for stream, data in pieces:
        *lines, rests[stream] = (rests.get(stream, b"") + data).split(b"\n")
        yield from ((stream, text + b"\n") for line in lines for text in _unseen(line, last))
    for stream, rest in rests.items():  # a last line without its break
        yield from ((stream, text) for text in _unseen(rest, last))


def _unseen(line: bytes, last: list[bytes]) -> list[bytes]:
    stamp, _, text = line.partition(b" ")
    if stamp <= last[0]:
        return []
    last[0] = stamp
    return [text]


def attached(client: Client, one: Container) -> Iterator[tuple[int, bytes]]:
    """(stream, bytes) of what a container says from now on; made before its start, all of it."""
    tty = client.get(f"/containers/{one.id}/json")["Config"]["Tty"]
    response = client.send(
        "POST", f"/containers/{one.id}/attach", {"stream": True, "stdout": True, "stderr": True}
    )

    def pieces() -> Iterator[tuple[int, bytes]]:
        try:
            yield from (((1, part) for part in response) if tty else http.frames(response))
        finally:
            response.close()

    return pieces()
