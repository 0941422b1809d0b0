"""Namespaces: which kinds there are, in which order they are entered, and a small init for PID 1.

Sources: namespaces(7), clone(2), unshare(2), setns(2), pid_namespaces(7), time_namespaces(7).
"""

from __future__ import annotations

import errno
import os

from labcontainer.errors import SpecError, UnsupportedError
from labcontainer.kernel import files, syscalls
from labcontainer.kernel.flags import CLONE
from labcontainer.kernel.signals import signal
from labcontainer.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Kind(Record):
    """One kind of namespace. `name` is the runtime-spec's, `file` its entry under /proc/PID/ns."""

    name: str
    file: str
    flag: int
    shows: str  # what a process sees through it
    place: str  # why it is entered where it stands in ORDER
    since: str = "3.8"

    @property
    def own_file(self) -> str:
        """The entry of /proc/PID/ns for what the process's children will be in."""
        return f"{self.file}_for_children" if self.file in ("pid", "time") else self.file


# The order of entering, and why each stands where it does.
KINDS = (
    Kind(
        "user",
        "user",
        CLONE.NEWUSER,
        shows="user and group numbers, and what root may do",
        place="first: it gives the rights to join the others, and owns those made with it",
    ),
    Kind(
        "cgroup",
        "cgroup",
        CLONE.NEWCGROUP,
        shows="which control group looks like the top",
        place="after the process was put into its group: that group becomes the top",
        since="4.6",
    ),
    Kind(
        "ipc",
        "ipc",
        CLONE.NEWIPC,
        shows="System V IPC and POSIX message queues",
        place="before mount: an mqueue file system shows its mounter's queues",
    ),
    Kind(
        "uts",
        "uts",
        CLONE.NEWUTS,
        shows="host name and domain name",
        place="anywhere",
    ),
    Kind(
        "network",
        "net",
        CLONE.NEWNET,
        shows="interfaces, addresses, routes, sockets, firewall",
        place="before mount: sysfs shows its mounter's network",
    ),
    Kind(
        "pid",
        "pid",
        CLONE.NEWPID,
        shows="process numbers",
        place="before a fork: the caller stays where it is, its next child is inside",
    ),
    Kind(
        "time",
        "time",
        CLONE.NEWTIME,
        shows="the monotonic and the boot-time clock",
        place="before a fork too, and its offsets are set before anybody is inside",
        since="5.6",
    ),
    Kind(
        "mount",
        "mnt",
        CLONE.NEWNS,
        shows="which file systems are attached where",
        place="last: after it, the files of the others may be out of sight",
        since="2.4.19",
    ),
)
ORDER = tuple(kind.name for kind in KINDS)
_BY_NAME = {name: kind for kind in KINDS for name in (kind.name, kind.file)}


class Namespaces(Record):
    """Which kinds a process gets new, and which it joins: `join` has pairs of (name, path)."""

    new: tuple[str, ...] = ()
    join: tuple[tuple[str, str], ...] = ()


class Step(Record):
    """One line of a plan."""

    action: str
    name: str
    why: str

    def __str__(self) -> str:
        return f"{self.action} {self.name}  # {self.why}"


def kind(name: str) -> Kind:
    """The kind of that name, the runtime-spec's (`network`) or the kernel's (`net`)."""
    if name not in _BY_NAME:
        raise SpecError(f"namespace {name!r}", f"is not one of {', '.join(ORDER)}")
    return _BY_NAME[name]


def plan(spec: Namespaces) -> tuple[Step, ...]:
    """What is joined and what is made, in the order in which it happens; no call is made."""
    joined = {kind(name).name: path for name, path in spec.join}
    new = {kind(name).name for name in spec.new}
    if twice := new & set(joined):
        raise SpecError(f"namespace {min(twice)}", "is to be new and joined at once")
    steps = [
        Step("join", f"{one.name} {joined[one.name]}", one.place)
        for one in KINDS
        if one.name in joined
    ]
    return (*steps, *(Step("new", one.name, one.place) for one in KINDS if one.name in new))


def clone_flags(names: Iterable[str]) -> CLONE:
    """The flags of clone(2) or unshare(2) that make a new namespace of each of these kinds."""
    flags = CLONE(0)
    for name in names:
        flags |= kind(name).flag
    return flags


def missing(names: Iterable[str]) -> tuple[str, ...]:
    """Which of these kinds this kernel does not have."""
    return tuple(name for name in names if not files.exists(f"/proc/self/ns/{kind(name).file}"))


def unshare(names: Iterable[str]) -> None:
    """Leave these namespaces for new ones. `pid` and `time` take the next child, not the caller.

    Raises:
        UnsupportedError: this kernel lacks a kind, or the user may not make one.
    """
    names = tuple(names)
    try:
        syscalls.unshare(clone_flags(names))
    except OSError as error:
        raise explain(error, names) from error


