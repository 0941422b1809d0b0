"""The body of a request as a file, however its length is told."""

from __future__ import annotations

from labcontainer import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from io import BufferedIOBase
    from typing import NoReturn

    from labcontainer.daemon.server import Handler

_DIGITS = 17  # of a length: none of ours is longer
_HEXADECIMAL = b"0123456789abcdefABCDEF"
_TRAILERS = 100  # lines


class Body:
    """The body of a request as a file: so many bytes, or chunks (RFC 9112, 6.3)."""

    def __init__(self, file: BufferedIOBase, length: int) -> None:
        self._file = file
        self._left = length  # -1: in chunks
        self._chunk = 0
        self._ended = length == 0
        self._broken = False  # nobody knows where the next request would begin

    @classmethod
    def of(cls, handler: Handler) -> Body:
        """The body that a request's headers tell of.

        Raises:
            UsageError: they tell of two, or of none that we know: what one of us takes for a body
                would be the next request of another (RFC 9112, 6.3).
        """
        codings = handler.headers.get_all("Transfer-Encoding") or []
        lengths = set(handler.headers.get_all("Content-Length") or [])
        if codings and (lengths or [word.strip().lower() for word in codings] != ["chunked"]):
            raise errors.UsageError("the length of the body is not clear: bad Transfer-Encoding")
        if codings:
            return cls(handler.rfile, -1)
        if len(lengths) > 1:
            raise errors.UsageError("the length of the body is not clear: two of Content-Length")
        word = lengths.pop().strip() if lengths else "0"
        if not (word.isascii() and word.isdecimal() and len(word) < _DIGITS):
            raise errors.UsageError("bad Content-Length")
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
            self._ended = self._broken = True
            raise errors.UsageError("unexpected EOF: the body ends too early")
        return bytes(part)

    def _read_chunk(self, size: int) -> bytes:
        if self._chunk == 0:
            size_word = self._file.readline(1024).partition(b";")[0].strip()
            if not size_word or len(size_word) >= _DIGITS or size_word.strip(_HEXADECIMAL):
                self._malformed()
            self._chunk = int(size_word, 16)
            if self._chunk == 0:
                self._ended = True
                self._pass_trailers()
                return b""
        part = self._some(min(self._chunk, 65536) if size < 0 else min(size, self._chunk))
        self._chunk -= len(part)
        if self._chunk == 0 and self._file.readline(3).strip(b"\r\n"):
            self._malformed()
        return part

    def _pass_trailers(self) -> None:
        for _ in range(_TRAILERS):
            if not self._file.readline(65537).strip():
                return
        self._malformed()

    def _malformed(self) -> NoReturn:
        self._ended = self._broken = True
        raise errors.UsageError("malformed chunked encoding")

    def drain(self) -> bool:
        """Read what is left, if it is little; whether that was all, and it was sound."""
        if self._broken:
            return False
        try:
            for _ in range(16):
                if self._ended or not self.read1(65536):
                    return True
        except (errors.UsageError, OSError):
            return False
        return self._ended
