"""System calls that Python's `os` does not have, each by its own name.

Every call goes through `_call`: a result of -1 becomes an `OSError` that shows the call and its
arguments, and whoever watches (`kernel.trace`) sees it. The table `CALLS` holds the prototypes.
The man page of a function is that of the call of the same name, section 2.
"""

from __future__ import annotations

import os
import struct

from labcontainer.kernel import foreign, trace
from labcontainer.kernel.flags import (
    AT,
    CLONE,
    CLOSE_RANGE,
    FSCONFIG,
    KEYCTL,
    MADV,
    MFD,
    MNT,
    MOUNT_ATTR,
    MOVE_MOUNT,
    MS,
    OPEN_TREE,
    PR,
    RESOLVE,
    SECCOMP,
    Flags,
)
from labcontainer.kernel.foreign import c_char_p, c_int, c_long, c_uint, c_ulong, c_void_p

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

MACHINE = os.uname().machine


class _Families:
    """Which argument of a call is printed by which family of flags."""

    def __init__(self, **families: type[Flags]) -> None:
        self.by_index = {int(index[1:]): family for index, family in families.items()}


# A call that every libc wraps: its C declaration and prototype.
_LIBC: dict[str, tuple[Any, ...]] = {
    # int mount(const char *source, const char *target, const char *filesystemtype,
    #           unsigned long mountflags, const void *data);
    "mount": (c_char_p, c_char_p, c_char_p, c_ulong, c_char_p, _Families(_3=MS)),
    # int umount2(const char *target, int flags);
    "umount2": (c_char_p, c_int, _Families(_1=MNT)),
    # int unshare(int flags);
    "unshare": (c_int, _Families(_0=CLONE)),
    # int setns(int fd, int nstype);
    "setns": (c_int, c_int, _Families(_1=CLONE)),
    # int sethostname(const char *name, size_t len);
    "sethostname": (c_char_p, c_ulong),
    # int setdomainname(const char *name, size_t len);
    "setdomainname": (c_char_p, c_ulong),
    # int prctl(int option, unsigned long arg2, ..., unsigned long arg5);
    "prctl": (c_int, c_ulong, c_ulong, c_ulong, c_ulong, _Families(_0=PR)),
    # int fstatfs(int fd, struct statfs *buf);
    "fstatfs": (c_int, c_char_p),
    # int madvise(void *addr, size_t length, int advice);
    "madvise": (c_void_p, c_ulong, c_int, _Families(_2=MADV)),
    # int personality(unsigned long persona);
    "personality": (c_ulong,),
    # int inotify_init1(int flags);
    "inotify_init1": (c_int,),
    # int inotify_add_watch(int fd, const char *pathname, uint32_t mask);
    "inotify_add_watch": (c_int, c_char_p, c_uint),
}