def explain(error: OSError, names: Sequence[str]) -> OSError | UnsupportedError:
    """A refusal of clone(2) or unshare(2) in the words of its usual cause, else as it is."""
    what = f"new namespaces ({', '.join(names)})"
    if error.errno == errno.EINVAL and (lacking := missing(names)):
        newest = ", ".join(f"{name} needs Linux {kind(name).since}" for name in lacking)
        return UnsupportedError(what, f"this kernel has no {', '.join(lacking)} namespace", newest)
    if error.errno in (errno.ENOSPC, errno.EUSERS):
        why = "the limit of nested or counted namespaces is reached"
        return UnsupportedError(what, why, "see /proc/sys/user/max_*_namespaces")
    if error.errno == errno.EPERM and "user" in names:
        fix = "see sysctl kernel.apparmor_restrict_unprivileged_userns, unprivileged_userns_clone"
        return UnsupportedError(what, "unprivileged user namespaces are turned off here", fix)
    if error.errno == errno.EPERM:
        fix = "run as root, or add a user namespace"
        return UnsupportedError(what, "this takes CAP_SYS_ADMIN", fix)
    return error


# --- joining -------------------------------------------------------------------------------------


def open_joined(spec: Namespaces) -> tuple[tuple[str, int], ...]:
    """Open what is to be joined by path, in the order of entering: pairs of (name, descriptor).

    Opened while the paths can be seen; `enter` takes the pairs, and the caller closes them.

    Raises:
        SpecError: a path that is no namespace, or one of another kind.
    """
    from labcontainer.kernel import nsfs

    paths = {kind(name).name: path for name, path in spec.join}
    opened: list[tuple[str, int]] = []
    try:
        for name in ORDER:
            if name not in paths:
                continue
            opened.append((name, os.open(paths[name], os.O_RDONLY | os.O_CLOEXEC)))
            fd, where = opened[-1][1], f"namespace {name} at {paths[name]}"
            if not nsfs.is_namespace(fd):
                raise SpecError(where, "is not a namespace's file")
            if (found := nsfs.kind(fd)) != kind(name).flag:
                raise SpecError(where, f"is of another kind ({CLONE(found)!r})")
    except BaseException:
        for _, fd in opened:
            os.close(fd)
        raise
    return tuple(opened)


def enter(opened: Sequence[tuple[str, int]]) -> None:
    """Join the opened namespaces.

    A process that is root of the machine enters a user namespace last: inside, it may have lost the
    rights over namespaces that the machine's root made. An ordinary user must enter it first.
    Which of the two this is, the kernel tells by EPERM (nsenter(1) does the same).
    """
    waiting: list[tuple[str, int]] = []
    has_user = any(name == "user" for name, _ in opened)
    for name, fd in opened:
        if name == "user":
            continue
        try:
            syscalls.setns(fd, kind(name).flag)
        except OSError as error:
            if error.errno != errno.EPERM or not has_user:
                raise
            waiting.append((name, fd))
    for name, fd in opened:
        if name == "user" and not _is_own(fd, name):
            syscalls.setns(fd, CLONE.NEWUSER)
    for name, fd in waiting:
        syscalls.setns(fd, kind(name).flag)


def _is_own(fd: int, name: str) -> bool:
    """Whether the caller is in that namespace: setns(2) into one's own user namespace is EINVAL."""
    own, other = os.stat(f"/proc/self/ns/{kind(name).file}"), os.fstat(fd)
    return (own.st_dev, own.st_ino) == (other.st_dev, other.st_ino)


def enter_process(pid: int, names: Iterable[str] = ORDER, pidfd: int = -1) -> None:
    """Join the namespaces of a process, all at once where the kernel can (Linux 5.8).

    Kinds that the caller shares with the process already are left out. After it, the next child of
    the caller is in the PID and time namespaces too. Who has a `pidfd` of the process is sure that
    it was this one, and not the next of its number.

    Raises:
        ProcessLookupError: it has ended.
        OSError: the kernel refused.
    """
    if pidfd >= 0:
        _enter_process(pid, pidfd, names)
        return
    try:
        pidfd = syscalls.pidfd_open(pid)
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        enter_one_by_one(pid, tuple(name for name in names if not _shares(pid, name)))
        return
    try:
        _enter_process(pid, pidfd, names)
    finally:
        os.close(pidfd)


def _enter_process(pid: int, pidfd: int, names: Iterable[str]) -> None:
    names = tuple(name for name in names if not _shares(pid, name))
    try:
        if names:
            syscalls.setns(pidfd, clone_flags(names))
    except OSError as error:
        # EINVAL: before 5.8. EPERM: some are ruled by a user namespace that is not the process's.
        if error.errno not in (errno.EINVAL, errno.EPERM):
            raise
        enter_one_by_one(pid, names)
    syscalls.pidfd_send_signal(pidfd, 0)  # it lives: what was found by its number was its own


