"""Tar archives, byte by byte: headers of 512 bytes, and what follows them.

    header │ content, filled up to 512 │ header │ … │ two blocks of zeros

Read are ustar, PAX (long names, large numbers, extended attributes, sparse files 0.0, 0.1, 1.0) and
GNU's own (long names, base 256, old sparse files). What is written is in tarheader. Source: pax(1),
"ustar Interchange Format"; GNU tar, "Basic Tar Format".
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field

from labcontainer import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Protocol

    class Readable(Protocol):
        """What can be read."""

        def read(self, size: int = -1, /) -> bytes: ...


BLOCK = 512
CHUNK = 1 << 20
ZEROS = bytes(BLOCK)
LARGEST_HEADER = 1 << 20  # bytes of a PAX header or a long name: what a name and attributes need
MOST_HEADERS = 64  # extension headers before one member; writers make three at most
MOST_HOLES = 100_000
# What the kernel's types hold; -1 is none of them, since chown(2) takes it for "leave it".
_IDS, _MAJORS, _MINORS, _SIZES, _TIMES = 2**32 - 1, 2**12, 2**20, 2**63, 2**55 * 10**9
XATTR = "SCHILY.xattr."
FILE, LINK, SYMLINK, CHAR, BLOCK_DEVICE, DIRECTORY, FIFO = "file hard sym c b dir fifo".split()
_KINDS = {
    0x30: FILE, 0: FILE, 0x37: FILE, 0x31: LINK, 0x32: SYMLINK, 0x33: CHAR, 0x34: BLOCK_DEVICE,
    0x35: DIRECTORY, 0x36: FIFO, 0x53: FILE,
}  # fmt: skip


class TarError(errors.LabError):
    """The archive is torn, or no tar archive."""


@dataclass(slots=True)
class Entry:
    """One member: times in nanoseconds, `size` in bytes as the file will have it."""

    name: str
    kind: str = FILE
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime_ns: int = 0
    target: str = ""
    major: int = 0
    minor: int = 0
    xattrs: Mapping[str, bytes] = field(default_factory=dict)
    pieces: list[tuple[int, int]] | None = None  # of a sparse file: (offset, length) in order
    stored: int = 0  # bytes of content that follow in the archive


# --- reading --------------------------------------------------------------------------------------


class Source:
    """A stream in blocks; `digest` is that of all bytes that were taken.

    `next_chunk` gives the chunks: `fetch` itself, or what calls that early (see `ahead`).
    """

    def __init__(self, file: Readable) -> None:
        self._file = file
        self.next_chunk = self.fetch
        self._buffer = memoryview(b"")
        self._place = 0
        self._hash = hashlib.sha256()
        self.count = 0
        self.tee: Callable[[bytes], object] | None = None  # gets all bytes as they come

    @property
    def digest(self) -> str:
        """sha256 of everything so far; at the end, of the whole stream."""
        return f"sha256:{self._hash.hexdigest()}"

    def fetch(self) -> bytes:
        """Read one chunk of the stream itself."""
        data = self._file.read(CHUNK)
        self._hash.update(data)
        self.count += len(data)
        if self.tee is not None:
            self.tee(data)
        return data

    def _fill(self) -> bool:
        data = self.next_chunk()
        self._buffer, self._place = memoryview(data), 0
        return bool(data)

    def some(self, most: int) -> memoryview:
        """At least one and at most so many bytes.

        Raises:
            TarError: there are no more.
        """
        if self._place == len(self._buffer) and not self._fill():
            raise TarError("the archive is torn: it ends in the middle of a member")
        end = min(self._place + most, len(self._buffer))
        found, self._place = self._buffer[self._place : end], end
        return found

    def take(self, size: int) -> bytes:
        """So many bytes."""
        found = self.some(size) if size else b""
        if len(found) == size:
            return bytes(found)
        parts = [bytes(found)]
        left = size - len(found)
        while left:
            found = self.some(left)
            parts.append(bytes(found))
            left -= len(found)
        return b"".join(parts)

    def block(self) -> bytes | None:
        """The next block; None at the end of the stream."""
        if self._place == len(self._buffer) and not self._fill():
            return None
        return self.take(BLOCK)

    def skip(self, size: int) -> None:
        """Pass so many bytes over."""
        while size:
            size -= len(self.some(size))

    def copy(self, fd: int, size: int) -> None:
        """Write so many bytes to a descriptor."""
        while size:
            found = self.some(size)
            size -= len(found)
            while found:
                found = found[os.write(fd, found) :]

    def drain(self) -> None:
        """Read what follows the end of the archive: it belongs to the digest."""
        while self._fill():
            pass


class Members:
    """The members of an archive, one after another. `done` passes over what was left of one."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._global: dict[str, bytes] = {}
        self._left = 0  # bytes of content, with their filling, not yet read

    def __iter__(self) -> Members:
        return self

    def __next__(self) -> Entry:
        self.source.skip(self._left)
        self._left = 0
        extra: dict[str, bytes] = {}
        room = LARGEST_HEADER  # for all extensions of one member: else many small ones are a bomb
        for _ in range(MOST_HEADERS):
            block = self.source.block()
            if block is None:
                raise StopIteration  # some writers leave the two blocks of zeros out
            if block == ZEROS:
                self.source.drain()
                raise StopIteration
            entry, letter = _header(block)
            if letter not in b"xgXLK":
                return self._complete(entry, letter, block, {**self._global, **extra})
            if entry.stored > room:
                raise TarError(f"a member's headers are more than {LARGEST_HEADER} bytes")
            room -= entry.stored
            self._take_extension(letter, entry.stored, extra)
        raise TarError(f"a member has more than {MOST_HEADERS} headers")

    def _take_extension(self, letter: int, size: int, extra: dict[str, bytes]) -> None:
        data = self.source.take(size)
        self.source.skip(-size % BLOCK)
        if letter == 0x4C:
            extra["path"] = data.rstrip(b"\0")
        elif letter == 0x4B:
            extra["linkpath"] = data.rstrip(b"\0")
        elif letter == 0x67:
            self._global |= _records(data)
            if sum(map(len, self._global.values())) > LARGEST_HEADER:
                raise TarError(f"global headers are more than {LARGEST_HEADER} bytes")
        else:
            extra |= _records(data)

    def _complete(
        self, entry: Entry, letter: int, block: bytes, extra: Mapping[str, bytes]
    ) -> Entry:
        """What the extensions say, and the map of a sparse file."""
        if extra:
            _apply(entry, extra)
        if entry.kind != FILE:
            entry.stored = 0
            entry.size = 0
        self._left = entry.stored + (-entry.stored % BLOCK)
        if letter == 0x53:
            _old_sparse(entry, block, self.source)
        elif any(name.startswith("GNU.sparse.") for name in extra):
            self._pax_sparse(entry, extra)
        if entry.name.endswith("/") and entry.kind == FILE and not entry.stored:
            entry.kind = DIRECTORY  # as Version 7 of Unix wrote them
        _check(entry)
        return entry

    def _pax_sparse(self, entry: Entry, extra: Mapping[str, bytes]) -> None:
        if extra.get("GNU.sparse.major") == b"1":
            numbers, used = _map_in_data(self.source, entry.stored)
            entry.stored -= used
            self._left -= used
        else:
            text = extra.get("GNU.sparse.map", b"")
            numbers = [_number(word) for word in text.split(b",")] if text else []
        entry.pieces = _pieces(numbers, entry.size, entry.stored)

    def read(self, entry: Entry, limit: int) -> bytes:
        """The content of a member as it is stored.

        Raises:
            TarError: it is larger than `limit`, or torn.
        """
        if entry.stored > limit:
            raise TarError(f"{entry.name}: {entry.stored} bytes are more than {limit}")
        data = self.source.take(entry.stored)
        self._left -= entry.stored
        return data

    def copy(self, entry: Entry, fd: int) -> None:
        """Write the content of a member to a file, with its holes."""
        if entry.pieces is None:
            self.source.copy(fd, entry.stored)
        else:
            for offset, length in entry.pieces:
                os.lseek(fd, offset, os.SEEK_SET)
                self.source.copy(fd, length)
            os.ftruncate(fd, entry.size)
        self._left -= entry.stored

    def pass_on(self, entry: Entry, write: Callable[[bytes], object]) -> None:
        """Give the content, as it is stored, to a function piece by piece."""
        left = entry.stored
        while left:
            found = self.source.some(left)
            write(bytes(found))
            left -= len(found)
        self._left -= entry.stored


