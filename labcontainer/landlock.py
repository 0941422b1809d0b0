"""Landlock: a process gives up paths and ports for itself and its children. No root needed.

Everything that a rule set handles is forbidden but for what its rules name. A process can put
itself under several; each can only take more away. See landlock(7).
"""

from __future__ import annotations

import os
import stat
import struct

from labcontainer.errors import UnsupportedError
from labcontainer.kernel import syscalls
from labcontainer.kernel.flags import PR, Flags
from labcontainer.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class ACCESS_FS(Flags):
    """LANDLOCK_ACCESS_FS_…: linux/landlock.h."""

    EXECUTE = 1 << 0
    WRITE_FILE = 1 << 1
    READ_FILE = 1 << 2
    READ_DIR = 1 << 3
    REMOVE_DIR = 1 << 4
    REMOVE_FILE = 1 << 5
    MAKE_CHAR = 1 << 6
    MAKE_DIR = 1 << 7
    MAKE_REG = 1 << 8
    MAKE_SOCK = 1 << 9
    MAKE_FIFO = 1 << 10
    MAKE_BLOCK = 1 << 11
    MAKE_SYM = 1 << 12
    REFER = 1 << 13
    TRUNCATE = 1 << 14
    IOCTL_DEV = 1 << 15


class ACCESS_NET(Flags):
    """LANDLOCK_ACCESS_NET_…."""

    BIND_TCP = 1
    CONNECT_TCP = 2


class SCOPE(Flags):
    """LANDLOCK_SCOPE_…: what stays inside the group of processes under the same rule set."""

    ABSTRACT_UNIX_SOCKET = 1
    SIGNAL = 2


READ = ACCESS_FS.READ_FILE | ACCESS_FS.READ_DIR
EXECUTE = READ | ACCESS_FS.EXECUTE
WRITE = ACCESS_FS((1 << 16) - 1) & ~ACCESS_FS.EXECUTE
OF_A_FILE = (  # the rest is about what happens inside a directory
    *(ACCESS_FS.EXECUTE, ACCESS_FS.WRITE_FILE, ACCESS_FS.READ_FILE),
    *(ACCESS_FS.TRUNCATE, ACCESS_FS.IOCTL_DEV),
)

# What each version of the kernel's interface can handle: the highest right of the family.
FS_RIGHTS = {1: 1 << 13, 2: 1 << 14, 3: 1 << 15, 5: 1 << 16}
RULE_PATH_BENEATH, RULE_NET_PORT = 1, 2


class Ruleset(Record):
    """What stays allowed. `None` for ports or for scope means: not handled, as before."""

    read: tuple[str, ...] = ()  # files and directories below
    execute: tuple[str, ...] = ()  # the same, and to run them
    write: tuple[str, ...] = ()  # to read, change, make and remove
    bind: tuple[int, ...] | None = None  # TCP ports
    connect: tuple[int, ...] | None = None
    isolated: bool = False  # no signals and no abstract sockets to processes outside


def abi() -> int:
    """The version of this kernel's interface, 1 or more.

    Raises:
        UnsupportedError: the kernel has no Landlock, or was started without it.
    """
    try:
        return syscalls.landlock_create_ruleset(None, 1)  # LANDLOCK_CREATE_RULESET_VERSION
    except OSError as error:
        off = error.errno == 95  # EOPNOTSUPP
        why = "switched off at boot" if off else "this kernel has none (5.13 was the first)"
        fix = "boot with `lsm=landlock,…`" if off else "a newer kernel"
        raise UnsupportedError("landlock", why, fix) from error


def handled_fs(version: int) -> ACCESS_FS:
    """The rights on files that a version knows."""
    return ACCESS_FS(max(top for first, top in FS_RIGHTS.items() if first <= version) - 1)


def _handled_net(ruleset: Ruleset) -> ACCESS_NET:
    bind = ACCESS_NET.BIND_TCP if ruleset.bind is not None else 0
    return ACCESS_NET(bind | (ACCESS_NET.CONNECT_TCP if ruleset.connect is not None else 0))


def _paths(ruleset: Ruleset, version: int) -> Iterable[tuple[str, ACCESS_FS]]:
    handled = handled_fs(version)
    for paths, rights in (
        (ruleset.read, READ),
        (ruleset.execute, EXECUTE),
        (ruleset.write, WRITE),
    ):
        for path in paths:
            yield path, rights & handled


def _ports(ruleset: Ruleset) -> Iterable[tuple[int, int]]:
    for port in ruleset.bind or ():
        yield port, ACCESS_NET.BIND_TCP
    for port in ruleset.connect or ():
        yield port, ACCESS_NET.CONNECT_TCP


def check(ruleset: Ruleset, version: int) -> None:
    """See whether this kernel can do what is asked.

    Raises:
        UnsupportedError: ports need version 4 (Linux 6.7), isolation version 6 (6.12).
    """
    for asked, needed, what in (
        (_handled_net(ruleset), 4, "TCP ports"),
        (ruleset.isolated, 6, "isolating signals and abstract sockets"),
    ):
        if asked and version < needed:
            why = f"version {needed} of the interface is needed, this kernel has {version}"
            raise UnsupportedError(f"landlock: {what}", why, "a newer kernel")


def plan(ruleset: Ruleset, version: int) -> tuple[str, ...]:
    """What will be done, a line a step."""
    return (
        f"forbid {handled_fs(version)}",
        *(f"forbid {handled}" for handled in [_handled_net(ruleset)] if handled),
        *(["forbid signals and abstract sockets to others"] if ruleset.isolated else []),
        *(f"allow {rights} below {path}" for path, rights in _paths(ruleset, version)),
        *(f"allow {rights} on port {port}" for port, rights in _ports(ruleset)),
        "set no_new_privs",
        "put this process under the rules",
    )


def apply(ruleset: Ruleset) -> None:
    """Put this process under the rules, for good; sets no_new_privs, which they need.

    Raises:
        UnsupportedError: the kernel can't.
        OSError: a path isn't there, or the kernel refused.
    """
    version = abi()
    check(ruleset, version)
    # struct landlock_ruleset_attr { __u64 handled_access_fs, handled_access_net, scoped; }
    scoped = SCOPE.ABSTRACT_UNIX_SOCKET | SCOPE.SIGNAL if ruleset.isolated else 0
    attr = struct.pack("3Q", handled_fs(version), _handled_net(ruleset), scoped)
    attr = attr[: 24 if version >= 6 else 16 if version >= 4 else 8]
    rules = syscalls.landlock_create_ruleset(attr)
    try:
        for path, rights in _paths(ruleset, version):
            _allow_path(rules, path, rights)
        for port, right in _ports(ruleset):
            # struct landlock_net_port_attr { __u64 allowed_access, port; }
            syscalls.landlock_add_rule(rules, RULE_NET_PORT, struct.pack("2Q", right, port))
        syscalls.prctl(PR.SET_NO_NEW_PRIVS, 1)
        syscalls.landlock_restrict_self(rules)
    finally:
        os.close(rules)


def _allow_path(rules: int, path: str, rights: ACCESS_FS) -> None:
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            rights = rights & sum(OF_A_FILE)
        # struct landlock_path_beneath_attr { __u64 allowed_access; __s32 parent_fd; } packed
        attr = struct.pack("=Qi", rights, fd)
        syscalls.landlock_add_rule(rules, RULE_PATH_BENEATH, attr)
    finally:
        os.close(fd)
