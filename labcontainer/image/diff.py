"""Trees into layers: a whole tree, or what a container changed in one.

The same files give the same bytes, whoever packs them and when: names in order, owners as numbers,
times in whole seconds, no time of access. Then the same layer has the same digest everywhere.
"""

from __future__ import annotations

import errno
import os
import stat

from labcontainer import errors
from labcontainer.image import deleting, layers, tarformat, tarheader
from labcontainer.image.tarformat import (
    BLOCK_DEVICE,
    CHAR,
    DIRECTORY,
    FIFO,
    FILE,
    LINK,
    SYMLINK,
    Entry,
)
from labcontainer.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    class Writable(Protocol):
        """What can be written to."""

        def write(self, data: bytes, /) -> object: ...


CHUNK = 1 << 20
_KINDS = {stat.S_IFREG: FILE, stat.S_IFDIR: DIRECTORY, stat.S_IFLNK: SYMLINK,
          stat.S_IFCHR: CHAR, stat.S_IFBLK: BLOCK_DEVICE, stat.S_IFIFO: FIFO}  # fmt: skip
_OPAQUE = ("trusted.overlay.opaque", "user.overlay.opaque")
_REDIRECT = ("trusted.overlay.redirect", "user.overlay.redirect")
_NO_FOLLOW = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class Packed(Record):
    """A layer that was written: digest of the plain archive, bytes of files, members."""

    diff_id: str
    size: int
    entries: int


class Writer:
    """An archive on its way out: members in, blocks to `out`, the digest at the end."""

    def __init__(self, out: Writable, *, newest: int | None = None) -> None:
        import hashlib

        self._out = out
        self._hash = hashlib.sha256()
        self._newest = newest  # no file is younger than this, in seconds: SOURCE_DATE_EPOCH
        self.size = self.entries = 0

    def _put(self, data: bytes) -> None:
        self._hash.update(data)
        self._out.write(data)

    def add(self, entry: Entry, fd: int = -1) -> None:
        """A member, with the content of an open file."""
        self._put(self._header(entry))
        self.entries += 1
        if entry.kind != FILE:
            return
        left = entry.size
        while left and (data := os.read(fd, min(CHUNK, left))):
            self._put(data)
            left -= len(data)
        while left:  # it has shrunk meanwhile
            self._put(bytes(min(CHUNK, left)))
            left -= min(CHUNK, left)
        self._put(bytes(-entry.size % tarformat.BLOCK))
        self.size += entry.size

    def _header(self, entry: Entry) -> bytes:
        if self._newest is not None:
            entry.mtime_ns = min(entry.mtime_ns, self._newest * 10**9)
        return tarheader.header(entry)

    def bytes_file(self, entry: Entry, data: bytes) -> None:
        """A member whose content is at hand."""
        entry.size = len(data)
        self._put(self._header(entry) + data + bytes(-len(data) % tarformat.BLOCK))
        self.entries += 1
        self.size += len(data)

    def finish(self) -> Packed:
        """The archive's end."""
        self._put(tarheader.END)
        return Packed(f"sha256:{self._hash.hexdigest()}", self.size, self.entries)


class _Walk:
    """A tree, member by member: parents first, names in order, by descriptors."""

    def __init__(self, writer: Writer, owner: Callable[[int, int], tuple[int, int]] | None) -> None:
        self._writer = writer
        self._owner = owner
        self._links: dict[tuple[int, int], str] = {}

    def tree(self, fd: int, path: str, *, keep: Callable[[str, os.stat_result], bool]) -> None:
        """What is in a directory; `keep` says which members, and whether to go into one."""
        for name in sorted(os.listdir(fd), key=os.fsencode):
            inner = below(path, name)
            found = os.lstat(name, dir_fd=fd)
            if not keep(inner, found):
                continue
            self.member(fd, name, inner, found)
            if stat.S_ISDIR(found.st_mode):
                deeper = deleting.open_directory(fd, name)
                try:
                    self.tree(deeper, inner, keep=keep)
                finally:
                    os.close(deeper)

    def member(self, parent: int, name: str, path: str, found: os.stat_result) -> None:
        """One file of any kind; sockets can't be in an archive, and are left out."""
        kind = _KINDS.get(stat.S_IFMT(found.st_mode))
        if kind is None:
            return
        entry = entry_of(path, kind, found)
        if self._owner is not None:
            entry.uid, entry.gid = self._owner(entry.uid, entry.gid)
        if kind != DIRECTORY and found.st_nlink > 1:
            key = (found.st_dev, found.st_ino)
            if key in self._links:
                entry.kind, entry.target = LINK, self._links[key]
                self._writer.add(entry)
                return
            self._links[key] = path
        if kind == SYMLINK:
            entry.target = os.readlink(name, dir_fd=parent)
            self._writer.add(entry)
        elif kind in (FILE, DIRECTORY):
            self._with_content(parent, name, entry)
        else:
            self._writer.add(entry)

    def _with_content(self, parent: int, name: str, entry: Entry) -> None:
        flags = _NO_FOLLOW | (os.O_DIRECTORY if entry.kind == DIRECTORY else 0)
        fd = os.open(name, flags, dir_fd=parent)
        try:
            entry.xattrs = attributes(fd)
            if entry.kind == FILE:
                entry.size = os.fstat(fd).st_size
            self._writer.add(entry, fd)
        finally:
            os.close(fd)


