"""What one student has handed in: the files of the course in a folder or an archive, as bytes.

Nothing of it is trusted. A home folder is its owner's, who may put links into it while it is read;
an archive may hold any path, and a gigabyte of zeros in a kilobyte. So every file is opened without
following links, relative to the folder that was opened before, and everything is counted.
"""

from __future__ import annotations

import io
import os
import re
import stat
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any, NoReturn

from labcontainer.errors import LabError
from labcontainer.lab import exercise
from labcontainer.record import Record

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2")
LARGEST = 16 << 20  # bytes of one file
LARGEST_OF_ALL = 128 << 20  # bytes of all that is read of one student
MOST = 20_000  # entries of a folder or an archive
DEEPEST = 8  # folders in one another


class Refused(LabError):
    """A submission that is not taken; the text says why."""


class File(Record):
    """One file of the course. `time` is when it was changed, in seconds since 1970."""

    path: str  # where it was found
    data: bytes
    time: float


def canonical(path: str, notebooks: set[str]) -> str:
    """Where a file of the course goes in a collected submission; "" for any other file."""
    *above, name = PurePosixPath(path).parts
    if any(part.startswith(".") for part in (*above, name)):
        return ""
    if name.endswith(".ipynb") and name.removesuffix(".ipynb") in notebooks:
        return f"notebooks/{name}"
    if name == "progress.json":
        return "mycontainer/progress.json"
    if above and above[-1] == "mycontainer" and re.fullmatch(r"[a-z_]{1,64}\.py", name):
        return f"mycontainer/{name}"
    return ""


def read(source: Path) -> dict[str, File]:
    """The files of the course in a folder or an archive, by their canonical path.

    Of several with one canonical path the one nearest to the top counts, of those the newest.

    Raises:
        Refused: it is hostile, or too large, or can't be read, or holds nothing of the course.
    """
    notebooks = {item.notebook for item in exercise.every()}
    found: dict[str, File] = {}
    total = 0
    for file in _files(source, notebooks):
        total += len(file.data)
        if total > LARGEST_OF_ALL:
            raise Refused(f"more than {LARGEST_OF_ALL >> 20} MB of files")
        place = canonical(file.path, notebooks)
        if place not in found or _rank(file) < _rank(found[place]):
            found[place] = file
    if not found:
        raise Refused("no notebook, no mycontainer/, no progress.json of the course is in it")
    return found


def _rank(file: File) -> tuple[int, float]:
    return file.path.count("/"), -file.time


def _files(source: Path, notebooks: set[str]) -> Iterator[File]:
    if source.is_dir():
        return _of_folder(source, notebooks)
    if source.name.endswith(".zip"):
        return _of_zip(source, notebooks)
    return _of_tar(source, notebooks)


# --- a folder -----------------------------------------------------------------------------------


def _of_folder(source: Path, notebooks: set[str]) -> Iterator[File]:
    count = 0
    for folder, names, files, fd in os.fwalk(source, follow_symlinks=False):
        here = PurePosixPath(folder).relative_to(source)
        deep = len(here.parts) >= DEEPEST
        names[:] = [] if deep else sorted(one for one in names if not one.startswith("."))
        count += len(names) + len(files)
        if count > MOST:
            raise Refused(f"more than {MOST} files")
        for name in sorted(files):
            if canonical(path := str(here / name), notebooks):
                yield _opened(path, name, fd)


def _opened(path: str, name: str, folder: int) -> File:
    """One file of a folder: a regular one, that no link leads to."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        fd = os.open(name, flags, dir_fd=folder)
    except OSError as error:
        raise Refused(f"{path} is a link, or can't be read ({error.strerror})") from None
    with open(fd, "rb") as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise Refused(f"{path} is not a regular file")
        if status.st_nlink != 1:
            raise Refused(f"{path} has another name elsewhere (a hard link)")
        return File(path, _bounded(file, path), status.st_mtime)


def _bounded(file: IO[bytes], path: str) -> bytes:
    data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise Refused(f"{path} is larger than {LARGEST >> 20} MB")
    return data


# --- an archive ---------------------------------------------------------------------------------

# All that unpacking damaged or hostile input may raise in these two modules.
_BROKEN = (tarfile.TarError, zipfile.BadZipFile, OSError, EOFError, ValueError, RuntimeError)


def _of_zip(source: Path, notebooks: set[str]) -> Iterator[File]:
    time = source.stat().st_mtime  # those inside are what the student's clock said
    try:
        with zipfile.ZipFile(source) as archive:
            _checked(one.filename for one in archive.infolist())
            for member in archive.infolist():
                if stat.S_ISLNK(member.external_attr >> 16):
                    raise Refused(f"{member.filename} is a link")
                if not member.is_dir() and canonical(member.filename, notebooks):
                    with archive.open(member) as file:
                        yield File(member.filename, _bounded(file, member.filename), time)
    except _BROKEN as error:
        _refuse_broken(error)


def _of_tar(source: Path, notebooks: set[str]) -> Iterator[File]:
    time = source.stat().st_mtime
    try:
        with tarfile.open(fileobj=_unpacked(source)) as archive:
            seen: list[str] = []
            for member in archive:
                seen.append(member.name)
                _checked(seen[-1:], len(seen))
                if not (member.isfile() or member.isdir()):
                    raise Refused(f"{member.name} is a link or a device")
                if member.isfile() and canonical(member.name, notebooks):
                    file = archive.extractfile(member)
                    assert file is not None
                    yield File(member.name, _bounded(file, member.name), time)
    except _BROKEN as error:
        _refuse_broken(error)


def _unpacked(source: Path) -> IO[bytes]:
    """The unpacked bytes of a tar file, not more than a submission may have.

    Raises:
        Refused: there are more.
    """
    import bz2
    import gzip
    import lzma

    with source.open("rb") as plain:
        start = plain.read(2)
    file: Any
    if start == b"\x1f\x8b":
        file = gzip.open(source, "rb")
    elif start == b"BZ":
        file = bz2.open(source, "rb")
    elif start == b"\xfd7":
        file = lzma.open(source, "rb")
    else:
        file = source.open("rb")
    with file:
        data: bytes = file.read(LARGEST_OF_ALL + 1)
    if len(data) > LARGEST_OF_ALL:
        raise Refused(f"more than {LARGEST_OF_ALL >> 20} MB when unpacked")
    return io.BytesIO(data)


def _checked(names: Iterable[str], count: int = 0) -> None:
    """Refuse paths that lead out, and too many of them: who packs such means no good."""
    for name in names:
        count += 1
        if count > MOST:
            raise Refused(f"more than {MOST} entries")
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
            raise Refused(f"{name[:80]!r} leads out of the archive")


def _refuse_broken(error: BaseException) -> NoReturn:
    if isinstance(error, Refused):
        raise error
    raise Refused(
        f"it can't be unpacked ({(str(error).splitlines() or ['no word'])[0][:80]})"
    ) from None
