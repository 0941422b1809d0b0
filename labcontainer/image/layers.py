"""A layer, unpacked: a tar archive of changes becomes a directory, and nothing outside it.

A layer says what is new; a file `.wh.NAME` says that NAME below is gone, `.wh..wh..opq` that all of
a directory below is (image-spec, layer.md). In a directory for overlayfs that becomes a device 0:0
and an attribute; over a whole tree it is carried out.

An archive is a stranger's. No path in it is ever joined to a string: each parent directory is
resolved inside the root by descriptor (openat2, RESOLVE_IN_ROOT), and the last name is used without
following it. Absolute names are taken inside the root, as Docker does; a `..` is refused.
"""

from __future__ import annotations

import errno
import os
import stat

from labcontainer import errors
from labcontainer.image import deleting, tarformat, wrongs
from labcontainer.image.tarformat import BLOCK_DEVICE, CHAR, DIRECTORY, FIFO, FILE, LINK, SYMLINK
from labcontainer.kernel import confined
from labcontainer.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from labcontainer.image.compression import Readable
    from labcontainer.image.tarformat import Entry

WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"
_DIR = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_DIRECTORIES = 64
# Attributes by which overlayfs finds the parts of a file: an image must not lead it elsewhere.
_OVERLAYS = ("trusted.overlay.", "user.overlay.")


class Limits(Record):
    """What an archive may cost: bytes of its files, files of any kind, device nodes. The defaults
    are far above real images. How much may come out of one byte, see compression.RATIO."""

    size: int = 128 << 30
    entries: int = 4_000_000
    devices: int = 4096


REAL = Limits()
# What the kernel says of names, sizes and orders of members that can't be; the rest, such as a full
# disk, is no fault of the archive.
_BY_THE_ARCHIVE = (
    errno.EEXIST, errno.EFBIG, errno.EINVAL, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG,
    errno.ENOENT, errno.ENOTDIR,
)  # fmt: skip
LONGEST, DEEPEST = 4096, 255  # bytes and parts of a name: PATH_MAX, and more than any real tree has


class Applied(Record):
    """What was unpacked: the digest of the archive, bytes and number of its files."""

    diff_id: str
    size: int
    entries: int


def apply(
    stream: Readable,
    root_fd: int,
    *,
    whiteouts: Literal["overlay", "apply", "none"] = "overlay",
    user_xattr: bool = False,
    owners: bool = True,
    limits: Limits = REAL,
    replace: bool = True,
) -> Applied:
    """Unpack a layer, already decompressed, into the directory `root_fd`.

    Args:
        whiteouts: "overlay" writes marks for overlayfs; "apply" deletes in a tree that has all
            layers below; with "none" the archive is no layer, and `.wh.` is a name like others.
        user_xattr: marks as a mount in a user namespace reads them.
        owners: give the files to whom the archive says; without, they stay the caller's.
        replace: a directory may take the place of a file, and a file that of a directory.

    Raises:
        LabError: the archive is torn, tries to leave the root, or is too large; what was written
            is left for the caller to remove.
        OSError: the kernel refused, such as on a full disk.
    """
    from labcontainer.image import ahead  # threads: `run` of what is unpacked needs none

    source = tarformat.Source(stream)
    early = ahead.Ahead(source.fetch)
    source.next_chunk = early.take
    work = _Apply(root_fd, whiteouts, user_xattr, owners, limits, replace)
    try:
        for entry in (members := tarformat.Members(source)):
            try:
                work.put(entry, members)
            except OSError as error:
                if error.errno not in _BY_THE_ARCHIVE:
                    raise
                raise wrongs.impossible(entry, error) from error
        work.finish()
    finally:
        work.close()
        early.close()
    return Applied(source.digest, work.size, work.entries)