def _check(entry: Entry) -> None:
    """What no system call could take is refused here, in the archive's words."""
    if not entry.name or "\0" in entry.name or "\0" in entry.target:
        raise TarError("a member has no name, or one with a zero byte")
    if not (0 <= entry.uid < _IDS and 0 <= entry.gid < _IDS):
        raise TarError(f"{entry.name[:200]!r} belongs to user {entry.uid} and group {entry.gid}")
    if not (0 <= entry.major < _MAJORS and 0 <= entry.minor < _MINORS):
        raise TarError(f"{entry.name[:200]!r} is a device {entry.major}:{entry.minor}")
    if entry.size >= _SIZES or not -_TIMES < entry.mtime_ns < _TIMES:
        raise TarError(f"{entry.name[:200]!r} has an impossible size or time")
    for name in entry.xattrs:
        if not name or "\0" in name:
            raise TarError(f"{entry.name[:200]!r} has an attribute {name[:60]!r}")


def _header(block: bytes) -> tuple[Entry, int]:
    """One header's fields and its letter."""
    stated = _octal(block[148:156])
    # The sum of all bytes, those of the sum itself taken as spaces.
    found = sum(block) - sum(block[148:156]) + 256
    if stated != found:
        raise TarError("this is no tar archive, or a torn one: a header's check sum is wrong")
    letter = block[156]
    kind = _KINDS.get(letter, "")
    if not kind and letter not in b"xgXLK":
        raise TarError(f"a member of unknown type {chr(letter)!r}")
    size = _octal(block[124:136])
    if size < 0:
        raise TarError("a member of negative size")
    name = _text(block[0:100])
    entry = Entry(
        name=name,
        kind=kind,
        mode=_octal(block[100:108]) & 0o7777,
        uid=_octal(block[108:116]),
        gid=_octal(block[116:124]),
        size=size,
        mtime_ns=_octal(block[136:148]) * 10**9,
        target=_text(block[157:257]),
        stored=size,
    )
    if kind in (CHAR, BLOCK_DEVICE):
        entry.major, entry.minor = _octal(block[329:337]), _octal(block[337:345])
    if block[257:263] == b"ustar\0" and block[345]:
        entry.name = f"{_text(block[345:500])}/{name}"
    return entry, letter