def below(path: str, name: str) -> str:
    """The path of a member of a directory.

    Raises:
        LabError: it is longer than what is unpacked again.
    """
    inner = f"{path.rstrip('/')}/{name}" if path else name
    if len(inner) > layers.LONGEST or inner.count("/") >= layers.DEEPEST:
        raise errors.LabError(f"{inner[:60]!r}… is a path too long or too deep for a layer")
    return inner


def entry_of(path: str, kind: str, found: os.stat_result) -> Entry:
    """A member's header from what lstat(2) says."""
    device = kind in (CHAR, BLOCK_DEVICE)
    return Entry(
        name=f"{path.rstrip('/')}/" if kind == DIRECTORY else path,
        kind=kind,
        mode=stat.S_IMODE(found.st_mode),
        uid=found.st_uid,
        gid=found.st_gid,
        mtime_ns=found.st_mtime_ns,
        major=os.major(found.st_rdev) if device else 0,
        minor=os.minor(found.st_rdev) if device else 0,
    )


def attributes(fd: int) -> dict[str, bytes]:
    """The extended attributes that belong into a layer: not overlayfs' and not the system's."""
    found: dict[str, bytes] = {}
    try:
        names = os.listxattr(fd)
    except OSError as error:
        if error.errno in (errno.ENOTSUP, errno.EPERM):
            return {}
        raise
    for name in names:
        if name == "security.capability" or (
            name.startswith("user.") and not name.startswith("user.overlay.")
        ):
            found[name] = os.getxattr(fd, name)
    return found


def pack(
    root_fd: int,
    out: Writable,
    *,
    newest: int | None = None,
    owner: Callable[[int, int], tuple[int, int]] | None = None,
    keep: Callable[[str, os.stat_result], bool] = lambda _path, _found: True,
) -> Packed:
    """A whole tree as a layer.

    Args:
        newest: no file's time is later, in seconds since 1970.
        owner: (uid, gid) in the archive of those on the disk.
        keep: leaves members out, with all below them.
    """
    writer = Writer(out, newest=newest)
    _Walk(writer, owner).tree(root_fd, "", keep=keep)
    return writer.finish()


def pack_member(parent_fd: int, name: str, shown: str, out: Writable) -> Packed:
    """One file of any kind as an archive, under another name, with all below it."""
    writer = Writer(out)
    walk = _Walk(writer, None)
    found = os.lstat(name, dir_fd=parent_fd)
    walk.member(parent_fd, name, shown, found)
    if stat.S_ISDIR(found.st_mode):
        fd = deleting.open_directory(parent_fd, name)
        try:
            walk.tree(fd, shown.rstrip("/") or "/", keep=lambda _path, _found: True)
        finally:
            os.close(fd)
    return writer.finish()


def pack_upper(upper_fd: int, out: Writable, *, newest: int | None = None) -> Packed:
    """What a container wrote, from the upper directory of its overlay, as a layer."""
    writer = Writer(out, newest=newest)
    _Upper(writer).directory(upper_fd, "")
    return writer.finish()