# A call that goes through syscall(2): its number on x86_64 and on aarch64, and its prototype.
# From 424 on, the numbers are the same on every architecture.
_RAW: dict[str, tuple[Any, ...]] = {
    # int pivot_root(const char *new_root, const char *put_old);
    "pivot_root": (155, 41, c_char_p, c_char_p),
    # int capget(cap_user_header_t hdrp, cap_user_data_t datap);
    "capget": (125, 90, c_char_p, c_char_p),
    # int capset(cap_user_header_t hdrp, const cap_user_data_t datap);
    "capset": (126, 91, c_char_p, c_char_p),
    # long keyctl(int operation, ...);
    "keyctl": (250, 219, c_int, c_char_p, _Families(_0=KEYCTL)),
    # int seccomp(unsigned int operation, unsigned int flags, void *args);
    "seccomp": (317, 277, c_uint, c_uint, c_void_p, _Families(_0=SECCOMP)),
    # int bpf(int cmd, union bpf_attr *attr, unsigned int size);
    "bpf": (321, 280, c_int, c_char_p, c_uint),
    # int sched_setattr(pid_t pid, struct sched_attr *attr, unsigned int flags);
    "sched_setattr": (314, 274, c_int, c_char_p, c_uint),
    # int ioprio_set(int which, int who, int ioprio);
    "ioprio_set": (251, 30, c_int, c_int, c_int),
    # int execveat(int dirfd, const char *pathname, char *const argv[], char *const envp[], int);
    "execveat": (322, 281, c_int, c_char_p, c_void_p, c_void_p, c_int, _Families(_4=AT)),
    # int memfd_create(const char *name, unsigned int flags);
    "memfd_create": (319, 279, c_char_p, c_uint, _Families(_1=MFD)),
    # int pidfd_send_signal(int pidfd, int sig, siginfo_t *info, unsigned int flags);
    "pidfd_send_signal": (424, 424, c_int, c_int, c_void_p, c_uint),
    # int open_tree(int dirfd, const char *path, unsigned int flags);
    "open_tree": (428, 428, c_int, c_char_p, c_uint, _Families(_0=AT, _2=OPEN_TREE)),
    # int move_mount(int from_dirfd, const char *from_path, int to_dirfd, const char *to_path,
    #                unsigned int flags);
    "move_mount": (
        *(429, 429, c_int, c_char_p, c_int, c_char_p, c_uint),
        _Families(_0=AT, _2=AT, _4=MOVE_MOUNT),
    ),
    # int fsopen(const char *fsname, unsigned int flags);
    "fsopen": (430, 430, c_char_p, c_uint),
    # int fsconfig(int fd, unsigned int cmd, const char *key, const void *value, int aux);
    "fsconfig": (431, 431, c_int, c_uint, c_char_p, c_char_p, c_int, _Families(_1=FSCONFIG)),
    # int fsmount(int fd, unsigned int flags, unsigned int ms_flags);
    "fsmount": (432, 432, c_int, c_uint, c_uint, _Families(_2=MOUNT_ATTR)),
    # int pidfd_open(pid_t pid, unsigned int flags);
    "pidfd_open": (434, 434, c_int, c_uint),
    # long clone3(struct clone_args *cl_args, size_t size);
    "clone3": (435, 435, c_char_p, c_ulong),
    # int close_range(unsigned int first, unsigned int last, unsigned int flags);
    "close_range": (436, 436, c_uint, c_uint, c_uint, _Families(_2=CLOSE_RANGE)),
    # long openat2(int dirfd, const char *pathname, struct open_how *how, size_t size);
    "openat2": (437, 437, c_int, c_char_p, c_char_p, c_ulong, _Families(_0=AT)),
    # int pidfd_getfd(int pidfd, int targetfd, unsigned int flags);
    "pidfd_getfd": (438, 438, c_int, c_int, c_uint),
    # int mount_setattr(int dirfd, const char *path, unsigned flags, struct mount_attr *, size_t);
    "mount_setattr": (442, 442, c_int, c_char_p, c_uint, c_char_p, c_ulong, _Families(_0=AT)),
    # int landlock_create_ruleset(const struct landlock_ruleset_attr *attr, size_t size, __u32);
    "landlock_create_ruleset": (444, 444, c_char_p, c_ulong, c_uint),
    # int landlock_add_rule(int ruleset_fd, enum landlock_rule_type, const void *attr, __u32);
    "landlock_add_rule": (445, 445, c_int, c_int, c_char_p, c_uint),
    # int landlock_restrict_self(int ruleset_fd, __u32 flags);
    "landlock_restrict_self": (446, 446, c_int, c_uint),
}

_functions: dict[str, tuple[Callable[..., int], dict[int, type[Flags]]]] = {}


def number(name: str) -> int:
    """The number of a raw call on this machine's architecture."""
    on_x86_64, on_aarch64 = _RAW[name][:2]
    return int(on_aarch64 if MACHINE == "aarch64" else on_x86_64)