def _shares(pid: int, name: str) -> bool:
    own = f"/proc/self/ns/{kind(name).own_file}"
    return not files.exists(own) or _identity(own) == _identity(_path(pid, name))


def enter_one_by_one(pid: int, names: Iterable[str]) -> None:
    """Join the namespaces of a process by one setns(2) each."""
    wanted = {kind(name).name for name in names}
    opened = []
    try:
        for name in (name for name in ORDER if name in wanted):
            opened.append((name, os.open(_path(pid, name), os.O_RDONLY | os.O_CLOEXEC)))
        enter(opened)
    finally:
        for _, fd in opened:
            os.close(fd)


# --- looking -------------------------------------------------------------------------------------


def _path(pid: int | str, name: str) -> str:
    return f"/proc/{pid}/ns/{kind(name).file}"


def _identity(path: str) -> tuple[int, int]:
    about = os.stat(path)
    return about.st_dev, about.st_ino


def inode(pid: int | str, name: str) -> int:
    """The number of a process's namespace: two processes with one number are in the same."""
    return os.stat(_path(pid, name)).st_ino


def same(one: int | str, other: int | str, name: str) -> bool:
    """Whether two processes are in the same namespace of a kind."""
    return _identity(_path(one, name)) == _identity(_path(other, name))


# --- what is set in a new namespace --------------------------------------------------------------


def set_hostname(name: str) -> None:
    """Set the host name of this UTS namespace (at most 64 bytes)."""
    syscalls.sethostname(name)


def set_domainname(name: str) -> None:
    """Set the NIS domain name of this UTS namespace (at most 64 bytes)."""
    syscalls.setdomainname(name)


def set_time_offsets(offsets: dict[str, tuple[int, int]], pid: int | str = "self") -> None:
    """Shift the clocks of a new time namespace: `{"boottime": (seconds, nanoseconds)}`.

    The clocks are `monotonic` and `boottime`.
    To be called after unshare and before the first child: with a process inside, EACCES.
    """
    lines = [f"{clock} {seconds} {nanos}\n" for clock, (seconds, nanos) in offsets.items()]
    if lines:
        files.write(f"/proc/{pid}/timens_offsets", "".join(lines))


# --- PID 1 ---------------------------------------------------------------------------------------

# What a terminal or an engine sends to PID 1 and means for the program: all but what the kernel
# uses to tell PID 1 itself something.
FORWARDED = tuple(
    one
    for one in range(1, 32)
    if one not in (signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD)
    and one not in (signal.SIGILL, signal.SIGFPE, signal.SIGSEGV, signal.SIGBUS, signal.SIGTRAP)
)


def reap() -> list[tuple[int, int]]:
    """Collect every child that has ended, without waiting: pairs of (pid, exit status).

    The status is the exit code, or minus the signal's number.
    """
    ended: list[tuple[int, int]] = []
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        ended.append((pid, os.waitstatus_to_exitcode(status)))


def run_init(argv: Sequence[str], env: dict[str, str] | None = None) -> int:
    """Be PID 1 for a program that is not made for it: pass signals on, reap orphans (`--init`).

    The kernel gives PID 1 no default actions, and orphans become its children; a program that does
    not know ignores Ctrl-C and collects zombies. Returns the program's exit code, or 128 and the
    signal's number, once it has ended.
    """
    watched = {*FORWARDED, signal.SIGCHLD}
    old = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    child = os.fork()
    if child == 0:
        _become_program(argv, env, old)
    while True:
        number = signal.sigwaitinfo(watched).si_signo
        if number != signal.SIGCHLD:
            try:
                os.kill(child, number)
            except ProcessLookupError:
                pass
            continue
        for pid, status in reap():
            if pid == child:
                signal.pthread_sigmask(signal.SIG_SETMASK, old)
                return status if status >= 0 else 128 - status


def _become_program(argv: Sequence[str], env: dict[str, str] | None, mask: set[int]) -> None:
    """In the child of `run_init`: a process group of its own, the terminal's if there is one."""
    try:
        os.setpgid(0, 0)
        try:
            old = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
            os.tcsetpgrp(0, os.getpgrp())
            signal.signal(signal.SIGTTOU, old)
        except OSError:
            pass  # no terminal
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.execvpe(argv[0], list(argv), os.environ if env is None else env)
    except OSError as error:
        os.write(2, f"{argv[0]}: {error.strerror}\n".encode())
        os._exit(127 if isinstance(error, FileNotFoundError) else 126)
