"""Where root file systems are kept by name, until there is an image store.

As root in /var/lib/labcontainer/roots, as another user in ~/.local/share/labcontainer/roots; the
environment variable LABCONTAINER_HOME names another place for all that labcontainer keeps.
"""

from __future__ import annotations

import os

from labcontainer import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

BUILT_IN = ("busybox", "host")
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")


def home() -> str:
    """The directory of all that labcontainer keeps for this user."""
    chosen = os.environ.get("LABCONTAINER_HOME", "")
    if chosen:
        return os.path.abspath(chosen)
    if os.geteuid() == 0:
        return "/var/lib/labcontainer"
    data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    return f"{data}/labcontainer"


def check_name(name: str) -> str:
    """The name itself, when it may be a directory's name and a word on a command line.

    Raises:
        UsageError: it may not.
    """
    if not name or name[0] in "._-" or not set(name) <= _LETTERS or len(name) > 128:
        raise errors.UsageError(
            f"{name!r} is no name for a root file system: letters, digits, '_', '.', '-', "
            "a letter or digit first"
        )
    return name


def path_of(name: str) -> str:
    """Where the root file system of that name is or would be."""
    return f"{home()}/roots/{check_name(name)}"


def find(image: str) -> str | None:
    """The directory that an image's name or path stands for; None for a name not made yet.

    A word with a slash, `.` and `..` are paths. A directory that is no root file system is refused
    before anything is set up.

    Raises:
        NotFoundError: the path is no directory.
        UsageError: the word can't be a name.
    """
    if "/" in image or image in (".", ".."):
        if not os.path.isdir(image):
            raise errors.NotFoundError(f"root file system {image} does not exist")
        return os.path.realpath(image)
    path = path_of(image)
    return path if os.path.isdir(path) else None


def names() -> list[str]:
    """The names of all root file systems that are kept."""
    try:
        found = os.listdir(f"{home()}/roots")
    except FileNotFoundError:
        return []
    return sorted(name for name in found if not name.startswith("."))


def size(path: str) -> tuple[int, int]:
    """How many files a root file system has and how many bytes they hold."""
    files = size = 0
    for status in _statuses(path):
        files += 1
        size += status.st_size
    return files, size


def _statuses(path: str) -> Iterator[os.stat_result]:
    for directory, _names, files in os.walk(path):
        for name in files:
            place = f"{directory}/{name}"
            if not os.path.islink(place):
                yield os.lstat(place)


def remove(name: str) -> None:
    """Delete a root file system; it is renamed first, so that no half of it can be found.

    Raises:
        NotFoundError: there is none of that name.
    """
    import shutil

    path = path_of(name)
    hidden = f"{home()}/roots/.{name}.gone-{os.getpid()}"
    try:
        os.rename(path, hidden)
    except FileNotFoundError:
        raise errors.NotFoundError(f"root file system {name} does not exist") from None
    shutil.rmtree(hidden)
