"""Mounts by descriptor: a detached copy of a tree, its attributes, its place.

open_tree(2), mount_setattr(2) and move_mount(2) do a bind mount in three calls, none of which
names a path that a container can change, and the mount appears with its attributes already set.
Kernels before 5.12 get mount(2) on /proc/self/fd/N and a second mount(2) that sets the flags.
"""

from __future__ import annotations

import errno
import os

from labcontainer.kernel import syscalls
from labcontainer.kernel.flags import AT, CLONE, MOUNT_ATTR, MOVE_MOUNT, MS, OPEN_TREE

PROC_SUPER_MAGIC = 0x9FA0
SYSFS_MAGIC = 0x62656572
PROPAGATION = MS.PRIVATE | MS.SLAVE | MS.SHARED | MS.UNBINDABLE

_SAME = (  # flags of mount(2) that have one bit in mount_setattr(2)
    (int(MS.RDONLY), int(MOUNT_ATTR.RDONLY)),
    (int(MS.NOSUID), int(MOUNT_ATTR.NOSUID)),
    (int(MS.NODEV), int(MOUNT_ATTR.NODEV)),
    (int(MS.NOEXEC), int(MOUNT_ATTR.NOEXEC)),
    (int(MS.NODIRATIME), int(MOUNT_ATTR.NODIRATIME)),
    (int(MS.NOSYMFOLLOW), int(MOUNT_ATTR.NOSYMFOLLOW)),
)
_ATIME = MS.NOATIME | MS.RELATIME | MS.STRICTATIME
PER_MOUNT = MS.RDONLY | MS.NOSUID | MS.NODEV | MS.NOEXEC | MS.NODIRATIME | MS.NOSYMFOLLOW | _ATIME
# What statvfs(3) tells of a mount, in the bits of mount(2): they are the same but for RELATIME.
_STATVFS = MS.RDONLY | MS.NOSUID | MS.NODEV | MS.NOEXEC | MS.NOATIME | MS.NODIRATIME
_ST_RELATIME = 4096


class _Kernel:
    """What was found out about this kernel, once: None is not asked yet."""

    has_mount_setattr: bool | None = None


def modern() -> bool:
    """Whether mounts can be made by open_tree, mount_setattr and move_mount (Linux 5.12)."""
    if _Kernel.has_mount_setattr is None:
        try:
            syscalls.mount_setattr(-1, "", AT.EMPTY_PATH)  # nothing to change: 0 where it is known
            _Kernel.has_mount_setattr = True
        except OSError as error:
            # A seccomp filter that is older than the call answers EPERM, as the kernel does to
            # a caller without CAP_SYS_ADMIN; mount(2) will tell the latter its own error.
            _Kernel.has_mount_setattr = error.errno not in (errno.ENOSYS, errno.EPERM)
    return _Kernel.has_mount_setattr


def attributes(flags: int) -> tuple[int, int]:
    """The (attr_set, attr_clr) of mount_setattr(2) that set these flags of mount(2)."""
    attr_set = attr_clr = 0
    for old, new in _SAME:
        if flags & old:
            attr_set |= new
    if flags & _ATIME:  # the access time modes are one field: clear it, then set one value
        attr_clr |= int(MOUNT_ATTR.ATIME_MASK)
        if flags & MS.NOATIME:
            attr_set |= int(MOUNT_ATTR.NOATIME)
        elif flags & MS.STRICTATIME:
            attr_set |= int(MOUNT_ATTR.STRICTATIME)
    return attr_set, attr_clr


def clearing(flags: int) -> int:
    """The attr_clr of mount_setattr(2) that takes these flags of mount(2) off."""
    return sum(new for old, new in _SAME if flags & old)


def name(fd: int) -> str:
    """A path of what a descriptor stands for, for the calls that want one."""
    return f"/proc/self/fd/{fd}"


