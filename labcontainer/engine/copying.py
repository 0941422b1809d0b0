"""Files of a container from outside: one looked at, copied out or in, all of them, what changed.

Every path is resolved inside the container's root by a descriptor: a link in it, also one that is
swapped in meanwhile (CVE-2018-15664), leads nowhere else.
"""

from __future__ import annotations

import os
import stat

from labcontainer import errors
from labcontainer.build.tree import Tree
from labcontainer.engine import moments, view
from labcontainer.engine.container import Container
from labcontainer.image import diff, layers, packing
from labcontainer.kernel import confined
from labcontainer.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from labcontainer.image.compression import Readable
    from labcontainer.image.diff import Writable
    from labcontainer.image.packing import Layer
    from labcontainer.image.store import Store

MODIFIED, ADDED, DELETED = 0, 1, 2
# The bits of Go's os.FileMode above the permissions.
_GO_KINDS = {
    stat.S_IFDIR: 1 << 31,
    stat.S_IFLNK: 1 << 27,
    stat.S_IFBLK: 1 << 26,
    stat.S_IFIFO: 1 << 25,
    stat.S_IFSOCK: 1 << 24,
    stat.S_IFCHR: 1 << 26 | 1 << 21,
}
_GO_BITS = {stat.S_ISUID: 1 << 23, stat.S_ISGID: 1 << 22, stat.S_ISVTX: 1 << 20}


class ReadOnlyError(errors.LabError):
    """What is to be written is read-only: 403, as Docker has it."""


class Place(Record):
    """A path in a container: the directory above it, open, and its last name; "" for `/`."""

    parent: int
    name: str

    def stat(self) -> os.stat_result:
        """What is there; a link itself."""
        return os.stat(self.name or ".", dir_fd=self.parent, follow_symlinks=False)


def volumes(container: Container) -> tuple[tuple[str, str], ...]:
    """Where the files of its volumes are, and where they are seen."""
    return tuple(
        (str(one["Source"]), str(one["Destination"]))
        for one in container.mounts
        if one["Type"] in ("bind", "volume") and one.get("Source")
    )


class Files:
    """A container's files, with its volumes, until the block ends."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self._view = view.View(container, volumes(container))

    def __enter__(self) -> Files:
        return self

    def __exit__(self, *_: object) -> None:
        self._view.close()

    def find(self, path: str) -> Place:
        """A path; its last part is not followed, unless a slash behind it asks for that.

        Raises:
            NotFoundError: nothing is there.
        """
        clean = _clean(path)
        above, _, name = clean.rpartition("/")
        try:
            if path.endswith(("/", "/.")) and name:
                above, name = clean, ""
            parent = confined.open_in(self._view.fd, above or "/", os.O_PATH | os.O_DIRECTORY)
            place = Place(parent, name)
            place.stat()
            return place
        except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
            if isinstance(error, NotADirectoryError) and path.endswith("/"):
                raise errors.UsageError(f"{path}: not a directory") from None
            raise errors.NotFoundError(
                f"Could not find the file {path} in container {self._container.id}"
            ) from None
        except OSError as error:
            raise errors.LabError(f"{path}: {error.strerror}") from error

    def describe(self, path: str) -> dict[str, Any]:
        """What Docker tells of a path in a header."""
        place = self.find(path)
        found = place.stat()
        target = ""
        if stat.S_ISLNK(found.st_mode):
            target = os.readlink(place.name, dir_fd=place.parent)
            target = os.path.normpath(os.path.join(os.path.dirname(_clean(path)), target))
        os.close(place.parent)
        return {
            "name": os.path.basename(_clean(path)) or "/",
            "size": found.st_size,
            "mode": go_mode(found.st_mode),
            "mtime": moments.of(found.st_mtime_ns),
            "linkTarget": target,
        }

    def get(self, path: str, out: Writable) -> None:
        """Write a path, with all below it, as a tar archive in which it has its own last name."""
        place = self.find(path)
        name = "." if path.endswith("/.") else os.path.basename(_clean(path)) or "/"
        try:
            diff.pack_member(place.parent, place.name or ".", name, out)
        finally:
            os.close(place.parent)

    def put(
        self, path: str, stream: Readable, *, replace: bool = True, owners: bool = True
    ) -> None:
        """Unpack a tar archive in a directory.

        Args:
            replace: a directory may take the place of a file, and the other way.
            owners: the files belong to whom the archive says.

        Raises:
            NotFoundError: the directory is not there. UsageError: it is none.
            ReadOnlyError: it can't be written.
        """
        self._check_writable(path)
        place = self.find(path if path.endswith("/") else f"{path}/")
        try:
            fd = os.open(place.name or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC,
                         dir_fd=place.parent)  # fmt: skip
        finally:
            os.close(place.parent)
        try:
            layers.apply(stream, fd, whiteouts="none", owners=owners, replace=replace)
        except errors.LabError as error:
            raise errors.UsageError(str(error)) from None
        finally:
            os.close(fd)

    def _check_writable(self, path: str) -> None:
        clean = _clean(path)
        inside = [one for one in self._container.mounts
                  if f"{clean}/".startswith(f"{str(one['Destination']).rstrip('/')}/")]  # fmt: skip
        if inside:
            nearest = max(inside, key=lambda one: len(one["Destination"]))
            if not nearest.get("RW", True):
                raise ReadOnlyError("mounted volume is marked read-only")
        elif self._container.host["ReadonlyRootfs"]:
            raise ReadOnlyError("container rootfs is marked read-only")


def _clean(path: str) -> str:
    """An absolute path; os.path.normpath leaves two slashes at the beginning as they are."""
    return os.path.normpath(f"/{path.lstrip('/')}")


def go_mode(mode: int) -> int:
    """A mode as Go's os.FileMode has it."""
    found = stat.S_IMODE(mode) & 0o777 | _GO_KINDS.get(stat.S_IFMT(mode), 0)
    for bit, go in _GO_BITS.items():
        found |= go if mode & bit else 0
    return found


