"""Bytes between a client's connection and a container's monitor, both ways, until one side ends.

    client ── typed ──> [detach keys] ──> monitor      ends its half when the client does
    client <── backlog <── [frames] <──── monitor      ends when the container does

The monitor is always read, so that a client who is slow holds up nobody: what it has not taken yet
waits in memory, and beyond that in a file without a name.
"""

from __future__ import annotations

import os
import select
import socket
import ssl
import tempfile
import time

from labcontainer.engine.detaching import Keys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO

CHUNK = 65536
IN_MEMORY = 1 << 20  # bytes
MOST = 1 << 30  # bytes that a client may be behind; then the container waits for it
LINGER = 10  # seconds that a client may take to end its side when ours has ended
_NUMBERS = {1: "stdout", 2: "stderr"}


class Backlog:
    """A queue of bytes, in memory at first, then in a file."""

    def __init__(self) -> None:
        self._memory = bytearray()
        self._file: IO[bytes] | None = None
        self._start = self._end = 0  # in the file

    def __len__(self) -> int:
        return len(self._memory) + self._end - self._start

    def put(self, data: bytes) -> None:
        """Add at the end."""
        if self._file is None and len(self._memory) + len(data) <= IN_MEMORY:
            self._memory += data
            return
        if self._file is None:
            self._file = tempfile.TemporaryFile(buffering=0)
        self._file.seek(self._end)
        self._end += len(data)
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) or 0 :]

    def first(self) -> bytes:
        """The next bytes, which stay until they are taken."""
        if not self._memory and self._file is not None:
            self._file.seek(self._start)
            self._memory += self._file.read(min(CHUNK, self._end - self._start))
            self._start += len(self._memory)
            if self._start == self._end:
                self._file.close()
                self._file, self._start, self._end = None, 0, 0
        return bytes(self._memory[:CHUNK])

    def take(self, count: int) -> None:
        """Take so many of them away."""
        del self._memory[:count]

    def close(self) -> None:
        """Forget what is left."""
        if self._file is not None:
            self._file.close()


class Frames:
    """Lets through the frames of the streams that a client wants."""

    def __init__(self, wanted: set[str]) -> None:
        self._wanted = wanted
        self._waiting = b""

    def take(self, data: bytes) -> bytes:
        """The wanted ones of the frames that are whole now."""
        if len(self._wanted) == 2 and not self._waiting:
            return data
        self._waiting += data
        passed = b""
        while len(self._waiting) >= 8:
            end = 8 + int.from_bytes(self._waiting[4:8], "big")
            if len(self._waiting) < end:
                break
            if _NUMBERS.get(self._waiting[0]) in self._wanted:
                passed += self._waiting[:end]
            self._waiting = self._waiting[end:]
        return passed


class Pump:
    """One attached client.

    Args:
        client: its connection, taken over; `early` are bytes that it has sent already.
        monitor: a descriptor of the monitor's attach socket.
        typing: whether what the client sends goes to the container.
        keys: those that detach, None for none.
        frames: what lets output through; None where it comes as it is (a terminal).
    """

    def __init__(
        self, client: socket.socket, early: bytes, monitor: int, *, typing: bool,
        keys: Keys | None = None, frames: Frames | None = None,
    ) -> None:  # fmt: skip
        self._client, self._monitor = client, monitor
        self._typing, self._keys, self._frames = typing, keys, frames
        self._typed = b""
        self._backlog = Backlog()
        self._client_ends = self._monitor_ends = False
        self._early = early

    def run(self) -> bool:
        """Until the container's side ends, or the client goes; whether it has detached by keys."""
        self._client.setblocking(False)
        os.set_blocking(self._monitor, False)
        try:
            self._type(self._early)
            while not self._is_over():
                self._turn()
        except (ConnectionError, ssl.SSLError):
            pass  # the client is gone
        finally:
            self._backlog.close()
        return self._keys is not None and self._keys.found

    def _is_over(self) -> bool:
        detached = self._keys is not None and self._keys.found
        return detached or (self._monitor_ends and not self._backlog)

    def _turn(self) -> None:
        poll = select.poll()
        client, monitor = self._client.fileno(), self._monitor
        poll.register(client, self._client_events())
        if not self._monitor_ends:
            events = select.POLLIN if len(self._backlog) < MOST else 0
            poll.register(monitor, events | (select.POLLOUT if self._typed else 0))
        pending = self._pending()
        ready = dict(poll.poll(0 if pending else None))
        if ready.get(monitor, 0) & select.POLLOUT:
            self._type(b"")
        if ready.get(monitor, 0) & ~select.POLLOUT:
            self._hear()
        if ready.get(client, 0) & select.POLLOUT:
            self._tell()
        if ready.get(client, 0) & ~select.POLLOUT or pending:
            self._listen(ready.get(client, 0))

    def _client_events(self) -> int:
        events = select.POLLOUT if self._backlog else 0
        if not self._client_ends and not self._typed:
            events |= select.POLLIN
        return events

    def _pending(self) -> bool:
        """What TLS has decrypted already, poll(2) can't see."""
        return isinstance(self._client, ssl.SSLSocket) and self._client.pending() > 0

    def _listen(self, events: int) -> None:
        """Take what the client sends; the end of it is the end of typing only."""
        if self._client_ends:
            if events & (select.POLLHUP | select.POLLERR):
                raise ConnectionResetError("the client is gone")
            return
        try:
            data = self._client.recv(CHUNK)
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        except ssl.SSLZeroReturnError:
            data = b""
        if data:
            self._type(data)
            return
        self._client_ends = True
        if self._typing and not self._monitor_ends:
            self._end_typing()

    def _end_typing(self) -> None:
        sock = socket.socket(fileno=os.dup(self._monitor))
        try:
            sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it has just ended
        finally:
            sock.close()

    def _type(self, data: bytes) -> None:
        if not self._typing or self._monitor_ends:
            return
        self._typed += self._keys.take(data) if self._keys is not None else data
        try:
            if self._typed:
                self._typed = self._typed[os.write(self._monitor, self._typed) :]
        except BlockingIOError:
            pass
        except OSError:  # it reads no more
            self._typed = b""

    def _hear(self) -> None:
        try:
            data = os.read(self._monitor, CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._monitor_ends = True
            return
        self._backlog.put(self._frames.take(data) if self._frames is not None else data)
        self._tell()

    def _tell(self) -> None:
        try:
            while data := self._backlog.first():
                self._backlog.take(self._client.send(data))
        except (BlockingIOError, ssl.SSLWantWriteError):
            pass


def finish(client: socket.socket) -> None:
    """End a connection that was taken over, when the other side has all that was sent.

    What it still sends is read: a socket closed with bytes unread resets the connection (unix(7)
    too), and then `docker run -i` of a program that reads nothing would fail instead of ending.
    """
    try:
        client.setblocking(True)
        if isinstance(client, ssl.SSLSocket):
            client.settimeout(2)
            client.unwrap()
    except (OSError, ValueError):
        pass  # it is gone already, or sends on
    try:
        client.shutdown(socket.SHUT_WR)
        _read_on(client.fileno())
    except (OSError, ValueError):
        pass  # it is gone already


def _read_on(client: int) -> None:
    ends = time.monotonic() + LINGER
    poll = select.poll()
    poll.register(client, select.POLLIN)
    while (left := ends - time.monotonic()) > 0 and poll.poll(left * 1000):
        if not os.read(client, CHUNK):
            return
