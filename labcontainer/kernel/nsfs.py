"""What a namespace's descriptor tells about it: ioctl_ns(2)."""

from __future__ import annotations

import errno
import fcntl
import os

from labcontainer.kernel import syscalls

NSFS_MAGIC = 0x6E736673
_GET_USERNS, _GET_PARENT, _GET_NSTYPE, _GET_OWNER_UID = 0xB701, 0xB702, 0xB703, 0xB704


def is_namespace(fd: int) -> bool:
    """Whether a descriptor stands for a namespace at all."""
    return syscalls.fstatfs(fd) == NSFS_MAGIC


def kind(fd: int) -> int:
    """The CLONE.NEW… flag of the namespace behind `fd`."""
    return fcntl.ioctl(fd, _GET_NSTYPE)


def owner(fd: int) -> int:
    """A descriptor of the user namespace whose root rules over this one; -1 where it is hidden."""
    return _related(fd, _GET_USERNS)


def parent(fd: int) -> int:
    """A descriptor of the parent of a PID or user namespace; -1 where it is hidden."""
    return _related(fd, _GET_PARENT)


def _related(fd: int, request: int) -> int:
    try:
        found = fcntl.ioctl(fd, request)
    except OSError as error:
        if error.errno == errno.EPERM:  # it lies outside the caller's own user namespace
            return -1
        raise
    os.set_inheritable(found, False)
    return found
