"""One HTTP/1.1 request over one connection (RFC 9112), and the taking over of it.

The command line opens a connection a request: over a Unix socket that costs nothing, and attach,
exec and build keep theirs to the end. The standard library's client can do all this too, but costs
forty milliseconds of import, which is more than a container takes to start.
"""

from __future__ import annotations

import _socket
import struct

from labcontainer import errors
from labcontainer.client.address import Address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Protocol

    class Socket(Protocol):
        """What `_socket.socket` and `ssl.SSLSocket` have in common."""

        def recv(self, size: int, /) -> bytes: ...
        def sendall(self, data: bytes, /) -> None: ...
        def fileno(self) -> int: ...
        def close(self) -> None: ...
        def settimeout(self, seconds: float | None, /) -> None: ...


HEAD_LIMIT = 64 << 10  # bytes of a response's status line and headers
WHOLE = 256 << 20  # bytes of a body that is taken as one
DIGITS = 17  # of a length: no body is longer
CHUNK = 64 << 10
TIMEOUT = 10  # seconds to connect over TCP


class ConnectError(errors.LabError):
    """Nobody answers at the address."""


class ProtocolError(errors.LabError):
    """What answers does not speak HTTP, or stops in the middle."""


def connect(address: Address) -> Socket:
    """A connected socket.

    Raises:
        ConnectError: nobody listens there, or the user may not.
    """
    try:
        return connect_unix(address.path) if address.path else _connect_tcp(address)
    except OSError as error:
        if isinstance(error, FileNotFoundError | ConnectionRefusedError):
            why = "is the daemon running?"
        else:
            why = error.strerror or str(error)
        raise ConnectError(f"cannot connect to the daemon at {address}: {why}") from error


def connect_unix(path: str) -> Socket:
    """A socket connected to the one at a path. Raises OSError."""
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        sock.connect(path)
    except OSError:
        sock.close()
        raise
    return sock


def _connect_tcp(address: Address) -> Socket:
    import socket

    plain = socket.create_connection((address.host, address.port), TIMEOUT)
    plain.settimeout(None)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if address.tls is None:
        return plain
    import ssl

    context = ssl.create_default_context(cafile=address.tls.ca)
    context.load_cert_chain(address.tls.cert, address.tls.key)
    return context.wrap_socket(plain, server_hostname=address.host)


