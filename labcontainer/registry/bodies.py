"""The body of a request, piece by piece: so many bytes, or chunks (RFC 9112, 6.3 and 7.1)."""

from __future__ import annotations

from labcontainer.registry.repositories import RefusedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import Message
    from io import BufferedIOBase

CHUNK = 1 << 20
_DIGITS = 17  # of a length: none of ours is longer
_HEXADECIMAL = b"0123456789abcdefABCDEF"
_TRAILERS = 100  # lines


class Body:
    """What is still to be read of a request. `left` is in bytes, -1 for a chunked one; `taken` are
    the bytes that were read."""

    def __init__(self, file: BufferedIOBase, left: int = 0) -> None:
        self._file = file
        self.left = left
        self.taken = 0

    @classmethod
    def of(cls, file: BufferedIOBase, headers: Message) -> Body:
        """The body that the headers tell of.

        Raises:
            RefusedError: of two, or of none that we know: what one takes for a body would be
                another's next request.
        """
        codings = headers.get_all("Transfer-Encoding") or []
        lengths = set(headers.get_all("Content-Length") or [])
        if codings and (lengths or [word.strip().lower() for word in codings] != ["chunked"]):
            raise RefusedError("SIZE_INVALID", "the length of the body is not clear", 400)
        if codings:
            return cls(file, -1)
        word = lengths.pop().strip() if lengths else "0"
        if lengths or not (word.isascii() and word.isdecimal() and len(word) < _DIGITS):
            raise RefusedError("SIZE_INVALID", "the length of the body is not clear", 400)
        return cls(file, int(word))

    @property
    def is_long(self) -> bool:
        """Whether there is more than one reads to throw it away."""
        return self.left < 0 or self.left > CHUNK

    def __iter__(self) -> Iterator[bytes]:
        """Its pieces.

        Raises:
            ConnectionResetError: it ended early.
            RefusedError: a chunk that is none.
        """
        if self.left < 0:
            yield from self._chunks()
        while self.left > 0:
            data = self._some(self.left)
            self.left -= len(data)
            yield data

    def pass_over(self) -> None:
        """Read what is left, which is not much."""
        for _ in self:
            pass

    def _some(self, most: int) -> bytes:
        data = self._file.read(min(CHUNK, most))
        if not data:
            raise ConnectionResetError("the body ended early")
        self.taken += len(data)
        return data

    def _chunks(self) -> Iterator[bytes]:
        while left := self._size():
            while left:
                data = self._some(left)
                left -= len(data)
                yield data
            if self._file.readline(3).strip(b"\r\n"):
                raise RefusedError("SIZE_INVALID", "a chunk is longer than its size", 400)
        for _ in range(_TRAILERS):
            if not self._file.readline(1024).strip():
                self.left = 0
                return
        raise RefusedError("SIZE_INVALID", "too many trailers", 400)

    def _size(self) -> int:
        word = self._file.readline(1024).partition(b";")[0].strip()
        if not word or len(word) >= _DIGITS or word.strip(_HEXADECIMAL):
            raise RefusedError("SIZE_INVALID", "a chunk without a size", 400)
        return int(word, 16)
