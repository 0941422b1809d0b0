"""The body of a request as a file, however its length is told."""

from __future__ import annotations

from labcontainer import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from io import BufferedIOBase

    from labcontainer.daemon.server import Handler


class Body:
    """The body of a request as a file: so many bytes, or chunks (RFC 9112, 6.3)."""

    def __init__(self, file: BufferedIOBase, length: int) -> None:
        self._file = file
        self._left = length  # -1: in chunks
        self._chunk = 0
        self._ended = length == 0

    @classmethod
    def of(cls, handler: Handler) -> Body:
        """The body that a request's headers tell of."""
        headers = handler.headers
        if "chunked" in (headers.get("Transfer-Encoding") or "").lower():
            return cls(handler.rfile, -1)
        word = headers.get("Content-Length") or "0"
        if not word.isdigit():
            handler.close_connection = True
            word = "0"
        return cls(handler.rfile, int(word))

    def readable(self) -> bool:
        """For those who ask, as tarfile does."""
        return True

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes, all without one; b"" at the end.

        Raises:
            UsageError: the client hung up in the middle, or a chunk is off.
        """
        parts: list[bytes] = []
        while size and (part := self.read1(size)):
            parts.append(part)
            size -= len(part) if size > 0 else 0
        return b"".join(parts)

    def read1(self, size: int = -1) -> bytes:
        """What is there, at least a byte; b"" at the end."""
        if self._ended:
            return b""
        if self._left < 0:
            return self._read_chunk(size)
        part = self._some(min(self._left, 65536) if size < 0 else min(size, self._left))
        self._left -= len(part)
        self._ended = self._left == 0
        return part

    def _some(self, size: int) -> bytes:
        part = self._file.read1(size)
        if not part:
            self._ended = True
            raise errors.UsageError("unexpected EOF: the body ends too early")
        return bytes(part)

    def _read_chunk(self, size: int) -> bytes:
        if self._chunk == 0:
            line = self._file.readline(1024)
            try:
                self._chunk = int(line.partition(b";")[0].strip() or b"-", 16)
            except ValueError:
                self._ended = True
                raise errors.UsageError("malformed chunked encoding") from None
            if self._chunk == 0:
                self._ended = True
                while self._file.readline(65537).strip():  # trailers
                    pass
                return b""
        part = self._some(min(self._chunk, 65536) if size < 0 else min(size, self._chunk))
        self._chunk -= len(part)
        if self._chunk == 0:
            self._file.readline(3)
        return part

    def drain(self) -> bool:
        """Read what is left, if it is little; whether that was all."""
        try:
            for _ in range(16):
                if self._ended or not self.read1(65536):
                    return True
        except (errors.UsageError, OSError):
            return False
        return self._ended
