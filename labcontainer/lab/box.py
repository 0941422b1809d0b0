"""A container in miniature, for the breakouts: each layer of its wall can be there or not.

    /mnt/host   what is the host's: a treasure that nobody in the box may read or change
    /mnt/box    the container's root: a shell, a few programs, /proc, /data

`begin` forks a process into the box, `Inside.said` is what it has to tell when it ends. The caller
is single-threaded, and root of its own namespaces: the lab's helper, or a check.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable

from labcontainer import capabilities, rootfs, seccomp, seccomp_default
from labcontainer.image import hostbase
from labcontainer.kernel import files, netlink, rtnetlink, syscalls
from labcontainer.kernel.flags import CLONE, MS
from labcontainer.record import Record

HOST, BOX = "/mnt/host", "/mnt/box"
TREASURE = f"{HOST}/treasure"
PROGRAMS = ("sh", "cat", "sleep")
PROC = MS.NOSUID | MS.NODEV | MS.NOEXEC


class Box(Record):
    """Which layers stand. All else is as a beginner's container of notebook 02 has it: a root of
    its own, and every right of root."""

    pid: bool = False  # a PID namespace of its own
    net: bool = False  # a network namespace of its own
    covered: bool = False  # /proc/sys read-only
    capabilities: tuple[str, ...] | None = None  # None: all
    filter: seccomp.Program | None = None

    @property
    def flags(self) -> int:
        """The new namespaces, for clone3."""
        flags = int(CLONE.NEWNS | CLONE.NEWUTS)
        return flags | self.pid * int(CLONE.NEWPID) | self.net * int(CLONE.NEWNET)


NAIVE = Box()


def docker_filter() -> seccomp.Program:
    """Docker's default profile for a container with Docker's default capabilities."""
    return seccomp.compile(seccomp_default.default_profile(capabilities.DEFAULT))


def furnish(treasure: str) -> None:
    """Make host and box, unless they are there, and hide the treasure."""
    if not os.path.isdir(BOX):
        hostbase.build(hostbase.recipe("box", PROGRAMS), BOX)
        for path in (HOST, f"{BOX}/data"):
            os.mkdir(path)
        with netlink.Netlink() as kernel:  # a fresh namespace's loopback is down
            kernel.do(rtnetlink.set_link("lo", up=True))
    with open(TREASURE, "w") as file:
        file.write(treasure)


def enter(box: Box) -> None:
    """Make the box this process's world. The namespaces are new already."""
    rootfs.prepare(rootfs.Rootfs(BOX, mounts=()))
    syscalls.mount("proc", "proc", "proc", PROC)
    rootfs.pivot_root()
    if box.covered:
        rootfs.finish(rootfs.Rootfs(BOX, masked=(), readonly_paths=("/proc/sys",)))


def confine(box: Box) -> None:
    """Give up what the box has not: capabilities, then system calls."""
    if box.capabilities is not None:
        capabilities.apply_bounding(box.capabilities)
        capabilities.apply(capabilities.default_sets(box.capabilities))
    if box.filter is not None:
        seccomp.no_new_privs()
        seccomp.install(box.filter)


def entry(box: Box) -> Callable[[], object]:
    """What a start that is not ours calls in its new process: it enters and confines itself.

    Where the mount namespace is the caller's it refuses (EPERM): its root would go.
    """
    outside = os.stat("/proc/self/ns/mnt").st_ino

    def enter_first() -> None:
        if os.stat("/proc/self/ns/mnt").st_ino == outside:
            raise OSError(errno.EPERM, "the mount namespace is the host's own: its root would go")
        enter(box)
        confine(box)

    return enter_first


def asleep(pid: int, seconds: float = 10) -> bool:
    """Wait until that process is the program `sleep`, and sleeps: all its start-up is behind it.

    False where it ends before, or does not come to it.
    """

    def settled() -> bool:
        status = files.read(f"/proc/{pid}/status")
        return "State:\tZ" in status or ("Name:\tsleep" in status and "State:\tS" in status)

    try:
        ready = files.look_again(settled, time.monotonic() + seconds)
        return ready and "Name:\tsleep" in files.read(f"/proc/{pid}/status")
    except (FileNotFoundError, ProcessLookupError):
        return False


class Tried(Record):
    """What came of an attack, and of an honest program under the same defence."""

    attack: bool  # it worked
    honest: bool  # it ran
    told: str = ""  # what the attacker saw
    answer: str = ""  # what the honest program said

    def __str__(self) -> str:
        attack = "WORKS" if self.attack else "fails"
        return f"the attack {attack}, the honest program {'runs' if self.honest else 'is BROKEN'}"


def treasure() -> str:
    """What must not be known in the box."""
    with open(TREASURE) as file:
        return file.read().strip()


class Inside:
    """A process in the box."""

    def __init__(self, pid: int, pipe: int) -> None:
        self.pid = pid
        self._pipe = pipe

    def said(self) -> str:
        """All that it printed or returned, when it and its children have ended."""
        with open(self._pipe, errors="replace") as pipe:
            text = pipe.read()
        os.waitpid(self.pid, 0)
        return text


def begin(
    box: Box, program: Callable[[], object], before: Callable[[], object] = lambda: None
) -> Inside:
    """Fork into the box and call `program` there; `before` is called on the way in, as the runtime.

    What `program` returns is told as text, an OSError by the kernel's word for it.
    """

    def enter_first() -> object:
        enter(box)
        before()
        confine(box)
        return program()

    return _begin(box.flags, enter_first)


def _begin(flags: int, program: Callable[[], object]) -> Inside:
    reads, writes = os.pipe()
    pid, _ = syscalls.clone3(flags)
    if pid == 0:
        said = ""
        try:
            os.close(reads)
            os.dup2(writes, 1)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            said = str(program())
        except OSError as error:
            said = os.strerror(error.errno or 0)
        except BaseException as error:
            said = repr(error)
        finally:
            os.write(1, said.encode())
            os._exit(0)
    os.close(writes)
    return Inside(pid, reads)


def inside(
    box: Box, program: Callable[[], object], before: Callable[[], object] = lambda: None
) -> str:
    """What `program` says that runs in the box."""
    return begin(box, program, before).said()


def execute(argv: list[str], environment: dict[str, str] | None = None) -> Callable[[], object]:
    """A program of the box's, to be given to `begin`."""
    names = {"PATH": "/bin:/usr/bin"} if environment is None else environment
    return lambda: os.execve(argv[0], argv, names)


def apart(program: Callable[[], object]) -> str:
    """What `program` says that runs out here, in a mount namespace that goes with it."""

    def alone() -> str:
        syscalls.mount(None, "/", None, MS.REC | MS.PRIVATE)
        return str(program())

    return _begin(int(CLONE.NEWNS), alone).said()