def _text(data: bytes) -> str:
    return os.fsdecode(data.partition(b"\0")[0])


def _octal(data: bytes) -> int:
    """A number in octal digits, or in base 256 if the first bit is set."""
    if data[0] & 0x80:
        number = int.from_bytes(bytes([data[0] & 0x7F]) + data[1:], "big")
        if data[0] & 0x40:
            number -= 1 << (8 * len(data) - 1)
        return number
    text = data.strip(b" \0")
    try:
        return int(text, 8) if text else 0
    except ValueError:
        raise TarError("this is no tar archive, or a torn one: a header has no numbers") from None


def _number(data: bytes) -> int:
    if not data.isdigit() or len(data) > 19:
        raise TarError(f"a PAX header has {data[:20]!r} for a number")
    return int(data)


def _records(data: bytes) -> dict[str, bytes]:
    """`LENGTH KEY=VALUE\\n` …; pairs of sparse files' numbers come together as one map."""
    found: dict[str, bytes] = {}
    numbers: list[bytes] = []
    place = 0
    while place < len(data) and data[place] != 0:
        space = data.find(b" ", place, place + 20)
        length = _number(data[place:space]) if space > 0 else 0
        record = data[space + 1 : place + length]
        key, equals, value = record.partition(b"=")
        if length < 5 or place + length > len(data) or not record.endswith(b"\n") or not equals:
            raise TarError("a PAX header is torn")
        place += length
        name = key.decode(errors="surrogateescape")
        if name in ("GNU.sparse.offset", "GNU.sparse.numbytes"):
            numbers.append(value[:-1])
        found[name] = value[:-1]
    if numbers:
        found["GNU.sparse.map"] = b",".join(numbers)
    return found


