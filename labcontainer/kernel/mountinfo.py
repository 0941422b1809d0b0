"""The mount table of this process's mount namespace: proc_pid_mountinfo(5).

36 35 98:0 /mnt1 /mnt2 rw,noatime shared:1 master:2 - ext3 /dev/root rw,errors=continue
                  point            tags
"""

from __future__ import annotations

import os

from labcontainer.kernel import files
from labcontainer.record import Record


class Entry(Record):
    """One mount. `tags` tell of its peers: `shared:N`, `master:N` (a slave's), `unbindable`."""

    point: str
    tags: tuple[str, ...] = ()

    def has(self, kind: str) -> bool:
        """Whether it is `shared` with others, or has a `master`."""
        return any(tag.startswith(f"{kind}:") for tag in self.tags)


def read_table(text: str) -> list[Entry]:
    """The mounts, in the order in which they were made."""
    found = []
    for line in text.splitlines():
        words = line.split(" ")
        found.append(Entry(_unescaped(words[4]), tuple(words[6 : words.index("-")])))
    return found


def _unescaped(word: str) -> str:
    r"""A path: space, tab, newline and backslash are `\040` and the like."""
    first, *rest = word.split("\\")
    return first + "".join(chr(int(part[:3], 8)) + part[3:] for part in rest)


def table() -> list[Entry]:
    """The mounts of now."""
    return read_table(files.read("/proc/self/mountinfo"))


def is_mounted(path: str) -> bool:
    """Whether a path is a mount point, a bind mount's too.

    It is not looked at itself: it may belong to a server that does not answer.
    """
    above, _, name = path.rpartition("/")
    point = os.path.join(os.path.realpath(above or "/"), name)
    return any(entry.point == point for entry in table())


def holding(path: str) -> Entry:
    """The mount that a path is on: the last one at the longest point."""
    found, path = Entry("/"), os.path.realpath(path)
    for entry in table():
        above = entry.point.rstrip("/") + "/"
        if f"{path}/".startswith(above) and len(entry.point) >= len(found.point):
            found = entry
    return found