class _Apply:
    """One archive on its way into one directory."""

    def __init__(
        self, root_fd: int, whiteouts: str, user_xattr: bool, owners: bool, limits: Limits,
        replace: bool,
    ) -> None:  # fmt: skip
        self._root = root_fd
        self._plain = whiteouts == "none"
        self._replace = replace
        self._in_place = whiteouts == "apply"
        self._opaque = f"{'user' if user_xattr else 'trusted'}.overlay.opaque"
        self._owners = owners
        self._limits = limits
        self._open: dict[str, int] = {}  # parents that were used last
        self._times: dict[str, int] = {}  # of directories: set last, since their files change them
        self._own: set[str] = set()  # what this layer made, for whiteouts over a whole tree
        self._devices = self._made = 0
        self.size = self.entries = 0

    # --- where ------------------------------------------------------------------------------------

    def _parent(self, path: str) -> int:
        """The descriptor of a directory inside the root, made if need be; not to be closed."""
        fd = self._open.pop(path, -1)
        if fd < 0:
            fd = self._open_parent(path)
            if len(self._open) >= _OPEN_DIRECTORIES:
                os.close(self._open.pop(next(iter(self._open))))
        self._open[path] = fd
        return fd

    def _open_parent(self, path: str) -> int:
        if not path:
            return os.dup(self._root)
        try:
            return confined.open_in(self._root, path, _DIR)
        except FileNotFoundError:
            return self._make_parent(path)
        except NotADirectoryError:
            raise errors.LabError(f"the archive puts a file below {path!r}, a file") from None
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            raise errors.LabError(f"the archive's {path!r} is a loop of links") from None

    def _make_parent(self, path: str) -> int:
        """A directory whose parents may be missing too; some archives leave them out."""
        above, _, name = path.rpartition("/")
        self._made += 1
        self._check_count()
        parent = self._parent(above)  # as deep as a name can be: see DEEPEST
        try:
            os.mkdir(name, 0o755, dir_fd=parent)
        except FileExistsError:  # a link that leads to nothing
            raise errors.LabError(f"the archive's {path!r} is a link, not a directory") from None
        fd = os.open(name, _DIR | os.O_NOFOLLOW, dir_fd=parent)
        os.chmod(_readable(fd), 0o755)  # whatever our umask is
        return fd

    def close(self) -> None:
        """Close what is open."""
        self._forget(but=-1)

    def _forget(self, but: int) -> None:
        """Close the parents but one; they are found anew where they are needed."""
        for path, fd in list(self._open.items()):
            if fd != but:
                os.close(self._open.pop(path))

    # --- what -------------------------------------------------------------------------------------

    def put(self, entry: Entry, members: tarformat.Members) -> None:
        """One member."""
        self._count(entry)
        path = inside(entry.name)
        folder, _, name = path.rpartition("/")
        if not path:
            if entry.kind == DIRECTORY:
                self._describe_root(entry)
            return
        if name.startswith(WHITEOUT) and not self._plain:
            self._whiteout(folder, name)
            return
        parent = self._parent(folder)
        if entry.kind == DIRECTORY:
            self._directory(parent, name, path, entry)
        else:
            self._make(parent, name, entry, members)
        while self._in_place and path and path not in self._own:
            self._own.add(path)
            path = path.rpartition("/")[0]

    def _count(self, entry: Entry) -> None:
        self.entries += 1
        self.size += entry.stored
        self._check_count()
        if self.size > self._limits.size:
            raise errors.LabError(f"the archive unpacks to more than {self._limits.size} bytes")
        if entry.kind in (CHAR, BLOCK_DEVICE):
            self._devices += 1
            if self._devices > self._limits.devices:
                raise errors.LabError(f"the archive has more than {self._limits.devices} devices")

    def _check_count(self) -> None:
        """Also the directories that members imply: 254 of them cost an archive one name."""
        if self.entries + self._made > self._limits.entries:
            raise errors.LabError(f"the archive has more than {self._limits.entries} members")

    def _describe_root(self, entry: Entry) -> None:
        fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._root)
        try:
            self._describe(fd, entry)
        finally:
            os.close(fd)
        self._times["."] = entry.mtime_ns

    def _directory(self, parent: int, name: str, path: str, entry: Entry) -> None:
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
            found = None
        except FileExistsError:
            found = os.lstat(name, dir_fd=parent)
        hides = found is not None and _is_whiteout(found)
        if found is not None and not stat.S_ISDIR(found.st_mode):
            self._may_replace(path, directory=False)
            self._remove(parent, name)
            os.mkdir(name, 0o700, dir_fd=parent)
        fd = deleting.open_directory(parent, name)
        try:
            self._describe(fd, entry)
            if hides:  # what is below stays hidden behind the new directory
                os.setxattr(fd, self._opaque, b"y")
        finally:
            os.close(fd)
        self._times[path] = entry.mtime_ns

    def _make(self, parent: int, name: str, entry: Entry, members: tarformat.Members) -> None:
        """A member that is no directory. What is in its place goes, whatever it is."""
        try:
            self._make_new(parent, name, entry, members)
        except FileExistsError:
            if stat.S_ISDIR(os.lstat(name, dir_fd=parent).st_mode):
                self._may_replace(name, directory=True)
            self._remove(parent, name)
            self._make_new(parent, name, entry, members)

    def _may_replace(self, path: str, *, directory: bool) -> None:
        if not self._replace:
            kinds = ("directory", "non-directory")
            old, new = kinds if directory else kinds[::-1]
            raise errors.LabError(f"cannot overwrite {old} {path!r} with {new}")

    def _make_new(self, parent: int, name: str, entry: Entry, members: tarformat.Members) -> None:
        if entry.kind == FILE:
            fd = os.open(name, _NEW, 0o600, dir_fd=parent)
            try:
                members.copy(entry, fd)
                self._describe(fd, entry)
                os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))
            finally:
                os.close(fd)
            return
        if entry.kind == LINK:
            self._link(parent, name, entry)
            return
        if entry.kind == SYMLINK:
            os.symlink(entry.target, name, dir_fd=parent)
        elif not self._node(parent, name, entry):
            return
        self._own_by_name(parent, name, entry)
        os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=parent, follow_symlinks=False)

    def _link(self, parent: int, name: str, entry: Entry) -> None:
        folder, _, base = inside(entry.target).rpartition("/")
        try:
            there = confined.open_in(self._root, folder or ".", _DIR)
        except OSError as error:
            raise wrongs.bad_link(entry, error) from None
        try:
            os.link(base, name, src_dir_fd=there, dst_dir_fd=parent, follow_symlinks=False)
        except FileExistsError:
            found, new = os.lstat(name, dir_fd=parent), os.lstat(base, dir_fd=there)
            if (found.st_dev, found.st_ino) != (new.st_dev, new.st_ino):
                raise
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise wrongs.bad_link(entry, error) from None
        finally:
            os.close(there)

    def _node(self, parent: int, name: str, entry: Entry) -> bool:
        """A device or a pipe; false where this user can't make devices, as without root."""
        if entry.kind == FIFO:
            os.mkfifo(name, 0o600, dir_fd=parent)
            return True
        if entry.kind == CHAR and not (entry.major or entry.minor):
            # It would be a whiteout of overlayfs, which a layer says otherwise.
            raise errors.LabError(f"the archive's {entry.name!r} is a device 0:0")
        kind = stat.S_IFCHR if entry.kind == CHAR else stat.S_IFBLK
        try:
            os.mknod(name, kind | 0o600, os.makedev(entry.major, entry.minor), dir_fd=parent)
        except PermissionError:
            return False
        return True

    # --- owner, mode, attributes ------------------------------------------------------------------

    def _describe(self, fd: int, entry: Entry) -> None:
        """Owner, then mode, since chown(2) takes set-user-id away, then attributes."""
        if self._owners:
            try:
                os.fchown(fd, entry.uid, entry.gid)
            except OSError as error:
                raise wrongs.not_ours(entry, error) from error
        os.fchmod(fd, entry.mode)
        for name, value in entry.xattrs.items():
            if name.startswith(_OVERLAYS):
                continue
            try:
                os.setxattr(fd, name, value)
            except OSError as error:
                if error.errno not in (errno.ENOTSUP, errno.EPERM):
                    raise wrongs.bad_attribute(entry, name, error) from error

    def _own_by_name(self, parent: int, name: str, entry: Entry) -> None:
        if self._owners:
            try:
                os.chown(name, entry.uid, entry.gid, dir_fd=parent, follow_symlinks=False)
            except OSError as error:
                raise wrongs.not_ours(entry, error) from error
        if entry.kind != SYMLINK:
            # `docker cp` writes where a container does, so the name may be a link by now: held by
            # its descriptor it is followed to nowhere, and chmod(2) refuses (EOPNOTSUPP).
            fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
            try:
                os.chmod(_readable(fd), entry.mode)
            finally:
                os.close(fd)

    def finish(self) -> None:
        """The times of directories, when nothing is written into them any more."""
        for path, when in self._times.items():
            try:
                fd = confined.open_in(
                    self._root, path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
                )
            except OSError:
                continue  # replaced, or taken away, later in the archive
            os.utime(fd, ns=(when, when))
            os.close(fd)

    # --- what is gone -----------------------------------------------------------------------------

    def _whiteout(self, folder: str, name: str) -> None:
        if name == OPAQUE:
            self._make_opaque(folder)
            return
        hidden = name.removeprefix(WHITEOUT)
        if hidden.startswith(WHITEOUT):
            return  # aufs' own books, which some archives still carry
        if hidden in ("", ".", ".."):
            raise errors.LabError(f"the archive has a whiteout of {hidden!r}")
        path = f"{folder}/{hidden}".lstrip("/")
        parent = self._parent(folder)
        if self._in_place:
            if path not in self._own:
                self._remove(parent, hidden)
            return
        try:
            # No privilege is needed for this one node, Linux 5.8.
            os.mknod(hidden, stat.S_IFCHR | 0o000, os.makedev(0, 0), dir_fd=parent)
        except FileExistsError:  # this layer has made it anew: only what is below is hidden
            if stat.S_ISDIR(os.lstat(hidden, dir_fd=parent).st_mode):
                self._set_opaque(parent, hidden)

    def _make_opaque(self, folder: str) -> None:
        fd = self._parent(folder)
        if not self._in_place:
            self._set_opaque(fd, ".")
            return
        for name in os.listdir(_readable(fd)):
            path = f"{folder}/{name}".lstrip("/")
            if path not in self._own:
                self._remove(fd, name)

    def _set_opaque(self, parent: int, name: str) -> None:
        fd = deleting.open_directory(parent, name)
        try:
            os.setxattr(fd, self._opaque, b"y")
        finally:
            os.close(fd)

    def _remove(self, parent: int, name: str) -> None:
        """Delete whatever has the name; nothing is no error."""
        try:
            kind = stat.S_IFMT(os.lstat(name, dir_fd=parent).st_mode)
        except FileNotFoundError:
            return
        deleting.remove(parent, name)
        if kind in (stat.S_IFDIR, stat.S_IFLNK):
            self._forget(but=parent)  # any path may have led through it


def inside(name: str) -> str:
    """The path of a member inside the root, its parts joined by single slashes; "" for the root.

    Raises:
        LabError: a part of it is `..`.
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if len(name) > LONGEST or len(parts) > DEEPEST:
        raise errors.LabError(f"the archive has a name of {len(name)} letters: {name[:60]!r}…")
    if ".." in parts:
        raise errors.LabError(f"the archive has {name[:200]!r}: '..' in a name is refused")
    return "/".join(parts)


def _readable(fd: int) -> str:
    """A name of what is held with O_PATH, for the calls that want one."""
    return f"/proc/self/fd/{fd}"


def _is_whiteout(found: os.stat_result) -> bool:
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0