def export(container: Container, out: Writable) -> None:
    """All of its own files, without what is mounted in it, as a tar archive."""
    with view.patiently(lambda: view.View(container, alone=True)) as root:
        fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root.fd)
        try:
            diff.pack(fd, out)
        finally:
            os.close(fd)


# --- what it has changed --------------------------------------------------------------------------


def layer(container: Container, store: Store) -> Layer:
    """What it has written, as a layer in the store."""
    return packing.store_layer(store, lambda out: _pack(container, out))


def _pack(container: Container, out: Writable) -> diff.Packed:
    copied = view.is_copied(container)
    names = ("before", "root") if copied else ("upper",)
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    opened = [os.open(f"{container.home}/{name}", flags) for name in names]
    try:
        if copied:
            return diff.pack_changes(opened[0], opened[1], out)
        return diff.pack_upper(opened[0], out)
    finally:
        for fd in opened:
            os.close(fd)


def changes(container: Container) -> list[dict[str, Any]]:
    """What is different from the image: paths with 0 modified, 1 added, 2 deleted; sorted."""
    if view.is_copied(container):
        before = Tree((f"{container.home}/before",))
        found = dict(_told(_packed_names(container), before))
    else:
        before = Tree((f"{container.home}/init", *container.lowers))
        found = dict(_told(_upper_names(f"{container.home}/upper"), before))
    return [{"Path": path, "Kind": kind} for path, kind in sorted(found.items())]


def _told(names: Iterator[tuple[str, bool]], before: Tree) -> Iterator[tuple[str, int]]:
    for path, gone in names:
        was = before.lstat(path) is not None
        if not gone or was:
            yield f"/{path}", DELETED if gone else MODIFIED if was else ADDED


def _upper_names(upper: str, below: str = "") -> Iterator[tuple[str, bool]]:
    """Each path that an upper directory has, and whether it is only marked as gone."""
    with os.scandir(f"{upper}/{below}") as entries:
        for entry in sorted(entries, key=lambda one: one.name):
            path = f"{below}/{entry.name}".lstrip("/")
            about = entry.stat(follow_symlinks=False)
            gone = stat.S_ISCHR(about.st_mode) and about.st_rdev == 0
            yield path, gone
            if entry.is_dir(follow_symlinks=False):
                yield from _upper_names(upper, path)


def _packed_names(container: Container) -> Iterator[tuple[str, bool]]:
    import tarfile
    import tempfile

    with tempfile.TemporaryFile() as file:
        _pack(container, file)
        file.seek(0)
        with tarfile.open(fileobj=file) as archive:
            for member in archive:
                folder, _, name = member.name.rpartition("/")
                gone = name.startswith(layers.WHITEOUT)
                name = name.removeprefix(layers.WHITEOUT)
                yield f"{folder}/{name}".lstrip("/"), gone
