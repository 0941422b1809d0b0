"""gzip, zstd and plain streams: told apart by their first bytes, read to their very end.

File objects only: a bare decompressor stops in silence after the first member of a gzip file or the
first frame of a zstd one, and does not mind a file that was cut off.
"""

from __future__ import annotations

import io
import zlib

from labcontainer import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import IO, Any, Protocol, Self

    class Readable(Protocol):
        """What can be read."""

        def read(self, size: int = -1, /) -> bytes: ...

    class Writable(Protocol):
        """What can be written to."""

        def write(self, data: bytes, /) -> object: ...


GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
# No layer is ever packed so, but what users send may be: read where that is asked for.
FOREIGN = {b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz"}
# Known, and not for us: said by name instead of "no tar archive".
OTHERS = {**FOREIGN, b"\x04\x22\x4d\x18": "lz4", b"PK\x03\x04": "zip"}
KINDS = ("none", "gzip", "zstd")
LEVELS = {"gzip": 6, "zstd": 3}
CHUNK = 1 << 20
# A bomb: zeros packed by gzip are a thousandth, by zstd less than that; real images a half to a
# tenth. What unpacks to less than SMALL is no danger, and may be a disk image full of zeros.
RATIO, SMALL = 250, 2 << 30


def kind_of(first: bytes) -> str:
    """Which compression begins with these bytes (six are enough): one of KINDS.

    Raises:
        LabError: one that is not read here.
    """
    if first.startswith(GZIP):
        return "gzip"
    if first.startswith(ZSTD):
        return "zstd"
    for magic, name in OTHERS.items():
        if first.startswith(magic):
            raise errors.LabError(f"the archive is compressed by {name}: gzip and zstd are read")
    return "none"


class Reader:
    """The bytes of a stream, unpacked if they were packed. `kind` says how they were.

    More than `small` bytes may not be more than `ratio` times what was read of the stream.
    `foreign` streams may be packed by bzip2 and xz, too.
    """

    def __init__(
        self, file: Readable, *, ratio: int = RATIO, small: int = SMALL, foreign: bool = False
    ) -> None:
        self._source = _Counted(file)
        self._ratio, self._small = ratio, small
        self._count = 0
        first = self._source.look(6)
        self.kind = (foreign and _foreign_kind(first)) or kind_of(first)
        self._file: Readable = self._source
        if self.kind == "gzip":
            self._file = _gzip_reader(self._source)
        elif self.kind == "zstd":
            self._file = _zstd_reader(self._source)
        elif self.kind in FOREIGN.values():
            self._file = _foreign_reader(self.kind, self._source)

    def read(self, size: int = CHUNK) -> bytes:
        """The next bytes, b"" at the end.

        Raises:
            LabError: it is torn, no such stream, or a bomb.
        """
        data = self._read(size)
        self._count += len(data)
        if self._count > self._small and self._count > self._source.count * self._ratio:
            raise errors.LabError(f"the {self.kind} stream unpacks to over {self._ratio} times its "
                                  "size: it is taken for a bomb")  # fmt: skip
        return data

    def _read(self, size: int) -> bytes:
        try:
            return self._file.read(size)
        except (EOFError, zlib.error) as error:
            raise errors.LabError(f"the {self.kind} stream is torn: {error}") from None
        except errors.LabError:
            raise
        except OSError as error:
            if error.errno is not None:
                raise
            raise errors.LabError(f"the {self.kind} stream is torn: {error}") from None
        except Exception as error:
            if type(error).__name__ not in ("ZstdError", "IsalError", "LZMAError"):
                raise
            raise errors.LabError(f"the {self.kind} stream is torn: {error}") from None


def _foreign_kind(first: bytes) -> str:
    """The kind of FOREIGN that begins with these bytes, "" for none."""
    return next((name for magic, name in FOREIGN.items() if first.startswith(magic)), "")


class _Counted(io.RawIOBase):
    """A stream whose first bytes can be looked at, and whose bytes are counted."""

    def __init__(self, file: Readable) -> None:
        self._inner = file
        self._early = b""
        self.count = 0

    def look(self, size: int) -> bytes:
        while len(self._early) < size and (data := self._inner.read(size - len(self._early))):
            self._early += data
        return self._early

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        if size < 0:
            return b"".join(iter(lambda: self.read(CHUNK), b""))
        if self._early:
            data, self._early = self._early[:size], self._early[size:]
        else:
            data = self._inner.read(size)
        self.count += len(data)
        return data

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)


def _foreign_reader(kind: str, file: _Counted) -> Readable:
    from typing import cast

    stream = cast("IO[bytes]", file)
    if kind == "xz":
        import lzma

        return lzma.LZMAFile(stream)
    import bz2

    return bz2.BZ2File(stream)


def _gzip_reader(file: IO[bytes] | _Counted) -> Readable:
    try:
        from isal import igzip
    except ImportError:
        import gzip

        return gzip.GzipFile(fileobj=file, mode="rb")
    return igzip.IGzipFile(fileobj=file, mode="rb")  # type: ignore[no-untyped-call]


def _zstd_reader(file: IO[bytes] | _Counted) -> Readable:
    found: Readable = zstd().ZstdFile(file, "rb")
    return found


def zstd() -> Any:
    """The module of the standard library from 3.14 on, or its backport."""
    try:
        from compression import zstd as module  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        from backports import zstd as module  # type: ignore[no-redef,unused-ignore]
    return module


class Writer:
    """Packs what is written into `file`; to be closed. The same bytes give the same result."""

    def __init__(self, file: Writable, kind: str = "gzip", level: int | None = None) -> None:
        if kind not in KINDS:
            raise errors.UsageError(f"unknown compression {kind!r}: {', '.join(KINDS)}")
        self._inner: Any = None
        self._file: Writable = file
        if kind == "gzip":
            self._file = self._inner = _gzip_writer(file, level)
        elif kind == "zstd":
            self._file = self._inner = zstd().ZstdFile(
                file, "wb", level=LEVELS["zstd"] if level is None else level
            )

    def write(self, data: bytes) -> int:
        """Pack some bytes."""
        self._file.write(data)
        return len(data)

    def close(self) -> None:
        """Write the end of the stream; `file` stays open."""
        if self._inner is not None:
            self._inner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _gzip_writer(file: Writable, level: int | None) -> Writable:
    """Without name and time in the header: the same content is the same file."""
    try:
        from isal import igzip
    except ImportError:
        import gzip

        chosen = LEVELS["gzip"] if level is None else level
        own: Any = file
        return gzip.GzipFile("", "wb", chosen, own, 0)
    # isal's levels are 0 to 3, and 2 is about gzip's 3 at four times the speed.
    chosen = 2 if level is None else min(level, 3)
    return igzip.IGzipFile("", "wb", chosen, file, 0)  # type: ignore[no-untyped-call]
