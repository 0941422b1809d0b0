"""The file systems of volumes that have options: `-o type=tmpfs -o device=tmpfs -o o=size=10m`.

As with Docker, one is mounted on the volume's `_data` when the first container with it is started,
so that all see the same files, and unmounted with the last. It is in the machine's mount table
meanwhile, which outlives a killed daemon: the next one takes away what nobody uses any more.
"""

from __future__ import annotations

import collections
import os
import re
import socket
import threading

from labcontainer import errors
from labcontainer.kernel import mountinfo, mounts, syscalls
from labcontainer.kernel.flags import MNT, MS
from labcontainer.mounts import parse_mount_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    Document = dict[str, Any]

NETWORK = ("nfs", "cifs")
_ADDRESS = re.compile(r"(?<![^,])addr=([^,]*)")
_SECRET = re.compile(r"(?<![^,])(pass|password|password2)=[^,]*")


class VolumeMounts:
    """Who uses which volume, by the volume's name. Mounting one does not wait for another."""

    def __init__(self) -> None:
        self._users: dict[str, set[str]] = collections.defaultdict(set)
        self._locks: dict[str, threading.Lock] = collections.defaultdict(threading.Lock)

    def hold(self, volume: Document, user: str) -> None:
        """Mount a volume, unless it is mounted; it stays until its last user lets go.

        Raises:
            LabError: the kernel refused, or the server's name has no address.
        """
        with self._locks[volume["Name"]]:
            if not mountinfo.is_mounted(volume["Mountpoint"]):
                _mount(volume["Options"], volume["Mountpoint"])
            self._users[volume["Name"]].add(user)

    def let_go(self, volume: Document, user: str) -> None:
        """One user less; with the last the volume is unmounted."""
        with self._locks[volume["Name"]]:
            self._users[volume["Name"]].discard(user)
            if not self._users[volume["Name"]]:
                _unmount(volume["Mountpoint"])

    def settle(self, volumes: Iterable[Document]) -> None:
        """Unmount what a daemon that was killed has left, and nobody uses."""
        for volume in volumes:
            self.let_go(volume, "")


def _mount(options: dict[str, str], target: str) -> None:
    kind, device, words = (options.get(key, "") for key in ("type", "device", "o"))
    where = f"error while mounting volume '{target}': "
    if not device:
        raise errors.LabError(f"{where}missing device in volume options")
    if kind in NETWORK:
        words = _with_address(kind, device, words, where)
    parsed = parse_mount_options(words.split(","))
    flags, data = parsed["flags"], parsed["data"]
    try:
        syscalls.mount(device, target, kind, flags, data or None)
    except OSError as error:
        why = [f"{where}failed to mount local volume: mount {device}:{target}"]
        why += [f"flags: {flags:#x}"] if flags else []
        shown = _SECRET.sub(r"\1=********", data)
        why += [f"data: {shown}"] if data else []
        said = os.strerror(error.errno or 0).lower()
        raise errors.LabError(f"{', '.join(why)}: {said}") from error
    try:
        _finish(target, flags, parsed["propagation"])
    except OSError:
        _unmount(target)
        raise


def _finish(target: str, flags: int, propagation: int) -> None:
    """What a first mount(2) does not do: a read-only bind, and propagation."""
    if flags & MS.BIND and flags & MS.RDONLY:
        syscalls.mount(None, target, None, flags | MS.REMOUNT)
    for one in mounts.propagations(propagation):
        syscalls.mount(None, target, None, one)


def _with_address(kind: str, device: str, words: str, where: str) -> str:
    """The options with the server's address: the kernel knows no names."""
    given = _ADDRESS.search(words)
    name = given[1] if given else device.lstrip("/").partition("/")[0] if kind == "cifs" else ""
    if not name:
        return words
    try:
        address = str(socket.getaddrinfo(name, None)[0][4][0])
    except OSError as error:
        why = f"lookup {name}: {error.strerror}"
        raise errors.LabError(
            f"{where}error resolving passed in network volume address: {why}"
        ) from error
    if given:
        return words[: given.start(1)] + address + words[given.end(1) :]
    return ",".join(filter(None, (words, f"addr={address}")))


def _unmount(target: str) -> None:
    """All that is mounted there; containers that still have it keep their own mount of it."""
    while mountinfo.is_mounted(target):
        syscalls.umount2(target, MNT.DETACH)
