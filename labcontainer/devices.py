"""The devices of a container: nodes, links in /dev, and the terminal that is its console.

A node is made by mknod(2) where that is allowed. A user namespace may not, so it gets the host's
node by a bind mount. What an image has in the way, a node, a file or a link to somewhere, is
taken away first, and never followed. Sources: runtime-spec config-linux.md "Devices", mknod(2).

All here works on the root file system that is the working directory (`rootfs.prepare`).
"""

from __future__ import annotations

import errno
import os
import stat

from labcontainer.errors import SpecError
from labcontainer.kernel import confined, mounts
from labcontainer.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_HERE = confined.HERE


class Device(Record):
    """A device node. `kind` is "c" or "u" (character), "b" (block) or "p" (FIFO), as mknod(1)."""

    path: str
    kind: str
    major: int = 0
    minor: int = 0
    mode: int = 0o666
    uid: int = 0
    gid: int = 0

    def __str__(self) -> str:
        owner = f" owner {self.uid}:{self.gid}" if self.uid or self.gid else ""
        return (
            f"mknod {self.path} {self.kind} {self.major}:{self.minor} mode {self.mode:04o}{owner}"
        )


DEFAULT_DEVICES = (  # runtime-spec config-linux.md, "Default Devices"
    Device("/dev/null", "c", 1, 3),
    Device("/dev/zero", "c", 1, 5),
    Device("/dev/full", "c", 1, 7),
    Device("/dev/random", "c", 1, 8),
    Device("/dev/urandom", "c", 1, 9),
    Device("/dev/tty", "c", 5, 0),
)
DEFAULT_LINKS = (
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/ptmx", "pts/ptmx"),
)


_KINDS = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}


def make(devices: Iterable[Device], links: Iterable[tuple[str, str]] = DEFAULT_LINKS) -> None:
    """Make the nodes and the links; what stands there already is replaced.

    In a user namespace mknod(2) is refused: the host's node of the same path is bound instead.
    """
    folders: dict[str, int] = {}
    mask = os.umask(0)
    try:
        for device in devices:
            folder, _, name = device.path.rpartition("/")
            _make_device(_folder(folder or "/", folders), name, device)
        for link, text in links:
            folder, _, name = link.rpartition("/")
            _make_link(_folder(folder or "/", folders), name, text)
    finally:
        os.umask(mask)
        for fd in folders.values():
            os.close(fd)


def _folder(path: str, folders: dict[str, int]) -> int:
    if path not in folders:
        folders[path] = confined.open_or_make(_HERE, path, directory=True)
    return folders[path]


def _make_device(folder: int, name: str, device: Device) -> None:
    if device.kind not in _KINDS:
        raise SpecError(f"device {device.path}", f"unknown type {device.kind!r}")
    mode, number = _KINDS[device.kind] | device.mode, os.makedev(device.major, device.minor)
    try:
        try:
            os.mknod(name, mode, number, dir_fd=folder)
        except FileExistsError:
            if _is_mounted_node(folder, name, mode, number):
                return
            os.mknod(name, mode, number, dir_fd=folder)
    except PermissionError:
        _bind_device(folder, name, device, number)
        return
    if device.uid or device.gid:
        os.chown(name, device.uid, device.gid, dir_fd=folder, follow_symlinks=False)


def _is_mounted_node(folder: int, name: str, mode: int, number: int) -> bool:
    """Take away what has the name; or true where it is a mount of the right device already."""
    try:
        os.unlink(name, dir_fd=folder)
        return False
    except OSError as error:
        about = os.stat(name, dir_fd=folder, follow_symlinks=False)
        same = stat.S_IFMT(about.st_mode) == stat.S_IFMT(mode) and about.st_rdev == number
        if error.errno == errno.EBUSY and same:
            return True
        raise


def _bind_device(folder: int, name: str, device: Device, number: int) -> None:
    """Show the host's node of the same path: the user namespace's way to a device."""
    about = os.stat(device.path)
    if about.st_rdev != number:
        raise SpecError(f"device {device.path}", "the host's node of that name is another device")
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        pass
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    os.close(os.open(name, flags, 0o666, dir_fd=folder))
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        mounts.bind_file(device.path, fd)
    finally:
        os.close(fd)


def _make_link(folder: int, name: str, text: str) -> None:
    try:
        os.symlink(text, name, dir_fd=folder)
    except FileExistsError:
        try:
            if os.readlink(name, dir_fd=folder) == text:
                return
        except OSError:
            pass  # not a link
        try:
            os.unlink(name, dir_fd=folder)
        except IsADirectoryError:
            return  # an image's own directory: nothing to gain by failing
        os.symlink(text, name, dir_fd=folder)


def bind_console(slave: str | int) -> None:
    """Bind a terminal, given as a path or a descriptor, on /dev/console.

    Works before pivot_root (the working directory is the root) and after it.
    """
    folder = confined.open_or_make(_HERE, "/dev", directory=True)
    try:
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            os.close(os.open("console", flags, 0o600, dir_fd=folder))
        except FileExistsError:
            pass
        console = os.open("console", os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        try:
            if stat.S_ISLNK(os.fstat(console).st_mode):
                raise SpecError("/dev/console", "is a symbolic link")
            if isinstance(slave, int):
                mounts.bind_file("", console, slave)
            else:
                mounts.bind_file(slave, console)
        finally:
            os.close(console)
    finally:
        os.close(folder)
