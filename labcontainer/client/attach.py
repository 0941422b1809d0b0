"""A container's streams at the caller's terminal or pipes, over a connection taken over.

    caller's stdin ──> connection ──> container
    caller's stdout <─┐
    caller's stderr <─┴ frames (or one stream, with a terminal) <── container

With a terminal the caller's is put into raw mode and its size is told whenever it changes. The keys
that detach are looked for here too: so it is known that the end of the stream is not that of the
container.
"""

from __future__ import annotations

import os
import select
import struct

from labcontainer.client import http
from labcontainer.engine import streams
from labcontainer.engine.detaching import Keys, detach_keys
from labcontainer.kernel import terminal
from labcontainer.kernel.signals import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Session:
    """One attached container. `resize(rows, columns)` tells the daemon of the window.

    `detached` tells afterwards whether the user let go of it by `keys`.
    """

    def __init__(
        self,
        sock: Any,
        early: bytes,
        *,
        tty: bool,
        stdin: bool,
        resize: Callable[[int, int], None] | None = None,
        on_signal: Callable[[int], None] | None = None,
        keys: str | None = None,
    ) -> None:
        self._sock, self._tty = sock, tty
        self._keys = Keys(detach_keys(keys or "")) if tty and stdin else None
        self.detached = False
        self._stdin = stdin
        self._resize, self._on_signal = resize, on_signal
        self._waiting = b""  # a frame that is not whole yet
        self._take(early)

    def run(self, signals: streams.Signals) -> None:
        """Copy both ways until the container's side ends."""
        with streams.Raw(0 if self._tty and self._stdin else -1):
            if self._tty:
                self.tell_size()
            while self._turn(signals):
                pass

    def tell_size(self) -> None:
        """Tell the daemon how large the caller's window is."""
        if self._resize is not None and os.isatty(1):
            self._resize(*terminal.get_size(1))

    def _turn(self, signals: streams.Signals) -> bool:
        """One round of waiting; False when the connection has ended."""
        poll = select.poll()
        poll.register(self._sock.fileno(), select.POLLIN)
        poll.register(signals.fd, select.POLLIN)
        if self._stdin:
            poll.register(0, select.POLLIN)
        ready = {fd for fd, _ in poll.poll(None)}
        if signals.fd in ready:
            for number in signals.take():
                self._signal(number)
        if self._stdin and 0 in ready:
            self._send(os.read(0, http.CHUNK))
            if self.detached:
                return False
        return self._sock.fileno() not in ready or self._receive()

    def _signal(self, number: int) -> None:
        if number == signal.SIGWINCH:
            self.tell_size()
        elif self._on_signal is not None:
            self._on_signal(number)

    def _send(self, data: bytes) -> None:
        try:
            if data:
                # The daemon gets the keys too, and lets go; what was typed after them it does not.
                self._sock.sendall(data)
                if self._keys is not None:
                    self._keys.take(data)
                    self.detached = self._keys.found
            else:
                self._stdin = False
                close_write(self._sock)
        except (BrokenPipeError, ConnectionResetError):
            self._stdin = False  # the container has closed its input; its output may go on

    def _receive(self) -> bool:
        try:
            data = self._sock.recv(http.CHUNK)
            while pending := getattr(self._sock, "pending", int)():  # TLS: what poll can't see
                data += self._sock.recv(pending)
        except OSError as error:
            if isinstance(error, ConnectionResetError) or _is_end_of_tls(error):
                return False
            raise
        self._take(data)
        return bool(data)

    def _take(self, data: bytes) -> None:
        if self._tty:
            write(1, data)
            return
        self._waiting += data
        while len(self._waiting) >= 8:
            stream, length = struct.unpack_from(">BxxxL", self._waiting)
            if len(self._waiting) < 8 + length:
                return
            write(2 if stream == 2 else 1, self._waiting[8 : 8 + length])
            self._waiting = self._waiting[8 + length :]


def _is_end_of_tls(error: OSError) -> bool:
    """Whether the other side has ended TLS as it should: an error to who ended his half first."""
    import ssl

    return isinstance(error, ssl.SSLZeroReturnError)


def write(fd: int, data: bytes) -> None:
    """All of it, to a descriptor that may take less at once."""
    while data:
        data = data[os.write(fd, data) :]


def close_write(sock: Any) -> None:
    """End our half of a connection; the other half goes on.

    TLS says it with close_notify (RFC 8446, 6.1). `unwrap` would wait for the other side's, which
    comes last of all: without blocking it only sends ours.
    """
    if hasattr(sock, "unwrap"):
        import ssl

        sock.setblocking(False)
        try:
            sock.unwrap()
        except ssl.SSLWantReadError:
            pass
        finally:
            sock.setblocking(True)
        return
    import _socket

    sock.shutdown(_socket.SHUT_WR)
