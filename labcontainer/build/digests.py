"""Digests of files, remembered by what stat(2) says: a file that was not touched is not read again.

The memory is a file for each context: path -> (size, mtime, ctime, inode, digest). Who changes a
file changes its ctime, whatever is done to its mtime.
"""

from __future__ import annotations

import hashlib
import json
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CHUNK = 1 << 20
FRESH = 2 * 10**9  # ns: a file changed just now could change again within one tick of its clock


class Digests:
    """The memory of one context; `save` writes it back."""

    def __init__(self, memory: str = "") -> None:
        self._memory = memory
        self._known: dict[str, list[Any]] = {}
        self._changed = False
        if memory:
            try:
                with open(memory, encoding="utf-8") as file:
                    self._known = json.load(file)
            except (OSError, ValueError):
                self._known = {}  # it is only a memory

    def of(self, path: str, about: os.stat_result) -> str:
        """The sha256 of a file's content, in hexadecimal."""
        facts = [about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino]
        known = self._known.get(path)
        if known is not None and known[:4] == facts:
            return str(known[4])
        digest = _read(path)
        import time

        if time.time_ns() - max(about.st_mtime_ns, about.st_ctime_ns) > FRESH:
            self._known[path] = [*facts, digest]
            self._changed = True
        return digest

    def save(self) -> None:
        """Write the memory, if there is anything new."""
        if self._memory and self._changed:
            from labcontainer.kernel import files

            os.makedirs(os.path.dirname(self._memory), mode=0o700, exist_ok=True)
            files.write_atomically(self._memory, json.dumps(self._known).encode())
            self._changed = False


def _read(path: str) -> str:
    found = hashlib.sha256()
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        while data := os.read(fd, CHUNK):
            found.update(data)
    finally:
        os.close(fd)
    return found.hexdigest()