class Response:
    """The answer: `status`, `headers` (names in lower case), and the body as it comes."""

    def __init__(self, sock: Socket, method: str) -> None:
        self.sock = sock
        self._early = b""
        head = self._read_head()
        while head.startswith((b"HTTP/1.1 100", b"HTTP/1.0 100")):  # "Continue": not yet the answer
            head = self._read_head()
        status, *lines = head.decode("latin-1").split("\r\n")
        words = status.split(" ", 2)
        if len(words) < 2 or not words[0].startswith("HTTP/1.") or not words[1].isdecimal():
            raise ProtocolError(f"the daemon's answer is no HTTP: {status[:60]!r}")
        self.status = int(words[1])
        self.headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(":")
            self.headers[name.strip().lower()] = value.strip()
        self._chunked = "chunked" in self.headers.get("transfer-encoding", "").lower()
        self._left = self._length(method)

    def _length(self, method: str) -> int:
        """Bytes of the body that are to come; -1: until the end, or as the chunks say."""
        if method == "HEAD" or self.status in (204, 304):
            self._chunked = False
            return 0
        if self._chunked:
            return 0
        length = self.headers.get("content-length", "")
        if not length:
            return -1
        if not length.isdecimal() or len(length) >= DIGITS:
            raise ProtocolError(f"the daemon's answer has the length {length[:20]!r}")
        return int(length)

    def _read_head(self) -> bytes:
        while b"\r\n\r\n" not in self._early:
            if len(self._early) > HEAD_LIMIT:
                raise ProtocolError(f"the daemon's answer has over {HEAD_LIMIT} bytes of headers")
            data = self.sock.recv(CHUNK)
            if not data:
                raise ProtocolError("the daemon closed the connection without an answer")
            self._early += data
        head, _, self._early = self._early.partition(b"\r\n\r\n")
        return head

    def _receive(self, most: int) -> bytes:
        if self._early:
            data, self._early = self._early[:most], self._early[most:]
            return data
        return self.sock.recv(min(most, CHUNK))

    def _line(self) -> bytes:
        while b"\n" not in self._early:
            data = self.sock.recv(CHUNK)
            if not data or len(self._early) > HEAD_LIMIT:
                raise ProtocolError("the daemon's answer ended in the middle")
            self._early += data
        line, _, self._early = self._early.partition(b"\n")
        return line.strip()

    def read(self, most: int = CHUNK) -> bytes:
        """The next bytes of the body, b"" at its end.

        Raises:
            ProtocolError: it ended before its announced length.
        """
        if self._chunked and not self._left and not self._next_chunk():
            return b""
        if self._left == 0:
            return b""
        data = self._receive(most if self._left < 0 else min(most, self._left))
        if self._left > 0:
            if not data:
                raise ProtocolError("the daemon's answer ended in the middle")
            self._left -= len(data)
            if self._chunked and not self._left:
                self._line()  # the empty rest of the chunk's last line
        return data

    def _next_chunk(self) -> bool:
        size = self._line().partition(b";")[0].strip()
        if not size or len(size) >= DIGITS or size.strip(b"0123456789abcdefABCDEF"):
            raise ProtocolError(f"the daemon sent a chunk of size {size[:20]!r}")
        self._left = int(size, 16)
        if self._left == 0:
            while self._line():
                pass  # trailers
            self._chunked = False
        return self._left > 0

    def __iter__(self) -> Iterator[bytes]:
        while data := self.read():
            yield data

    def all(self) -> bytes:
        """The whole body.

        Raises:
            ProtocolError: it is larger than any answer.
        """
        parts, count = [], 0
        for data in self:
            parts.append(data)
            count += len(data)
            if count > WHOLE:
                raise ProtocolError(f"the daemon's answer has over {WHOLE} bytes")
        return b"".join(parts)

    def take_over(self) -> tuple[Socket, bytes]:
        """The connection itself, after 101, and what of its stream was already read."""
        early, self._early = self._early, b""
        return self.sock, early

    def ready(self, seconds: float) -> bool:
        """Whether within so many seconds there is something to read, or its end."""
        import select

        if self._early or getattr(self.sock, "pending", int)():  # ssl has read it already
            return True
        poll = select.poll()
        poll.register(self.sock.fileno(), select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def close(self) -> None:
        """Close the connection."""
        self.sock.close()


def send(
    sock: Socket,
    method: str,
    target: str,
    headers: dict[str, str],
    body: bytes | Iterable[bytes] = b"",
) -> Response:
    """Send one request; a body that is no bytes goes in chunks as it comes.

    A daemon may answer, and close, before it has taken the whole body: then that answer counts.
    """
    lines = [f"{method} {target} HTTP/1.1", "Host: labcontainer", *_lines(headers)]
    whole = isinstance(body, bytes)
    if not whole:
        lines.append("Transfer-Encoding: chunked")
    elif body or method in ("POST", "PUT"):
        lines.append(f"Content-Length: {len(body)}")  # type: ignore[arg-type]
    if any("\r" in line or "\n" in line for line in lines):
        raise errors.UsageError(f"a line break in a request: {target!r}")
    head = "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape")
    try:
        if isinstance(body, bytes):
            sock.sendall(head + body)
        else:
            sock.sendall(head)
            for data in body:
                if data:
                    sock.sendall(b"%x\r\n%b\r\n" % (len(data), data))
            sock.sendall(b"0\r\n\r\n")
    except (BrokenPipeError, ConnectionResetError):
        pass
    try:
        return Response(sock, method)
    except ConnectionResetError:
        raise ProtocolError("the daemon closed the connection without an answer") from None


def _lines(headers: dict[str, str]) -> list[str]:
    return [f"{name}: {value}" for name, value in headers.items()]


def frames(read: Response) -> Iterator[tuple[int, bytes]]:
    """(stream, bytes) of each frame of a container's output without a terminal.

    A frame is one byte for the stream (1 stdout, 2 stderr), three of zero, four with the length
    (big endian), and so many bytes: Docker Engine API, ContainerAttach.

    Raises:
        ProtocolError: it ends within a frame.
    """
    waiting = b""
    while data := read.read():
        waiting += data
        while len(waiting) >= 8:
            stream, length = struct.unpack_from(">BxxxL", waiting)
            if len(waiting) < 8 + length:
                break
            yield stream, waiting[8 : 8 + length]
            waiting = waiting[8 + length :]
    if waiting:
        raise ProtocolError("the container's output ends within a frame")
