"""The entries of a planned root file system, and how they are written: all of them, or nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from labcontainer import errors
from labcontainer.undo import Undo


@dataclass(frozen=True)
class Entry:
    """One file, directory or link of the root file system, and why it is there."""

    path: str
    kind: str  # "dir", "file", "link"
    why: str
    mode: int = 0
    size: int = 0
    source: str = ""  # file: the host's path; "" when `data` holds the bytes
    target: str = ""  # link
    data: bytes = field(default=b"", repr=False)

    def __str__(self) -> str:
        head = f"{self.kind:4} {self.mode:04o} {self.size:>9} {self.path}"
        return f"{head}{f' -> {self.target}' if self.target else ''}  # {self.why}"


def write(entries: Iterable[Entry], root: str) -> None:
    """Write planned entries below `root`, an empty directory. Times are the sources', else 0."""
    directories = []
    for entry in entries:
        place = root + entry.path
        if entry.kind == "dir":
            os.mkdir(place, 0o700)
            directories.append(entry)
        elif entry.kind == "link":
            os.symlink(entry.target, place)
            os.utime(place, (0, 0), follow_symlinks=False)
        else:
            _write_file(entry, place)
    for entry in reversed(directories):
        os.chmod(root + entry.path, entry.mode)
        os.utime(root + entry.path, (0, 0))
    os.chmod(root, 0o755)
    os.utime(root, (0, 0))


def _write_file(entry: Entry, place: str) -> None:
    moment = 0
    with open(place, "xb") as output:
        if entry.source:
            with open(entry.source, "rb") as source:
                moment = os.fstat(source.fileno()).st_mtime_ns
                _copy(source.fileno(), output.fileno())
        else:
            output.write(entry.data)
    os.chmod(place, entry.mode)
    os.utime(place, ns=(moment, moment))


def _copy(source: int, output: int) -> None:
    """copy_file_range(2): btrfs and XFS share the blocks (a reflink), others copy in the kernel."""
    try:
        while os.copy_file_range(source, output, 1 << 30):
            pass
    except OSError:
        os.lseek(source, 0, os.SEEK_SET)
        os.ftruncate(output, 0)
        os.lseek(output, 0, os.SEEK_SET)
        while part := os.read(source, 1 << 20):
            os.write(output, part)


def put(entries: Iterable[Entry], target: str, *, replace: bool = False) -> None:
    """Make the tree at `target`: in a hidden directory beside it, which is renamed at the end.

    Raises:
        ExistsError: `target` is there already and `replace` is not set.
        OSError: the disk is full, a file can't be read, …; nothing is left.
    """
    if os.path.lexists(target) and not replace:
        raise errors.ExistsError(f"{target} is there already")
    os.makedirs(os.path.dirname(os.path.abspath(target)), exist_ok=True)
    with Undo() as undo:
        temporary = _temporary(target)
        undo.push(shutil.rmtree, temporary)
        write(entries, temporary)
        _put_in_place(temporary, target, replace)


def _temporary(target: str) -> str:
    """A new hidden directory beside `target`; those of builds that were killed are removed."""
    parent, name = os.path.split(os.path.abspath(target))
    for left in _leftovers(parent, f".{name}.new-"):
        shutil.rmtree(left, ignore_errors=True)
    temporary = f"{parent}/.{name}.new-{os.getpid()}"
    os.mkdir(temporary, 0o700)
    return temporary


def _leftovers(parent: str, prefix: str) -> Iterator[str]:
    for name in os.listdir(parent):
        owner = name.removeprefix(prefix)
        if name.startswith(prefix) and owner.isdigit() and not os.path.exists(f"/proc/{owner}"):
            yield f"{parent}/{name}"


def _put_in_place(temporary: str, target: str, replace: bool) -> None:
    if replace and os.path.lexists(target):
        old = f"{temporary}-old"
        os.rename(target, old)
        os.rename(temporary, target)
        shutil.rmtree(old)
        return
    try:
        os.rename(temporary, target)
    except OSError as error:
        raise errors.ExistsError(f"{target} is there already") from error