def _apply(entry: Entry, extra: Mapping[str, bytes]) -> None:
    """Let PAX records replace the header's fields."""
    xattrs: dict[str, bytes] = {}
    for name, value in extra.items():
        if name == "path":
            entry.name = os.fsdecode(value)
        elif name == "linkpath":
            entry.target = os.fsdecode(value)
        elif name == "size":
            entry.size = entry.stored = _number(value)
        elif name == "uid":
            entry.uid = _number(value)
        elif name == "gid":
            entry.gid = _number(value)
        elif name == "mtime":
            entry.mtime_ns = _nanoseconds(value)
        elif name.startswith(XATTR):
            xattrs[name.removeprefix(XATTR)] = value
    if xattrs:
        entry.xattrs = xattrs
    if "GNU.sparse.name" in extra:
        entry.name = os.fsdecode(extra["GNU.sparse.name"])
    for name in ("GNU.sparse.size", "GNU.sparse.realsize"):
        if name in extra:
            entry.size = _number(extra[name])


def _nanoseconds(value: bytes) -> int:
    """A time in seconds with any number of decimals."""
    text = value.decode("ascii", "replace")
    whole, _, fraction = text.lstrip("-").partition(".")
    if not whole.isdecimal() or len(whole) > 12 or (fraction and not fraction.isdecimal()):
        raise TarError(f"a PAX header has {text[:20]!r} for a time")
    count = int(whole) * 10**9 + int(fraction[:9].ljust(9, "0"))
    return -count if text.startswith("-") else count


def _old_sparse(entry: Entry, block: bytes, source: Source) -> None:
    """GNU's old map: four pieces in the header, 21 in each block that may follow it."""
    numbers: list[int] = []
    data, count, more = block[386:482], 4, block[482]
    entry.size = _octal(block[483:495])
    while True:
        for place in range(0, count * 24, 24):
            offset, length = data[place : place + 12], data[place + 12 : place + 24]
            if offset[0]:
                numbers += [_octal(offset), _octal(length)]
        if not more:
            break
        if len(numbers) > 2 * MOST_HOLES:
            raise TarError(f"a sparse file has more than {MOST_HOLES} pieces")
        data = source.take(BLOCK)
        count, more = 21, data[504]
    entry.pieces = _pieces(numbers, entry.size, entry.stored)


def _map_in_data(source: Source, stored: int) -> tuple[list[int], int]:
    """The map of PAX 1.0: decimal numbers in lines before the content, filled up to a block."""
    numbers: list[int] = []  # how many pieces there are, then two numbers of each
    rest, used = b"", 0
    while not numbers or len(numbers) < 1 + 2 * numbers[0]:
        if used + BLOCK > stored or len(rest) > BLOCK or (numbers and numbers[0] > MOST_HOLES):
            raise TarError("the map of a sparse file is torn")
        *lines, rest = (rest + source.take(BLOCK)).split(b"\n")
        used += BLOCK
        numbers += [_number(line) for line in lines]
    return numbers[1 : 1 + 2 * numbers[0]], used


def _pieces(numbers: list[int], size: int, stored: int) -> list[tuple[int, int]]:
    """(offset, length) pairs that are in order, fill the content and lie in the file."""
    if len(numbers) % 2:
        raise TarError("the map of a sparse file is torn")
    pieces = list(zip(numbers[::2], numbers[1::2], strict=True))
    end = total = 0
    for offset, length in pieces:
        if offset < end or length < 0:
            raise TarError("the pieces of a sparse file are not in order")
        end = offset + length
        total += length
    if end > size or total != stored:
        raise TarError("the map of a sparse file does not fit its size")
    return pieces
