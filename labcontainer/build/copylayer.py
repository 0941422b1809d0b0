"""The layer that a COPY makes: written straight from the sources, nothing is mounted."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

from labcontainer import errors
from labcontainer.build import adding
from labcontainer.build.copying import Target, described
from labcontainer.build.sources import Member
from labcontainer.image import diff, layers, tarformat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from labcontainer.image.diff import Writable


def pack(
    found: list[Member],
    target: Target,
    out: Writable,
    newest: int | None = None,
    archives: Sequence[str] = (),
) -> diff.Packed:
    """Write the members as a layer, and after them what is in the archives.

    Raises:
        LabError: a name would mean something else in a layer.
    """
    writer = diff.Writer(out, newest=newest)
    links: dict[tuple[int, int], str] = {}
    for member in found:
        if member.path.rpartition("/")[2].startswith(layers.WHITEOUT):
            why = f"a name that begins with {layers.WHITEOUT} is a mark of layers"
            raise errors.UnsupportedError(f"copying {member.path}", why)
        if member.path:
            _add(writer, member, target, links)
    for path in archives:
        adding.unpack(writer, path, target)
    return writer.finish()


KINDS = {stat.S_IFREG: tarformat.FILE, stat.S_IFDIR: tarformat.DIRECTORY,
          stat.S_IFLNK: tarformat.SYMLINK, stat.S_IFCHR: tarformat.CHAR,
          stat.S_IFBLK: tarformat.BLOCK_DEVICE, stat.S_IFIFO: tarformat.FIFO}  # fmt: skip


def _add(
    writer: diff.Writer, member: Member, target: Target, links: dict[tuple[int, int], str]
) -> None:
    about = member.about
    kind = KINDS[stat.S_IFMT(about.st_mode)]
    entry = diff.entry_of(member.path, kind, about)
    _, entry.mode, entry.uid, entry.gid, _ = described(member, target)
    if member.data is not None:
        writer.bytes_file(entry, member.data)
        return
    key = (about.st_dev, about.st_ino)
    if kind == tarformat.FILE and about.st_nlink > 1:
        if key in links:
            entry.kind, entry.target = tarformat.LINK, links[key]
            writer.add(entry)
            return
        links[key] = member.path
    if kind == tarformat.SYMLINK:
        entry.target = os.readlink(member.real)
    if kind not in (tarformat.FILE, tarformat.DIRECTORY) or not member.real:
        writer.add(entry)
        return
    fd = os.open(member.real, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        entry.xattrs = diff.attributes(fd)
        entry.size = os.fstat(fd).st_size if kind == tarformat.FILE else 0
        writer.add(entry, fd)
    finally:
        os.close(fd)
