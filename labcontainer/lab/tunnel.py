"""TCP connections through one line of bytes: what both ends of it share.

    Jupyter ── connects to a port ── host end ══ one line ══ guest end ── the kernel's port
       OPEN n port  ─▶      DATA n bytes ◀─▶      CLOSE n ◀─▶      ◀─ UP (the kernel listens)

A Jupyter kernel has five ports; connections come and go on each. Neither end knows what the bytes
say. The messages are framed as those of the guest's agent are (vm/frames.py).
"""

from __future__ import annotations

import os
import selectors
import socket
from collections.abc import Callable, Iterator
from typing import Protocol

from labcontainer.vm import frames

UP, OPEN, DATA, CLOSE = b"UODC"
CHUNK = 32768
PORTS = ("shell_port", "iopub_port", "stdin_port", "control_port", "hb_port")


class Watching(Protocol):
    """Whoever waits: the loop of the guest on the host, a Watcher in the guest."""

    def watch(self, descriptor: int, readable: Callable[[], object]) -> None:
        """Call `readable` when there is something."""

    def unwatch(self, descriptor: int) -> None:
        """Take no more notice of a descriptor."""


class End:
    """The connections of one end, by number; `send` puts a message on the line."""

    def __init__(self, watch: Watching, send: Callable[[bytes], object]) -> None:
        self._watch = watch
        self._send = send
        self._reader = frames.Reader()
        self._open: dict[int, socket.socket] = {}

    def add(self, number: int, connection: socket.socket) -> None:
        """Pass on what comes on a connection."""
        self._open[number] = connection
        self._watch.watch(connection.fileno(), lambda: self._pass_on(number))

    def tell(self, kind: int, number: int = 0, data: bytes = b"") -> None:
        """Put a message on the line."""
        self._send(frames.pack(kind, number, data))

    def _pass_on(self, number: int) -> None:
        if number not in self._open:
            return  # closed by what came in the same turn
        try:
            data = self._open[number].recv(CHUNK)
        except OSError:
            data = b""
        if data:
            self.tell(DATA, number, data)
        else:
            self.close(number)
            self.tell(CLOSE, number)

    def close(self, number: int) -> None:
        """Close a connection, if it is still open."""
        connection = self._open.pop(number, None)
        if connection is not None:
            self._watch.unwatch(connection.fileno())
            connection.close()

    def take(self, data: bytes) -> Iterator[tuple[int, int, bytes]]:
        """Bytes of the line: what is for a connection goes there, the other messages are told.

        One after the other: what comes for a connection may follow its OPEN in the same bytes.
        """
        for kind, number, body in self._reader.feed(data):
            if kind == DATA:
                self._deliver(number, body)
            elif kind == CLOSE:
                self.close(number)
            else:
                yield kind, number, body

    def _deliver(self, number: int, body: bytes) -> None:
        try:
            if number in self._open:
                self._open[number].sendall(body)
        except OSError:
            self.close(number)
            self.tell(CLOSE, number)


class Watcher:
    """Calls a function when a descriptor can be read."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    def watch(self, descriptor: int, readable: Callable[[], object]) -> None:
        """Call `readable` in `turn` when there is something."""
        self._selector.register(descriptor, selectors.EVENT_READ, readable)

    def unwatch(self, descriptor: int) -> None:
        """Take no more notice of a descriptor."""
        self._selector.unregister(descriptor)

    def turn(self, seconds: float | None) -> None:
        """Wait so long at most, and call what is to be called."""
        for key, _ in self._selector.select(seconds):
            if key.fd in self._selector.get_map():  # an earlier one may have closed it
                key.data()


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of it, blocking."""
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]
