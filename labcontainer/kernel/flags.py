"""The kernel's flags, in families named as the C headers name them.

A family prints its bits by name, so that a trace reads like strace. `enum.IntFlag` would do the
same for 4 ms of import, which every start of the OCI command line would pay.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self


class Flags(int):
    """An int that knows the names of its bits: `MS.NOSUID | MS.NODEV` prints as that."""

    def __init_subclass__(cls) -> None:
        for name, value in list(vars(cls).items()):
            if name.isupper() and isinstance(value, int):
                setattr(cls, name, cls(value))

    @classmethod
    def members(cls) -> dict[str, int]:
        """Every name of the family with its value."""
        return {name: int(value) for name, value in vars(cls).items() if isinstance(value, cls)}

    def __or__(self, other: int) -> Self:
        return type(self)(int(self) | int(other))

    def __and__(self, other: int) -> Self:
        return type(self)(int(self) & int(other))

    def __invert__(self) -> Self:
        return type(self)(~int(self))

    __ror__ = __or__
    __rand__ = __and__

    def __repr__(self) -> str:
        family, rest, shown = type(self).__name__, int(self), []
        for name, value in type(self).members().items():
            if value == int(self):
                return f"{family}.{name}"
            if value and value & (value - 1) == 0 and rest & value == value:
                shown.append(f"{family}.{name}")
                rest &= ~value
        if rest or not shown:
            shown.append(hex(rest) if rest > 9 else str(rest))
        return "|".join(shown)

    __str__ = __repr__


class CLONE(Flags):
    """clone(2), unshare(2), setns(2)."""

    VM = 0x100
    FS = 0x200
    FILES = 0x400
    SIGHAND = 0x800
    PIDFD = 0x1000
    VFORK = 0x4000
    PARENT = 0x8000
    NEWTIME = 0x80
    NEWNS = 0x20000
    NEWCGROUP = 0x02000000
    NEWUTS = 0x04000000
    NEWIPC = 0x08000000
    NEWUSER = 0x10000000
    NEWPID = 0x20000000
    NEWNET = 0x40000000
    CLEAR_SIGHAND = 0x100000000
    INTO_CGROUP = 0x200000000


class MS(Flags):
    """mount(2)."""

    RDONLY = 1
    NOSUID = 2
    NODEV = 4
    NOEXEC = 8
    SYNCHRONOUS = 16
    REMOUNT = 32
    MANDLOCK = 64
    DIRSYNC = 128
    NOSYMFOLLOW = 256
    NOATIME = 1024
    NODIRATIME = 2048
    BIND = 4096
    MOVE = 8192
    REC = 16384
    SILENT = 32768
    POSIXACL = 1 << 16
    UNBINDABLE = 1 << 17
    PRIVATE = 1 << 18
    SLAVE = 1 << 19
    SHARED = 1 << 20
    RELATIME = 1 << 21
    I_VERSION = 1 << 23
    STRICTATIME = 1 << 24
    LAZYTIME = 1 << 25


class MNT(Flags):
    """umount2(2)."""

    FORCE = 1
    DETACH = 2
    EXPIRE = 4
    NOFOLLOW = 8


class MOUNT_ATTR(Flags):
    """mount_setattr(2), fsmount(2)."""

    RDONLY = 0x1
    NOSUID = 0x2
    NODEV = 0x4
    NOEXEC = 0x8
    RELATIME = 0x0
    NOATIME = 0x10
    STRICTATIME = 0x20
    ATIME_MASK = 0x70
    NODIRATIME = 0x80
    IDMAP = 0x100000
    NOSYMFOLLOW = 0x200000


class OPEN_TREE(Flags):
    """open_tree(2)."""

    CLONE = 1
    CLOEXEC = 0o2000000


class MOVE_MOUNT(Flags):
    """move_mount(2)."""

    F_SYMLINKS = 0x1
    F_AUTOMOUNTS = 0x2
    F_EMPTY_PATH = 0x4
    T_SYMLINKS = 0x10
    T_AUTOMOUNTS = 0x20
    T_EMPTY_PATH = 0x40
    SET_GROUP = 0x100


class FSCONFIG(Flags):
    """fsconfig(2) commands."""

    SET_FLAG = 0
    SET_STRING = 1
    SET_BINARY = 2
    SET_PATH = 3
    SET_PATH_EMPTY = 4
    SET_FD = 5
    CMD_CREATE = 6
    CMD_RECONFIGURE = 7


class RESOLVE(Flags):
    """openat2(2)."""

    NO_XDEV = 0x01
    NO_MAGICLINKS = 0x02
    NO_SYMLINKS = 0x04
    BENEATH = 0x08
    IN_ROOT = 0x10
    CACHED = 0x20


class AT(Flags):
    """The *at calls: see openat(2), statx(2)."""

    FDCWD = -100
    SYMLINK_NOFOLLOW = 0x100
    REMOVEDIR = 0x200
    SYMLINK_FOLLOW = 0x400
    NO_AUTOMOUNT = 0x800
    EMPTY_PATH = 0x1000
    RECURSIVE = 0x8000


class PR(Flags):
    """prctl(2) options."""

    SET_PDEATHSIG = 1
    GET_DUMPABLE = 3
    SET_DUMPABLE = 4
    GET_KEEPCAPS = 7
    SET_KEEPCAPS = 8
    SET_NAME = 15
    GET_SECCOMP = 21
    SET_SECCOMP = 22
    CAPBSET_READ = 23
    CAPBSET_DROP = 24
    GET_SECUREBITS = 27
    SET_SECUREBITS = 28
    SET_CHILD_SUBREAPER = 36
    GET_CHILD_SUBREAPER = 37
    SET_NO_NEW_PRIVS = 38
    GET_NO_NEW_PRIVS = 39
    CAP_AMBIENT = 47


class PR_CAP_AMBIENT(Flags):
    """prctl(2), the second argument of PR_CAP_AMBIENT."""

    IS_SET = 1
    RAISE = 2
    LOWER = 3
    CLEAR_ALL = 4


class SECCOMP(Flags):
    """seccomp(2) operations."""

    SET_MODE_STRICT = 0
    SET_MODE_FILTER = 1
    GET_ACTION_AVAIL = 2
    GET_NOTIF_SIZES = 3


class SECCOMP_FILTER_FLAG(Flags):
    """seccomp(2), flags of SET_MODE_FILTER."""

    TSYNC = 1
    LOG = 2
    SPEC_ALLOW = 4
    NEW_LISTENER = 8
    TSYNC_ESRCH = 16
    WAIT_KILLABLE_RECV = 32


class CLOSE_RANGE(Flags):
    """close_range(2)."""

    UNSHARE = 2
    CLOEXEC = 4


class MFD(Flags):
    """memfd_create(2)."""

    CLOEXEC = 1
    ALLOW_SEALING = 2
    NOEXEC_SEAL = 8
    EXEC = 16


class F_SEAL(Flags):
    """fcntl(2), F_ADD_SEALS."""

    SEAL = 1
    SHRINK = 2
    GROW = 4
    WRITE = 8


class MADV(Flags):
    """madvise(2)."""

    POPULATE_WRITE = 23


class KEYCTL(Flags):
    """keyctl(2)."""

    JOIN_SESSION_KEYRING = 1


class PERSONALITY(Flags):
    """personality(2) domains."""

    LINUX = 0
    LINUX32 = 8


class IN(Flags):
    """inotify(7)."""

    MODIFY = 0x2
    ATTRIB = 0x4
    CLOSE_WRITE = 0x8
    MOVED_FROM = 0x40
    MOVED_TO = 0x80
    CREATE = 0x100
    DELETE = 0x200
