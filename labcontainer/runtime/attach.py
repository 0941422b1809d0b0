"""Everybody who watches a container, or types into it, over its Unix socket.

Without a terminal what the container says comes in Docker's frames: one byte for the stream
(1 stdout, 2 stderr), three of zero, four with the length (big endian), then so many bytes. With a
terminal there is one stream, and it comes as it is. What a client sends is the container's input.
"""

from __future__ import annotations

import os
import struct

from labcontainer.kernel import sockets
from labcontainer.runtime.loop import IN, OUT, Loop

BACKLOG = 256 << 10  # bytes that a client may be behind: then the container waits for it
_NUMBERS = {"stdout": 1, "stderr": 2}


class Attach:
    """The listening socket and its clients. `stdin` gets what they send, unless it is -1."""

    def __init__(self, loop: Loop, path: str, *, framed: bool, once: bool) -> None:
        self._loop = loop
        self._framed = framed
        self._once = once
        self.stdin = -1
        self._typed = b""
        self._input_ends = False
        self._silent: set[int] = set()  # clients that send no more
        self._waiting: dict[int, bytes] = {}  # client: what it has not taken yet
        self.full: set[int] = set()  # clients that are too far behind
        self._listener = sockets.listen(path)
        os.set_blocking(self._listener, False)
        loop.watch(self._listener, self._accept)

    def say(self, stream: str, data: bytes) -> None:
        """Send a piece of output to every client."""
        if self._waiting:
            head = struct.pack(">BxxxL", _NUMBERS[stream], len(data)) if self._framed else b""
            for client in list(self._waiting):
                self._send(client, head + data)

    def drop_full(self) -> None:
        """Give up those who are too far behind."""
        for client in list(self.full):
            self._drop(client)

    def drained(self) -> bool:
        """Whether every client has all that was said."""
        return not any(self._waiting.values())

    def close(self) -> None:
        """Let every client see the end."""
        for client in list(self._waiting):
            self._drop(client)
        for fd in (self._listener, self.stdin):
            if fd >= 0:
                self._loop.forget(fd)
                os.close(fd)
        self._listener = self.stdin = -1

    def close_input(self) -> None:
        """The container's input ends, when all that was typed is written."""
        self._input_ends = True
        if not self._typed and self.stdin >= 0:
            self._loop.forget(self.stdin)
            os.close(self.stdin)
            self.stdin = -1

    def _accept(self, _events: int) -> None:
        try:
            client = sockets.accept(self._listener)
        except BlockingIOError:
            return
        os.set_blocking(client, False)
        self._waiting[client] = b""
        self._listen_to(client)

    def _listen_to(self, client: int) -> None:
        """Wait for input unless some is still unwritten, and for room while output waits."""
        events = OUT if self._waiting[client] else 0
        if not self._typed and client not in self._silent:
            events |= IN
        self._loop.watch(client, lambda found: self._serve(client, found), events)

    def _serve(self, client: int, events: int) -> None:
        if events & OUT and client in self._waiting:
            self._send(client, b"")
        if events & ~OUT and client in self._waiting:
            if client in self._silent:  # POLLHUP: both directions are closed
                self._drop(client)
            else:
                self._take(client)

    def _send(self, client: int, data: bytes) -> None:
        data = self._waiting[client] + data
        try:
            data = data[os.write(client, data) :]
        except BlockingIOError:
            pass
        except OSError:  # the client is gone
            self._drop(client)
            return
        if len(data) > BACKLOG:
            self.full.add(client)
        elif len(data) < BACKLOG // 2:
            self.full.discard(client)
        changed = bool(data) != bool(self._waiting[client])
        self._waiting[client] = data
        if changed:
            self._listen_to(client)

    def _take(self, client: int) -> None:
        try:
            data = os.read(client, 16384)
        except BlockingIOError:
            return
        except OSError:
            self._drop(client)
            return
        if data:
            self._type(data)
            return
        if self._once:
            self.close_input()
        self._silent.add(client)  # half closed: it may still want to read
        self._listen_to(client)

    def _type(self, data: bytes) -> None:
        if self.stdin < 0:
            return
        self._typed += data
        self._write_input(OUT)

    def _write_input(self, _events: int) -> None:
        try:
            self._typed = self._typed[os.write(self.stdin, self._typed) :]
        except BlockingIOError:
            pass
        except OSError:  # the container has closed its input
            self._typed = b""
        if self._typed:
            self._loop.watch(self.stdin, self._write_input, OUT)
        else:
            self._loop.forget(self.stdin)
            if self._input_ends:
                self.close_input()
        for client in self._waiting:
            self._listen_to(client)

    def _drop(self, client: int) -> None:
        self._loop.forget(client)
        del self._waiting[client]
        self._silent.discard(client)
        self.full.discard(client)
        os.close(client)
