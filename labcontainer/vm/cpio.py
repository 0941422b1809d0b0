"""cpio archives in the "newc" form: what Linux unpacks into memory as its first root (initramfs).

An archive is one entry after another, and a last one with the name TRAILER!!!. An entry is

    070701                      six letters that say which form this is
    13 numbers                  of eight hexadecimal digits each: see FIELDS
    the name, a NUL             filled up with NULs so that the next part begins at a multiple of 4
    the bytes                   of a file, or the target of a link; filled up likewise

There is no compression and no index: the kernel reads it from the front and makes each thing as it
comes, so a directory must stand before what is in it. Source: the kernel's
Documentation/driver-api/early-userspace/buffer-format.rst.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Iterable, Iterator

from labcontainer.errors import SpecError
from labcontainer.record import Record

MAGIC = b"070701"
FIELDS = ("inode", "mode", "uid", "gid", "links", "mtime", "size", "device_major", "device_minor",
          "number_major", "number_minor", "name_size", "check")  # fmt: skip
HEAD_SIZE = len(MAGIC) + 8 * len(FIELDS)
TRAILER = "TRAILER!!!"


class Member(Record):
    """One entry. `mode` holds the kind too, as stat(2) has it; `data` is a link's target."""

    name: str
    mode: int
    data: bytes = b""
    mtime: int = 0
    uid: int = 0
    gid: int = 0
    device: tuple[int, int] = (0, 0)


def directory(name: str, mode: int = 0o755) -> Member:
    """A directory."""
    return Member(name, stat.S_IFDIR | mode)


def file(name: str, data: bytes, mode: int = 0o644, mtime: int = 0) -> Member:
    """A regular file."""
    return Member(name, stat.S_IFREG | mode, data, mtime)


def link(name: str, target: str) -> Member:
    """A symbolic link."""
    return Member(name, stat.S_IFLNK | 0o777, target.encode())


def device(name: str, major: int, minor: int, mode: int = 0o600) -> Member:
    """A character device, such as console (5, 1)."""
    return Member(name, stat.S_IFCHR | mode, device=(major, minor))


def pack(members: Iterable[Member]) -> bytes:
    """The archive. Same members, same bytes."""
    parts = [_entry(number, member) for number, member in enumerate(members, 1)]
    parts.append(_entry(0, Member(TRAILER, 0)))
    return b"".join(parts)


def _entry(inode: int, member: Member) -> bytes:
    name = member.name.strip("/").encode() + b"\0"
    # No hard links: each entry has a number of its own, so the kernel looks for no twin.
    links = 2 if stat.S_ISDIR(member.mode) else 1
    numbers = (inode, member.mode, member.uid, member.gid, links, member.mtime, len(member.data),
               0, 0, *member.device, len(name), 0)  # fmt: skip
    if max(numbers) >= 1 << 32:
        raise SpecError(member.name, "a number of its entry does not fit into 32 bits")
    head = MAGIC + b"".join(b"%08x" % number for number in numbers)
    return _filled(head + name) + _filled(member.data)


def _filled(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def unpack(archive: bytes) -> Iterator[Member]:
    """The entries of an archive, without its trailer.

    Raises:
        SpecError: it is of another form, or ends too early.
    """
    at = 0
    while True:
        fields = _head(archive, at)
        begin = at + HEAD_SIZE
        name = archive[begin : begin + fields["name_size"] - 1].decode()
        if name == TRAILER:
            return
        begin += fields["name_size"] + -(HEAD_SIZE + fields["name_size"]) % 4
        end = begin + fields["size"]
        if end > len(archive):
            raise SpecError(name, "the archive ends in the middle of its bytes")
        yield Member(name, fields["mode"], archive[begin:end], fields["mtime"], fields["uid"],
                     fields["gid"], (fields["number_major"], fields["number_minor"]))  # fmt: skip
        at = end + -fields["size"] % 4


def _head(archive: bytes, at: int) -> dict[str, int]:
    head = archive[at : at + HEAD_SIZE]
    if len(head) < HEAD_SIZE or not head.startswith(MAGIC):
        raise SpecError(f"byte {at} of the archive", f"{head[:6]!r} begins no newc entry")
    numbers = [int(word, 16) for word in struct.unpack("8s" * len(FIELDS), head[len(MAGIC) :])]
    return dict(zip(FIELDS, numbers, strict=True))
