"""What an ELF file says of its loader and its libraries; and the loader's cache of libraries.

`ldd` tells the same by running the program's loader, which runs code of whoever made the file
(ld.so(8): "you should never employ ldd on an untrusted executable"). Here the bytes are read.
Formats: elf(5), and glibc's sysdeps/generic/dl-cache.h for /etc/ld.so.cache.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from labcontainer import errors

MAGIC = b"\x7fELF"
PT_LOAD, PT_DYNAMIC, PT_INTERP = 1, 2, 3
DT_NULL, DT_NEEDED, DT_STRTAB, DT_SONAME, DT_RPATH, DT_RUNPATH = 0, 1, 5, 14, 15, 29

# The flags field of a cache entry: ELF_LIBC6 (3) and the architecture's bits (dl-cache.h).
_CACHE_FLAGS = {(62, 64): 0x0303, (183, 64): 0x0A03, (40, 32): 0x0903, (243, 64): 0x1003}
_CACHE_MAGIC = b"glibc-ld.so.cache1.1"
_CACHE_HEADER = struct.Struct("20sIIB3xI12x")
_CACHE_ENTRY = struct.Struct("iIIIQ")


@dataclass(frozen=True)
class Elf:
    """The parts of one ELF file that decide which other files it needs."""

    path: str
    bits: int
    machine: int
    interpreter: str = ""
    needed: tuple[str, ...] = ()
    soname: str = ""
    rpath: tuple[str, ...] = ()
    runpath: tuple[str, ...] = ()

    def fits(self, other: Elf) -> bool:
        """Whether both can live in one process: same word size, same machine."""
        return (self.bits, self.machine) == (other.bits, other.machine)


class _Torn(Exception):
    """The file ends, or points, outside itself."""


class _Bytes:
    """A file's bytes with bounds kept: reading outside them tells that the file is torn."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.bits = {1: 32, 2: 64}.get(data[4] if len(data) > 5 else 0, 0)
        if not self.bits or data[5] not in (1, 2):
            raise _Torn("its header names no word size or byte order")
        self.order = "<" if data[5] == 1 else ">"

    def unpack(self, layout: str, offset: int) -> tuple[int, ...]:
        layout = self.order + layout
        if offset + struct.calcsize(layout) > len(self.data):
            raise _Torn(f"it has {len(self.data)} bytes and points to byte {offset}")
        return struct.unpack_from(layout, self.data, offset)

    def text(self, offset: int) -> str:
        end = self.data.find(b"\0", offset)
        if not 0 <= offset < len(self.data) or end < 0:
            raise _Torn(f"a name at byte {offset} has no end")
        return self.data[offset:end].decode(errors="surrogateescape")


def is_elf(path: str) -> bool:
    """Whether a file begins as every ELF file does."""
    with open(path, "rb") as file:
        return file.read(4) == MAGIC


def read(path: str) -> Elf | None:
    """What one file needs; None when it is no ELF file.

    Raises:
        LabError: the file begins like an ELF file and is torn.
    """
    with open(path, "rb") as file:
        if file.read(4) != MAGIC:
            return None
        data = MAGIC + file.read()
    try:
        return _parse(path, _Bytes(data))
    except _Torn as torn:
        raise errors.LabError(f"{path}: torn ELF file: {torn}") from None


def _parse(path: str, file: _Bytes) -> Elf:
    """Header, then program headers, then the dynamic section: elf(5), in this order."""
    wide = file.bits == 64
    (machine,) = file.unpack("H", 18)
    (offset,) = file.unpack("Q" if wide else "I", 32 if wide else 28)
    size, count = file.unpack("HH", 54 if wide else 42)
    segments = [_segment(file, offset + i * size) for i in range(count)]
    interpreter = next((file.text(s[1]) for s in segments if s[0] == PT_INTERP), "")
    dynamic = next((s for s in segments if s[0] == PT_DYNAMIC), None)
    if dynamic is None:
        return Elf(path, file.bits, machine, interpreter)
    tags = _dynamic(file, dynamic[1], dynamic[3])
    strings = _file_offset(segments, dict(tags).get(DT_STRTAB, 0)) if tags else 0
    names = [(tag, file.text(strings + value)) for tag, value in tags if tag in _NAMED]
    return Elf(
        path=path,
        bits=file.bits,
        machine=machine,
        interpreter=interpreter,
        needed=tuple(name for tag, name in names if tag == DT_NEEDED),
        soname=next((name for tag, name in names if tag == DT_SONAME), ""),
        rpath=_split(names, DT_RPATH),
        runpath=_split(names, DT_RUNPATH),
    )


