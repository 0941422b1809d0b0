"""Tar headers as they are written: ustar, and PAX where that has no room.

The same member always makes the same bytes. Source: pax(1), "ustar Interchange Format".
"""

from __future__ import annotations

import os

from labcontainer.image.tarformat import (
    BLOCK,
    BLOCK_DEVICE,
    CHAR,
    DIRECTORY,
    FIFO,
    FILE,
    LINK,
    SYMLINK,
    XATTR,
    ZEROS,
    Entry,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_LETTERS = {FILE: b"0", LINK: b"1", SYMLINK: b"2", CHAR: b"3", BLOCK_DEVICE: b"4", DIRECTORY: b"5",
            FIFO: b"6"}  # fmt: skip


def header(entry: Entry) -> bytes:
    """The blocks before a member's content: a PAX header where ustar has no room, then ustar's."""
    name, target = os.fsencode(entry.name), os.fsencode(entry.target)
    records: dict[str, bytes] = {}
    place = _split_name(name)
    if place is None or not name.isascii():
        records["path"] = name
    prefix, short = place or (b"", name[:100])
    if len(target) > 100 or not target.isascii():
        records["linkpath"] = target
    for key, number, room in (
        ("uid", entry.uid, 7),
        ("gid", entry.gid, 7),
        ("size", entry.size, 11),
    ):
        if number >= 8**room:
            records[key] = b"%d" % number
    seconds = entry.mtime_ns // 10**9
    if not 0 <= seconds < 8**11:
        records["mtime"] = b"%d" % seconds
        seconds = 0
    records |= {XATTR + key: value for key, value in sorted(entry.xattrs.items())}
    before = _pax(records) if records else b""
    return before + _ustar(entry, short, prefix, target[:100], seconds)


def _split_name(name: bytes) -> tuple[bytes, bytes] | None:
    """(prefix, name) of a path as ustar has them; None where it has no room."""
    if len(name) <= 100:
        return b"", name
    place = name.rfind(b"/", 0, 156)
    if place <= 0 or not 0 < len(name) - place - 1 <= 100:
        return None
    return name[:place], name[place + 1 :]


def _ustar(entry: Entry, name: bytes, prefix: bytes, target: bytes, seconds: int) -> bytes:
    uid, gid = (one if one < 8**7 else 0 for one in (entry.uid, entry.gid))
    size = entry.size if entry.kind == FILE and entry.size < 8**11 else 0
    block = b"".join((
        name.ljust(100, b"\0"), b"%07o\0" % entry.mode, b"%07o\0" % uid, b"%07o\0" % gid,
        b"%011o\0" % size, b"%011o\0" % seconds, b" " * 8, _LETTERS[entry.kind],
        target.ljust(100, b"\0"), b"ustar\x0000", bytes(64), b"%07o\0" % entry.major,
        b"%07o\0" % entry.minor, prefix.ljust(155, b"\0"), bytes(12),
    ))  # fmt: skip
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def _pax(records: Mapping[str, bytes]) -> bytes:
    """A PAX header of its own; its fields are always the same."""
    data = b"".join(_record(name, value) for name, value in sorted(records.items()))
    entry = Entry("PaxHeader", size=len(data))
    block = _ustar(entry, b"PaxHeader", b"", b"", 0)
    block = block[:156] + b"x" + block[157:]
    block = block[:148] + b" " * 8 + block[156:]
    block = block[:148] + b"%06o\0 " % sum(block) + block[156:]
    return block + data + bytes(-len(data) % BLOCK)


def _record(name: str, value: bytes) -> bytes:
    """`LENGTH KEY=VALUE\\n`, where the length counts itself."""
    rest = b" %b=%b\n" % (name.encode(errors="surrogateescape"), value)
    length = len(rest) + len(str(len(rest)))
    if len(str(length)) > len(str(len(rest))):
        length += 1
    return b"%d" % length + rest


END = ZEROS * 2
