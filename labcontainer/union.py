"""A union of directories by hand, with overlayfs's own marks on disk.

Several read-only directories (`lowers`, the top one first) and one writable (`upper`) look like one
tree. What is changed is copied up first; what is removed leaves a *whiteout*, a character device
0:0, in the upper; a directory that must not show what lies below is *opaque*, by an xattr.
The kernel reads the same marks: an upper written here can be mounted with `overlay.mount`, and the
other way round. Source: Linux, Documentation/filesystems/overlayfs.rst.

Paths are relative to the top of the union; symbolic links are entries and are not followed.
"""

from __future__ import annotations

import errno
import os
import stat

from labcontainer.kernel import trees

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def is_whiteout(path: str) -> bool:
    """Whether an entry says "nothing here, whatever lies below"."""
    try:
        about = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return stat.S_ISCHR(about.st_mode) and about.st_rdev == 0


def make_whiteout(path: str) -> None:
    """Leave a whiteout. Since Linux 5.8 any user may make this one device."""
    os.mknod(path, stat.S_IFCHR, 0)


class Union:
    """One tree of many directories. `user_xattr` takes user.overlay.* marks, for ordinary users."""

    def __init__(self, lowers: tuple[str, ...], upper: str, *, user_xattr: bool = False) -> None:
        self.lowers = lowers
        self.upper = upper
        self.opaque_mark = ("user" if user_xattr else "trusted") + ".overlay.opaque"

    # --- looking ---------------------------------------------------------------------------------

    def find(self, path: str) -> list[str]:
        """The real entries that make up `path`, the top one first; empty where there is none.

        More than one only for a directory, whose contents are merged.
        """
        layers = [self.upper, *self.lowers]
        for name in _names(path):
            layers = self._step(layers, name)
        return layers

    def _step(self, directories: list[str], name: str) -> list[str]:
        """One component further: which of these merged directories have it, and which count."""
        found: list[str] = []
        for directory in directories:
            entry = f"{directory}/{name}"
            if is_whiteout(entry):
                break  # removed: what lies below does not show
            if not os.path.lexists(entry):
                continue
            if os.path.islink(entry) or not os.path.isdir(entry):
                return found or [entry]  # a file hides all below; below a directory it is hidden
            found.append(entry)
            if self.is_opaque(entry):
                break
        return found

    def is_opaque(self, directory: str) -> bool:
        """Whether a real directory hides what the layers below have in the same place."""
        try:
            return os.getxattr(directory, self.opaque_mark, follow_symlinks=False) == b"y"
        except OSError:
            return False

    def exists(self, path: str) -> bool:
        """Whether the union shows an entry of that path."""
        return bool(self.find(path))

    def listdir(self, path: str = "") -> list[str]:
        """The names that a directory shows, sorted."""
        shown: set[str] = set()
        gone: set[str] = set()
        for directory in self.find(path):
            for name in os.listdir(directory):
                if name in shown or name in gone:
                    continue
                (gone if is_whiteout(f"{directory}/{name}") else shown).add(name)
        return sorted(shown)

    def read(self, path: str) -> bytes:
        """The contents of a file."""
        with open(self._top(path), "rb") as file:
            return file.read()

    def _top(self, path: str) -> str:
        entries = self.find(path)
        if not entries:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return entries[0]

    def _below(self, path: str) -> bool:
        """Whether the layers under the upper have `path`: then removing it takes a whiteout."""
        parent, name = os.path.split(path)
        below = [entry for entry in self.find(parent) if not self._is_upper(entry)]
        return bool(self._step(below, name))

    def _is_upper(self, entry: str) -> bool:
        return entry == self.upper or entry.startswith(self.upper + "/")

    # --- changing --------------------------------------------------------------------------------

    def copy_up(self, path: str) -> str:
        """Bring an entry into the upper directory, its parents too; its real path there."""
        entry, target = self._top(path), f"{self.upper}/{path}".rstrip("/")
        if self._is_upper(entry):
            return entry
        parent = self.copy_up(os.path.dirname(path))
        name = os.path.basename(path)
        if os.path.isdir(entry) and not os.path.islink(entry):
            os.mkdir(target, 0o700)
            _copy_attributes(entry, target)
            return target
        source, into = os.open(os.path.dirname(entry), _DIRECTORY), os.open(parent, _DIRECTORY)
        try:
            trees.copy_entry(source, into, name)
        finally:
            os.close(source)
            os.close(into)
        return target

    def write(self, path: str, data: bytes, *, append: bool = False) -> None:
        """Write a file, new or not; a lower one is copied up first, whole, even for one byte."""
        if self.exists(path):
            target = self.copy_up(path)
        else:
            target = self._new(path)
        with open(target, "ab" if append else "wb") as file:
            file.write(data)

    def _new(self, path: str) -> str:
        """The real path of an entry that is to be made: its parent is up, its whiteout is off."""
        parent, name = os.path.split(path)
        target = f"{self.copy_up(parent)}/{name}"
        if is_whiteout(target):
            os.unlink(target)
        return target

    def mkdir(self, path: str) -> None:
        """Make a directory; where one was removed, opaque, so that the old contents stay away."""
        if self.exists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        hides = self._below(path)
        target = self._new(path)
        os.mkdir(target, 0o755)
        if hides:
            os.setxattr(target, self.opaque_mark, b"y")

    def remove(self, path: str) -> None:
        """Remove a file, link or empty directory."""
        entry = self._top(path)
        directory = os.path.isdir(entry) and not os.path.islink(entry)
        if directory and self.listdir(path):
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), path)
        hides = self._below(path)
        if self._is_upper(entry):
            if directory:
                for name in os.listdir(entry):  # nothing but whiteouts is left in it
                    os.unlink(f"{entry}/{name}")
                os.rmdir(entry)
            else:
                os.unlink(entry)
        if hides:
            make_whiteout(self._new(path))

    def rename(self, old: str, new: str) -> None:
        """Rename: a copy, then a whiteout where the old one was.

        A directory of a lower layer can't be renamed so: EXDEV, and programs like mv copy it.
        """
        entry = self._top(old)
        if old == new:
            return
        directory = os.path.isdir(entry) and not os.path.islink(entry)
        if directory and (not self._is_upper(entry) or len(self.find(old)) > 1):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), old)
        if f"{new}/".startswith(f"{old}/"):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), new)
        if self.exists(new):
            self._check_replaced(new, directory)
            self.remove(new)
        hides, hides_new = self._below(old), self._below(new)
        source = self.copy_up(old)
        target = self._new(new)
        os.rename(source, target)
        if directory and hides_new:
            os.setxattr(target, self.opaque_mark, b"y")
        if hides:
            make_whiteout(f"{self.copy_up(os.path.dirname(old))}/{os.path.basename(old)}")

    def _check_replaced(self, new: str, directory: bool) -> None:
        entry = self._top(new)
        other = os.path.isdir(entry) and not os.path.islink(entry)
        if directory != other:
            code = errno.EISDIR if other else errno.ENOTDIR
            raise OSError(code, os.strerror(code), new)

    # --- whole trees -----------------------------------------------------------------------------

    def walk(self, path: str = "") -> list[str]:
        """Every path that the union shows, parents first."""
        paths: list[str] = []
        for name in self.listdir(path):
            inner = f"{path}/{name}".lstrip("/")
            paths.append(inner)
            entry = self._top(inner)
            if os.path.isdir(entry) and not os.path.islink(entry):
                paths += self.walk(inner)
        return paths

    def copy_to(self, target: str) -> None:
        """Copy what the union shows into one ordinary directory: the way without overlayfs."""
        seen: dict[tuple[int, int], str] = {}
        top = os.open(target, _DIRECTORY)
        try:
            for path in self.walk():
                entry = self._top(path)
                if os.path.isdir(entry) and not os.path.islink(entry):
                    os.mkdir(f"{target}/{path}", 0o700)
                else:
                    self._copy_one(entry, path, top, seen)
            for path in reversed(["", *self.walk()]):  # times last, when nothing is added any more
                entry = self._top(path)
                if os.path.isdir(entry) and not os.path.islink(entry):
                    _copy_attributes(entry, f"{target}/{path}")
        finally:
            os.close(top)

    def _copy_one(self, entry: str, path: str, top: int, seen: dict[tuple[int, int], str]) -> None:
        parent, _ = os.path.split(path)
        source = os.open(os.path.dirname(entry), _DIRECTORY)
        into = os.open(parent or ".", _DIRECTORY, dir_fd=top)
        try:
            prefix = f"{parent}/" if parent else ""
            trees.copy_entry(source, into, os.path.basename(entry), prefix, top, seen)
        finally:
            os.close(source)
            os.close(into)


def _names(path: str) -> list[str]:
    return [name for name in path.split("/") if name not in ("", ".")]


def _copy_attributes(source: str, target: str) -> None:
    read, write = os.open(source, _DIRECTORY), os.open(target, _DIRECTORY)
    try:
        trees.copy_attributes(read, write)
    finally:
        os.close(read)
        os.close(write)