def _function(name: str) -> tuple[Callable[..., int], dict[int, type[Flags]]]:
    """The C function of a call and its flag families, made at the first use."""
    entry = _LIBC[name] if name in _LIBC else _RAW[name][2:]
    families = entry[-1].by_index if isinstance(entry[-1], _Families) else {}
    types = entry[:-1] if families else entry
    if name in _LIBC:
        function = foreign.function(name, c_int, *types)
    else:
        raw = foreign.function("syscall", c_long, c_long, *types)
        nr = number(name)
        function = lambda *args: raw(nr, *args)  # noqa: E731
    _functions[name] = (function, families)
    return _functions[name]


def prepare() -> None:
    """Make every function now: for a process whose forks are to find them made."""
    for name in (*_LIBC, *_RAW):
        if name not in _functions:
            try:
                _function(name)
            except (AttributeError, KeyError, OSError):
                pass  # this libc or architecture has none; told when it is called


def show(name: str, args: tuple[Any, ...], families: dict[int, type[Flags]]) -> str:
    """The call as text: `mount('proc', '/proc', 'proc', MS.NOSUID, None)`."""
    shown = []
    for index, value in enumerate(args):
        if index in families:
            value = families[index](value)
        elif isinstance(value, foreign.Array):
            value = "…"
        elif isinstance(value, bytes):
            value = f"<{len(value)} bytes>"
        shown.append(repr(value))
    return f"{name}({', '.join(shown)})"


def _call(name: str, *args: Any) -> int:
    """Make one call; the only place where labcontainer enters libc.

    Raises:
        OSError: the call answered -1; errno and the whole call are in the error.
    """
    function, families = _functions.get(name) or _function(name)
    result = function(*[os.fsencode(arg) if isinstance(arg, str) else arg for arg in args])
    error = None
    if result == -1:
        code = foreign.get_errno()
        error = OSError(code, os.strerror(code), show(name, args, families))
    if trace.watchers:
        trace.publish(name, show(name, args, families), error or result)
    if error is not None:
        raise error
    return result


# --- namespaces and processes -------------------------------------------------------------------


def unshare(flags: int) -> None:
    """Leave the namespaces in `flags` (CLONE.NEW…) for new ones."""
    _call("unshare", flags)


def setns(fd: int, nstype: int = 0) -> None:
    """Join the namespace behind `fd`, or with a pidfd all kinds in `nstype` of that process."""
    _call("setns", fd, nstype)


def inotify_init1(flags: int = 0) -> int:
    """A descriptor that is readable when something happens to what it watches (inotify(7))."""
    return _call("inotify_init1", flags)


def inotify_add_watch(fd: int, path: str, mask: int) -> int:
    """Watch a file, or what is in a directory, for the events of `mask`."""
    return _call("inotify_add_watch", fd, path, mask)


def clone3(
    flags: int, *, exit_signal: int = 17, cgroup: int = -1, want_pidfd: bool = False
) -> tuple[int, int]:
    """Fork into new namespaces. Returns (pid, pidfd or -1); in the child (0, -1).

    `cgroup` is a descriptor of a cgroup v2 directory in which the child is to start. The calling
    process must have one thread only: Python's own after-fork work is not done.
    """
    pidfd = c_int(-1)
    if want_pidfd:
        flags |= CLONE.PIDFD
    if cgroup >= 0:
        flags |= CLONE.INTO_CGROUP
    # struct clone_args: flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls,
    # set_tid, set_tid_size, cgroup
    where = foreign.addressof(pidfd) if want_pidfd else 0
    args = struct.pack("11Q", flags, where, 0, 0, exit_signal, 0, 0, 0, 0, 0, max(cgroup, 0))
    pid = _call("clone3", args, len(args))
    return pid, pidfd.value if pid else -1


def pidfd_open(pid: int) -> int:
    """A descriptor for a process; poll(2) tells its end."""
    return _call("pidfd_open", pid, 0)


def pidfd_send_signal(pidfd: int, signal: int) -> None:
    """Send a signal to the very process that the descriptor stands for."""
    _call("pidfd_send_signal", pidfd, signal, None, 0)