def filesystem(fd: int) -> int:
    """The magic number of the file system that a descriptor is on (statfs(2))."""
    return syscalls.fstatfs(fd)


def copy(source: str, *, dir_fd: int = AT.FDCWD, recursive: bool = False) -> int:
    """A detached copy of the mount at a path (or at `dir_fd` itself, with `source` empty)."""
    flags = OPEN_TREE.CLONE | OPEN_TREE.CLOEXEC
    if recursive:
        flags |= AT.RECURSIVE
    if not source:
        flags |= AT.EMPTY_PATH
    return syscalls.open_tree(dir_fd, source, flags)


def copy_from(pid: int, path: str) -> int:
    """A detached copy of a mount that only another process's mount namespace has.

    The caller has one thread: setns(2) refuses who shares its directories with another.
    """
    own = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    other = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        syscalls.setns(other, CLONE.NEWNS)
        try:
            return copy(path)
        finally:
            syscalls.setns(own, CLONE.NEWNS)
    finally:
        os.close(own)
        os.close(other)


def change(
    fd: int,
    *,
    flags: int = 0,
    clear: int = 0,
    attr_set: int = 0,
    attr_clr: int = 0,
    propagation: int = 0,
    recursive: bool = False,
    userns_fd: int = -1,
) -> None:
    """Set attributes of the mount behind `fd`. `flags` and `clear` are MS, `attr_…` MOUNT_ATTR.

    In a user namespace the kernel refuses (EPERM) to take off a flag that came with the mount.
    """
    more_set, more_clr = attributes(flags)
    attr_set |= more_set
    attr_clr |= more_clr | clearing(clear)
    if userns_fd >= 0:
        attr_set |= int(MOUNT_ATTR.IDMAP)
    if attr_set or attr_clr or propagation:
        syscalls.mount_setattr(
            fd,
            "",
            AT.EMPTY_PATH | AT.RECURSIVE if recursive else AT.EMPTY_PATH,
            attr_set=attr_set,
            attr_clr=attr_clr,
            propagation=propagation,
            userns_fd=max(userns_fd, 0),
        )


def attach(tree: int, target: int) -> None:
    """Put a detached mount on what `target` stands for."""
    syscalls.move_mount(tree, "", target, "", MOVE_MOUNT.F_EMPTY_PATH | MOVE_MOUNT.T_EMPTY_PATH)


def propagations(flags: int) -> list[int]:
    """The single calls of one propagation word each: the kernel takes one at a time."""
    recursive = flags & MS.REC
    order = (MS.SLAVE, MS.PRIVATE, MS.SHARED, MS.UNBINDABLE)
    return [int(kind | recursive) for kind in order if flags & kind]


def set_propagation(fd: int, flags: int) -> None:
    """Make the mount behind `fd` private, slave, shared or unbindable; with MS.REC all below."""
    for one in propagations(flags):
        if modern():
            change(fd, propagation=one & PROPAGATION, recursive=bool(one & MS.REC))
        else:
            syscalls.mount(None, name(fd), None, one)


def remount(fd: int, flags: int, clear: int = 0) -> None:
    """Set flags on the mount behind `fd` and keep those that it has (a user namespace must)."""
    if modern():
        change(fd, flags=flags, clear=clear)
        return
    shown = os.fstatvfs(fd).f_flag
    kept = shown & _STATVFS & ~clear
    if not flags & _ATIME and shown & _ST_RELATIME:
        kept |= MS.RELATIME
    syscalls.mount(None, name(fd), None, MS.BIND | MS.REMOUNT | flags | kept)


def bind_file(source: str, target: int, source_fd: int = AT.FDCWD) -> None:
    """Bind the file at a path, or behind `source_fd`, on what a descriptor stands for."""
    if not modern():
        shown = source or name(source_fd)
        syscalls.mount(shown, name(target), None, MS.BIND)
        return
    tree = copy(source, dir_fd=source_fd)
    try:
        attach(tree, target)
    finally:
        os.close(tree)