_NAMED = (DT_NEEDED, DT_SONAME, DT_RPATH, DT_RUNPATH)


def _split(names: list[tuple[int, str]], wanted: int) -> tuple[str, ...]:
    return tuple(part for tag, name in names if tag == wanted for part in name.split(":") if part)


def _segment(file: _Bytes, at: int) -> tuple[int, int, int, int]:
    """One program header: (type, offset in the file, address in memory, size in the file)."""
    if file.bits == 64:
        kind, _flags, offset, address, _physical, size = file.unpack("IIQQQQ", at)
    else:
        kind, offset, address, _physical, size = file.unpack("IIIII", at)
    if kind in (PT_LOAD, PT_DYNAMIC, PT_INTERP) and offset + size > len(file.data):
        raise _Torn(f"it has {len(file.data)} bytes and should have at least {offset + size}")
    return kind, offset, address, size


def _dynamic(file: _Bytes, offset: int, size: int) -> list[tuple[int, int]]:
    """The (tag, value) pairs of the dynamic section, up to DT_NULL."""
    layout, width = ("qQ", 16) if file.bits == 64 else ("iI", 8)
    tags = []
    for at in range(offset, offset + size - width + 1, width):
        tag, value = file.unpack(layout, at)
        if tag == DT_NULL:
            break
        tags.append((tag, value))
    return tags


def _file_offset(segments: list[tuple[int, int, int, int]], address: int) -> int:
    """Where in the file the byte stands that will be at `address` in memory."""
    for kind, offset, start, size in segments:
        if kind == PT_LOAD and start <= address < start + size:
            return offset + address - start
    raise _Torn(f"no segment holds address {address:#x}")


# --- /etc/ld.so.cache -----------------------------------------------------------------------------


def read_cache(path: str = "/etc/ld.so.cache") -> dict[str, list[str]]:
    """Library name to paths, as the loader's cache has them; {} without a readable cache.

    Entries for one kind of processor only (glibc-hwcaps) are left out: what is copied must run on
    every machine.
    """
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError:
        return {}
    start = data.find(_CACHE_MAGIC)  # an old cache has a table in another format before it
    found: dict[str, list[str]] = {}
    if start < 0:
        return found
    data = data[start:]
    try:
        count = _CACHE_HEADER.unpack_from(data)[1]
        for index in range(count):
            entry = _CACHE_ENTRY.unpack_from(data, _CACHE_HEADER.size + index * _CACHE_ENTRY.size)
            if entry[4] == 0:
                name, where = (_string(data, at) for at in entry[1:3])
                found.setdefault(name, []).append(where)
    except (struct.error, ValueError):
        return {}  # a torn cache: ld.so ignores it too
    return found


def _string(data: bytes, offset: int) -> str:
    return data[offset : data.index(b"\0", offset)].decode(errors="surrogateescape")


def write_cache(libraries: dict[str, Elf]) -> bytes:
    """A cache file for these libraries, path to what was read of each.

    With it the loader in the container finds a library wherever it lies, as it did on the host.
    """
    rows: list[tuple[str, str, int]] = []
    for path, library in libraries.items():
        flags = _CACHE_FLAGS.get((library.machine, library.bits), 3)
        rows.append((path.rpartition("/")[2], path, flags))
        if library.soname and library.soname != rows[-1][0]:
            rows.append((library.soname, path, flags))
    # The loader searches by halves: ldconfig's order, last name first, is part of the format.
    rows.sort()
    rows.sort(key=lambda row: _key(row[0]), reverse=True)
    strings, offsets = b"", {}
    base = _CACHE_HEADER.size + len(rows) * _CACHE_ENTRY.size
    for text in dict.fromkeys(text for row in rows for text in row[:2]):
        offsets[text] = base + len(strings)
        strings += text.encode(errors="surrogateescape") + b"\0"
    entries = [_CACHE_ENTRY.pack(row[2], offsets[row[0]], offsets[row[1]], 0, 0) for row in rows]
    little = 2  # cache_file_new_flags_endian_little
    header = _CACHE_HEADER.pack(_CACHE_MAGIC, len(rows), len(strings), little, 0)
    return header + b"".join(entries) + strings


def _key(name: str) -> list[tuple[int, int]]:
    """glibc's _dl_cache_libcmp: runs of digits are compared as numbers."""
    key: list[tuple[int, int]] = []
    at = 0
    while at < len(name):
        if name[at].isdigit() and name[at].isascii():
            end = at
            while end < len(name) and name[end] in "0123456789":
                end += 1
            key.append((1, int(name[at:end])))  # a digit is greater than every other byte
            at = end
        else:
            key.append((0, ord(name[at])))
            at += 1
    return key
