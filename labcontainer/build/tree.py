"""Files of an image, looked up in the directories of its layers without mounting anything.

A COPY needs to know where its destination really is (`/bin` may be a link to `/usr/bin`), and what
is in a source. Both are asked here, for a stack of layers as for a single directory, such as the
build context. Links are followed inside the tree, however they point out of it.
"""

from __future__ import annotations

import os
import stat

from labcontainer import errors

MOST_LINKS = 40  # as the kernel: MAXSYMLINKS, path_resolution(7)
_OPAQUE = ("trusted.overlay.opaque", "user.overlay.opaque")


class Tree:
    """Directories over one another, the top one first, with overlayfs's marks."""

    def __init__(self, directories: tuple[str, ...]) -> None:
        self.directories = directories
        self._merged: dict[str, list[str]] = {"": list(directories)}

    def find(self, path: str) -> list[str]:
        """The real entries of a resolved path, the top one first; several only for a directory."""
        if path in self._merged:
            return self._merged[path]
        parent, _, name = path.rpartition("/")
        found: list[str] = []
        for directory in self.find(parent):
            entry = f"{directory}/{name}"
            try:
                about = os.lstat(entry)
            except (FileNotFoundError, NotADirectoryError):
                continue
            if stat.S_ISCHR(about.st_mode) and about.st_rdev == 0:
                break  # a whiteout: what lies below is gone
            if not stat.S_ISDIR(about.st_mode):
                return found or [entry]
            found.append(entry)
            if is_opaque(entry):
                break
        if found:
            self._merged[path] = found
        return found

    def lstat(self, path: str) -> os.stat_result | None:
        """What is at a resolved path, None for nothing."""
        found = self.find(path)
        return os.lstat(found[0]) if found else None

    def is_directory(self, path: str) -> bool:
        """Whether a resolved path is a directory."""
        about = self.lstat(path)
        return about is not None and stat.S_ISDIR(about.st_mode)

    def listdir(self, path: str) -> list[str]:
        """The names in a resolved directory, sorted."""
        shown: set[str] = set()
        gone: set[str] = set()
        for directory in self.find(path):
            for name in os.listdir(directory):
                if name not in shown and name not in gone:
                    about = os.lstat(f"{directory}/{name}")
                    whiteout = stat.S_ISCHR(about.st_mode) and about.st_rdev == 0
                    (gone if whiteout else shown).add(name)
        return sorted(shown, key=os.fsencode)

    def resolve(self, path: str, *, follow: bool = True) -> str:
        """A path with all links in it followed, without a slash at its ends; "" is the root.

        Parts that are not there stay as they are. `follow` is about the last part.

        Raises:
            LabError: the links are a loop.
        """
        left = [part for part in reversed(path.split("/")) if part not in ("", ".")]
        found = ""
        links = 0
        while left:
            part = left.pop()
            if part == "..":
                found = found.rpartition("/")[0]
                continue
            entry = f"{found}/{part}" if found else part
            about = self.lstat(entry)
            if about is None or not stat.S_ISLNK(about.st_mode) or not (left or follow):
                found = entry
                continue
            links += 1
            if links > MOST_LINKS:
                raise errors.LabError(f"too many levels of symbolic links: /{path.strip('/')}")
            target = os.readlink(self.find(entry)[0])
            found = "" if target.startswith("/") else found
            left += [one for one in reversed(target.split("/")) if one not in ("", ".")]
        return found

    def read(self, path: str) -> str:
        """The text of a file, "" where there is none."""
        found = self.find(self.resolve(path))
        if not found or not os.path.isfile(found[0]):
            return ""
        with open(found[0], encoding="utf-8", errors="surrogateescape") as file:
            return file.read(1 << 22)


def is_opaque(directory: str) -> bool:
    """Whether a real directory hides what the layers below have in the same place."""
    for mark in _OPAQUE:
        try:
            if os.getxattr(directory, mark, follow_symlinks=False) == b"y":
                return True
        except OSError:
            continue  # no such attribute, or none on this file system
    return False


def ids(tree: Tree, text: str) -> tuple[int, int]:
    """(uid, gid) of `user[:group]`, by number or by the tree's own passwd and group.

    Raises:
        NotFoundError: the tree knows no such name.
    """
    user, _, group = text.partition(":")
    uid = gid = 0
    if user.isdecimal():
        uid = gid = int(user)
    elif user:
        uid, gid = _entry(tree, "passwd", user, "user")
    if group.isdecimal():
        gid = int(group)
    elif group:
        gid = _entry(tree, "group", group, "group")[0]
    return uid, gid


def _entry(tree: Tree, file: str, name: str, what: str) -> tuple[int, int]:
    for line in tree.read(f"etc/{file}").splitlines():
        fields = line.split(":")
        if fields[0] == name and len(fields) > 3 and fields[2].isdecimal():
            second = fields[3] if fields[3].isdecimal() else "0"
            return int(fields[2]), int(second)
    raise errors.NotFoundError(f"unable to find {what} {name}: no matching entries in {file} file")