def pidfd_getfd(pidfd: int, fd: int) -> int:
    """A duplicate of another process's descriptor (needs the right to ptrace it)."""
    return _call("pidfd_getfd", pidfd, fd, 0)


def prctl(option: int, arg2: int = 0, arg3: int = 0, arg4: int = 0, arg5: int = 0) -> int:
    """Set or ask one attribute of the calling process."""
    return _call("prctl", option, arg2, arg3, arg4, arg5)


def madvise(address: int, length: int, advice: int) -> None:
    """Say how memory will be used; MADV.POPULATE_WRITE makes it this process's own at once."""
    _call("madvise", address, length, advice)


def sched_setattr(attr: bytes) -> None:
    """Set the calling thread's scheduling policy; `attr` is a packed `struct sched_attr`."""
    _call("sched_setattr", 0, attr, 0)


def ioprio_set(ioprio: int) -> None:
    """Set the calling thread's I/O priority: the class from bit 13 on, and the level."""
    _call("ioprio_set", 1, 0, ioprio)  # IOPRIO_WHO_PROCESS, ourselves


def personality(persona: int) -> int:
    """Set the execution domain, such as PERSONALITY.LINUX32; the one before."""
    return _call("personality", persona)


def sethostname(name: str) -> None:
    """Set the host name of this UTS namespace."""
    _call("sethostname", name, len(os.fsencode(name)))


def setdomainname(name: str) -> None:
    """Set the NIS domain name of this UTS namespace."""
    _call("setdomainname", name, len(os.fsencode(name)))


def keyctl_join_session() -> None:
    """Begin a new, anonymous session keyring, so that the caller's keys are out of reach."""
    _call("keyctl", KEYCTL.JOIN_SESSION_KEYRING, None)


def close_range(first: int, last: int = 0xFFFFFFFF, flags: int = 0) -> None:
    """Close all descriptors from `first` to `last`, or mark them (CLOSE_RANGE.CLOEXEC)."""
    _call("close_range", first, last, flags)


def memfd_create(name: str, flags: int) -> int:
    """An anonymous file in memory."""
    return _call("memfd_create", name, flags)


def string_array(items: list[str] | tuple[str, ...]) -> Any:
    """A NULL-terminated `char *[]` of these strings, as execve(2) wants."""
    array = (c_char_p * (len(items) + 1))()
    array[: len(items)] = [os.fsencode(item) for item in items]
    return array


def execveat(dirfd: int, path: str, argv: Any, envp: Any, flags: int = 0) -> None:
    """Become the program behind a descriptor. `argv` and `envp` come from `string_array`."""
    _call("execveat", dirfd, path, argv, envp, flags)


# --- mounts -------------------------------------------------------------------------------------


def mount(
    source: str | None, target: str, fstype: str | None, flags: int = 0, data: str | None = None
) -> None:
    """Attach a file system, or change an attached one (MS.REMOUNT, MS.BIND, MS.PRIVATE, …)."""
    _call("mount", source, target, fstype, flags, data)


def umount2(target: str, flags: int = 0) -> None:
    """Detach a file system."""
    _call("umount2", target, flags)


def pivot_root(new_root: str, put_old: str) -> None:
    """Make `new_root` the root of this mount namespace and put the old one at `put_old`."""
    _call("pivot_root", new_root, put_old)


def open_tree(dirfd: int, path: str, flags: int) -> int:
    """A descriptor of a mount, or with OPEN_TREE.CLONE of a detached copy of it."""
    return _call("open_tree", dirfd, path, flags)


def move_mount(from_fd: int, from_path: str, to_fd: int, to_path: str, flags: int = 0) -> None:
    """Attach a detached mount, or move an attached one."""
    _call("move_mount", from_fd, from_path, to_fd, to_path, flags)


def fsopen(fstype: str) -> int:
    """A context in which a new file system is configured."""
    return _call("fsopen", fstype, 1)  # FSOPEN_CLOEXEC


