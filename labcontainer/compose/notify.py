"""Which files change below directories, by inotify(7): no file is read before something happens.

A watch is of one directory, so each has its own, new ones too. Changes that come close together are
handed out together: an editor writes a file in several steps.
"""

from __future__ import annotations

import os
import select
import struct
from collections.abc import Iterable

from labcontainer.kernel import syscalls
from labcontainer.kernel.flags import IN

_CHANGES = IN.CLOSE_WRITE | IN.ATTRIB | IN.MOVED_FROM | IN.MOVED_TO | IN.CREATE | IN.DELETE
_ISDIR = 0x40000000  # in an event: what it is about is a directory
_HEAD = struct.Struct("iIII")  # struct inotify_event without its name
QUIET = 0.15  # seconds without a change, after which those before are handed out


class Notify:
    """Watches files and whole directories. `wake` in another thread ends `changes`."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._fd = syscalls.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        self._folders: dict[int, str] = {}
        for path in paths:
            self._add(path if os.path.isdir(path) else os.path.dirname(path))

    def close(self) -> None:
        """Watch nothing any more."""
        os.close(self._fd)

    def _add(self, folder: str) -> list[str]:
        """Watch a directory and all below it; the files that are in it now.

        First watched, then looked into: what is made in between is met twice, and never missed.
        """
        try:
            self._folders[syscalls.inotify_add_watch(self._fd, folder, _CHANGES)] = folder
            entries = list(os.scandir(folder))
        except (FileNotFoundError, NotADirectoryError):
            return []  # removed already
        found = [one.path for one in entries if not one.is_dir()]
        for one in entries:
            if one.is_dir(follow_symlinks=False):
                found += self._add(one.path)
        return found

    def changes(self) -> set[str]:
        """Wait for changes; the paths of the files that were written, moved, made or removed."""
        found: set[str] = set()
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        while not found:
            poll.poll(None)
            found |= self._read()
        while poll.poll(QUIET * 1000):
            found |= self._read()
        return found

    def _read(self) -> set[str]:
        try:
            data = os.read(self._fd, 1 << 16)
        except BlockingIOError:
            return set()
        found: set[str] = set()
        place = 0
        while place < len(data):
            watch, mask, _, length = _HEAD.unpack_from(data, place)
            name = data[place + _HEAD.size : place + _HEAD.size + length].rstrip(b"\0")
            place += _HEAD.size + length
            if watch in self._folders and name:
                path = os.path.join(self._folders[watch], os.fsdecode(name))
                found |= self._changed(path, mask)
        return found

    def _changed(self, path: str, mask: int) -> set[str]:
        if not mask & _ISDIR:
            return {path}
        if mask & (IN.CREATE | IN.MOVED_TO) and os.path.isdir(path):
            return set(self._add(path))  # what was written in it before it was watched
        return {path} if mask & (IN.DELETE | IN.MOVED_FROM) else set()