class _Upper:
    """overlayfs' marks into a layer's whiteouts."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._walk = _Walk(writer, None)

    def directory(self, fd: int, path: str) -> None:
        """What is in a directory; an opaque one says so first."""
        if path and is_opaque(fd):
            self._writer.add(Entry(f"{path}/{layers.OPAQUE}", mode=0o644))
        for name in sorted(os.listdir(fd), key=os.fsencode):
            inner = below(path, name)
            found = os.lstat(name, dir_fd=fd)
            if stat.S_ISCHR(found.st_mode) and found.st_rdev == 0:
                self._writer.add(whiteout(inner))
                continue
            self._walk.member(fd, name, inner, found)
            if stat.S_ISDIR(found.st_mode):
                deeper = deleting.open_directory(fd, name)
                try:
                    _check_whole(deeper, inner)
                    self.directory(deeper, inner)
                finally:
                    os.close(deeper)


def _check_whole(fd: int, path: str) -> None:
    """A directory that was renamed is but a reference in the upper directory (redirect_dir)."""
    for name in _REDIRECT:
        if name in os.listxattr(fd):
            fix = "mount with redirect_dir=off"
            raise errors.UnsupportedError(f"a layer of {path!r}", f"it has {name}", fix)


def whiteout(path: str) -> Entry:
    """The member that says that a path is gone."""
    folder, slash, name = path.rpartition("/")
    return Entry(f"{folder}{slash}{layers.WHITEOUT}{name}", mode=0o644)


def is_opaque(fd: int) -> bool:
    """Whether overlayfs shows nothing of what is below a directory."""
    for name in _OPAQUE:
        try:
            if os.getxattr(fd, name) == b"y":
                return True
        except OSError as error:
            if error.errno not in (errno.ENODATA, errno.ENOTSUP, errno.EPERM):
                raise
    return False


def pack_changes(old_fd: int, new_fd: int, out: Writable, *, newest: int | None = None) -> Packed:
    """What is different in a tree, where no overlay tells: the copying fallback."""
    writer = Writer(out, newest=newest)
    _Changes(writer).directory(old_fd, new_fd, "")
    return writer.finish()


class _Changes:
    """Two trees side by side.

    A directory in which something has changed is a member too, though it is the same: else whoever
    unpacks the layer by itself would have to guess its owner and mode.
    """

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._walk = _Walk(writer, None)
        self._unsaid: list[tuple[int, str, str, os.stat_result]] = []  # directories on the way here

    def _say(self) -> None:
        for directory in self._unsaid:
            self._walk.member(*directory)
        self._unsaid.clear()

    def directory(self, old: int, new: int, path: str) -> None:
        """The changes in one directory that both have."""
        before, after = set(os.listdir(old)), set(os.listdir(new))
        for name in sorted(before | after, key=os.fsencode):
            inner = below(path, name)
            if name not in after:
                self._say()
                self._writer.add(whiteout(inner))
                continue
            found = os.lstat(name, dir_fd=new)
            known = os.lstat(name, dir_fd=old) if name in before else None
            if known is not None and stat.S_ISDIR(known.st_mode) and stat.S_ISDIR(found.st_mode):
                self._both_directories(old, new, name, inner, known, found)
            elif known is None or not same(old, new, name, known, found):
                self._say()
                if known is not None and stat.S_ISDIR(known.st_mode):
                    self._writer.add(whiteout(inner))
                self._all(new, name, inner, found)

    def _both_directories(
        self, old: int, new: int, name: str, path: str, known: os.stat_result, found: os.stat_result
    ) -> None:
        self._unsaid.append((new, name, path, found))
        if not same(old, new, name, known, found):
            self._say()
        before, after = deleting.open_directory(old, name), deleting.open_directory(new, name)
        try:
            self.directory(before, after, path)
        finally:
            os.close(before)
            os.close(after)
        if self._unsaid:
            self._unsaid.pop()

    def _all(self, new: int, name: str, path: str, found: os.stat_result) -> None:
        self._walk.member(new, name, path, found)
        if stat.S_ISDIR(found.st_mode):
            fd = deleting.open_directory(new, name)
            try:
                self._walk.tree(fd, path, keep=lambda _path, _found: True)
            finally:
                os.close(fd)


def same(old: int, new: int, name: str, known: os.stat_result, found: os.stat_result) -> bool:
    """Whether a file was left alone: what lstat says, where a link leads, and its attributes.

    A file that was changed within the same nanosecond and in the same length is taken as the same,
    as in tar and rsync.
    """
    facts = ("st_mode", "st_uid", "st_gid", "st_rdev")
    if any(getattr(known, fact) != getattr(found, fact) for fact in facts):
        return False
    if stat.S_ISLNK(found.st_mode):
        return os.readlink(name, dir_fd=old) == os.readlink(name, dir_fd=new)
    if stat.S_ISREG(found.st_mode):
        if (known.st_size, known.st_mtime_ns) != (found.st_size, found.st_mtime_ns):
            return False
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        return True
    return _attributes_of(old, name) == _attributes_of(new, name)


def _attributes_of(parent: int, name: str) -> dict[str, bytes]:
    fd = os.open(name, _NO_FOLLOW, dir_fd=parent)
    try:
        return attributes(fd)
    finally:
        os.close(fd)