def fsconfig(fd: int, command: int, key: str | None, value: str | None, aux: int = 0) -> None:
    """Set one parameter of a file system context, or create it (FSCONFIG.CMD_CREATE)."""
    _call("fsconfig", fd, command, key, value, aux)


def fsmount(fd: int, attributes: int = 0) -> int:
    """A detached mount of a configured file system; `attributes` are MOUNT_ATTR."""
    return _call("fsmount", fd, 1, attributes)  # FSMOUNT_CLOEXEC


def mount_setattr(
    dirfd: int,
    path: str,
    flags: int,
    *,
    attr_set: int = 0,
    attr_clr: int = 0,
    propagation: int = 0,
    userns_fd: int = 0,
) -> None:
    """Change the attributes of a mount, with AT.RECURSIVE of all below it too."""
    attr = struct.pack("4Q", attr_set, attr_clr, propagation, userns_fd)
    _call("mount_setattr", dirfd, path, flags, attr, len(attr))


# --- files --------------------------------------------------------------------------------------


def openat2(dirfd: int, path: str, flags: int, mode: int = 0, resolve: int = 0) -> int:
    """Open with rules for the walk: RESOLVE.IN_ROOT takes `dirfd` for the root directory."""
    how = struct.pack("3Q", flags | os.O_CLOEXEC, mode, resolve)
    try:
        return _call("openat2", dirfd, path, how, len(how))
    except OSError as error:
        shown = f"openat2({dirfd}, {path!r}, {oct(flags)}, {RESOLVE(resolve)!r})"
        raise OSError(error.errno, error.strerror, shown) from None


def fstatfs(fd: int) -> int:
    """The magic number of the file system that a descriptor is on: statfs(2)'s `f_type`."""
    buffer = foreign.buffer(256)
    _call("fstatfs", fd, buffer)
    return int(struct.unpack_from("l", buffer)[0])


# --- privileges ---------------------------------------------------------------------------------

_CAPABILITY_VERSION_3 = 0x20080522


def capget(pid: int = 0) -> tuple[int, int, int]:
    """The (effective, permitted, inheritable) capability sets of a process, as bit masks."""
    header = struct.pack("Ii", _CAPABILITY_VERSION_3, pid)
    data = foreign.buffer(24)
    _call("capget", header, data)
    low_e, low_p, low_i, high_e, high_p, high_i = struct.unpack("6I", data.raw)
    return low_e | high_e << 32, low_p | high_p << 32, low_i | high_i << 32


def capset(effective: int, permitted: int, inheritable: int) -> None:
    """Set this thread's three capability sets, given as bit masks."""
    header = struct.pack("Ii", _CAPABILITY_VERSION_3, 0)
    masks = (effective, permitted, inheritable)
    low = [mask & 0xFFFFFFFF for mask in masks]
    high = [mask >> 32 for mask in masks]
    _call("capset", header, struct.pack("6I", *low, *high))


def seccomp(operation: int, flags: int, args: Any) -> int:
    """Install a filter (SECCOMP.SET_MODE_FILTER) or ask about one. `args`: memory, or None."""
    return _call("seccomp", operation, flags, args)


def bpf(command: int, attr: bytes) -> int:
    """One command of the extended BPF machine; `attr` is a packed `union bpf_attr`."""
    return _call("bpf", command, attr, len(attr))


def landlock_create_ruleset(attr: bytes | None, flags: int = 0) -> int:
    """A new ruleset's descriptor; with no `attr` and flags 1, the ABI version."""
    return _call("landlock_create_ruleset", attr, len(attr or b""), flags)


def landlock_add_rule(ruleset: int, kind: int, attr: bytes) -> None:
    """Add a rule to a ruleset."""
    _call("landlock_add_rule", ruleset, kind, attr, 0)


def landlock_restrict_self(ruleset: int) -> None:
    """Put this thread and its children under a ruleset, for good."""
    _call("landlock_restrict_self", ruleset, 0)
