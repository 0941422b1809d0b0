"""Containers to grade in: one root file system, read-only, and for each check a container of it.

    Room ── tree/     the root: lab.grading_root
         ── home-N/   what the engine keeps for the containers of slot N

Each container is `labcontainer run` as an ordinary user, whoever grades: root's grading takes, for
each slot, a user id that nobody has. So a learner's code that got out of its container would be a
user without a file to its name. Memory, processes and processor time are limited twice, by
getrlimit(2) inside (lab.proctor), and by a control group where one can be made.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from labcontainer import cgroups, errors
from labcontainer.engine import request
from labcontainer.kernel import syscalls
from labcontainer.kernel.flags import CLONE, MS, PR
from labcontainer.lab import apart, grading_root
from labcontainer.lab.limits import scaled
from labcontainer.record import Record

FIRST_UID = 2_000_000_000  # above all ranges that useradd(8) and systemd give away
OUTPUT_LIMIT = 1 << 20  # bytes of one verdict
GRACE = 5.0  # seconds that a container may take to begin and to go
NOT_STARTED = 125  # the exit status of a container that did not come to be
WALL_TIME, MEMORY, OUTPUT = "wall time", "memory", "output"


class Limits(Record):
    """What one check may use: bytes, processes, seconds of the processor."""

    memory: int = 1 << 30
    processes: int = 256
    seconds: int = 30
    file: int = 64 << 20


class Case(Record):
    """One check that is to run: the order for lab.proctor, and what the container needs for it."""

    order: bytes
    seconds: float
    work: str = ""  # the student's `mycontainer/`, to be shown to the learner's code


class Ended(Record):
    """How a container ended. `limit` is the one that was passed, "" for none."""

    status: int
    output: bytes
    errors: str
    limit: str = ""
    seconds: float = 0


class Room:
    """The place where a grading's containers are made; gone, with all in it, at the block's end."""

    def __init__(self, limits: Limits, slots: int) -> None:
        self.limits = limits
        self.slots = slots
        self.path = tempfile.mkdtemp(prefix="labcontainer-grade-")
        self.tree = f"{self.path}/tree"
        self.volumes: list[tuple[str, str]] = []  # (directory of this machine, where it is shown)
        self.groups: list[cgroups.Cgroup] = []
        self.no_groups = ""  # why there are none

    def __enter__(self) -> Room:
        try:
            os.chmod(self.path, 0o711)
            self.volumes = grading_root.make(self.tree)
            grading_root.write_profile(f"{self.path}/seccomp.json")
            self._prepare_slots()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for group in self.groups:
            group.kill()
            group.delete()
        _remove(self.path)

    def _prepare_slots(self) -> None:
        layout = cgroups.detect()
        if layout.kind == "none":
            self.no_groups = layout.why
        for slot in range(self.slots):
            home = f"{self.path}/home-{slot}"
            os.mkdir(home, 0o711)
            if os.geteuid() == 0:
                os.chown(home, FIRST_UID + slot, FIRST_UID + slot)
            if not self.no_groups:
                self._make_group(slot, layout)

    def _make_group(self, slot: int, layout: cgroups.Layout) -> None:
        group = cgroups.Cgroup(f"{cgroups.OURS}/grade-{os.getpid()}-{slot}", layout)
        try:
            group.create()
        except (OSError, errors.LabError) as error:
            self.no_groups = str(error)
            return
        self.groups.append(group)
        group.apply(
            cgroups.Limits(
                memory=self.limits.memory,
                pids=self.limits.processes + 16,  # ours, beside the learner's
                cpu_quota=100_000,
                cpu_period=100_000,
            )
        )


def _remove(path: str) -> None:
    """Remove the room. A container that was killed has a watcher, which may still be tidying up."""
    for _ in range(100):
        for folder, _, _ in os.walk(path):
            with contextlib.suppress(OSError):
                os.chmod(folder, 0o700)  # an overlay's work directory has no mode at all
        shutil.rmtree(path, ignore_errors=True)
        if not os.path.exists(path):
            return
        time.sleep(0.05)


# --- a container --------------------------------------------------------------------------------


class Container:
    """One check under way; `read` when one of `descriptors` is ready, `end` when it says so."""

    def __init__(self, room: Room, slot: int, case: Case) -> None:
        self.slot = slot
        self.began = time.monotonic()
        self.deadline = self.began + scaled(case.seconds) + GRACE
        self._group = room.groups[slot] if slot < len(room.groups) else None
        self._killed = self._oom_kills()
        self._limit = ""
        self._texts: dict[int, bytearray] = {}
        work = _copy_of(case.work, f"{room.path}/work-{slot}")
        given, self._output, self._errors = _memory_file(case.order), os.pipe(), os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            _live(room, slot, work, (given, self._output[1], self._errors[1]), self._group)
        for fd in (given, self._output[1], self._errors[1]):
            os.close(fd)
        self._texts = {self._output[0]: bytearray(), self._errors[0]: bytearray()}
        self._open = set(self._texts)

    @property
    def descriptors(self) -> set[int]:
        """What to wait for."""
        return self._open

    def read(self, fd: int) -> None:
        """Take in what has come; too much of it ends the container."""
        data = os.read(fd, 65536)
        if not data:
            os.close(fd)
            self._open.discard(fd)
            return
        self._texts[fd] += data
        if len(self._texts[fd]) > OUTPUT_LIMIT:
            self.kill(OUTPUT)

    @property
    def over(self) -> bool:
        """Whether all has been said; a container past its deadline is ended by this question."""
        if self._open and time.monotonic() > self.deadline:
            self.kill(WALL_TIME)
        return not self._open

    def kill(self, limit: str = "") -> None:
        """End it, and all that it has started."""
        self._limit = self._limit or limit
        os.kill(self.pid, signal.SIGKILL)
        if self._group is not None:
            self._group.kill()
        for fd in self._open:
            os.close(fd)
        self._open.clear()

    def end(self) -> Ended:
        """Wait for the end of the process; nothing of the container is left then."""
        _, status = os.waitpid(self.pid, 0)
        if self._group is not None:
            self._group.kill()
        if not self._limit and self._oom_kills() > self._killed:
            self._limit = MEMORY
        said = bytes(self._texts[self._errors[0]]).decode(errors="replace")
        return Ended(os.waitstatus_to_exitcode(status), bytes(self._texts[self._output[0]]), said,
                     self._limit, time.monotonic() - self.began)  # fmt: skip

    def _oom_kills(self) -> int:
        return self._group.oom_kills() if self._group is not None else 0


def _copy_of(work: str, target: str) -> str:
    """The student's modules, and those alone, where a container's user can read them; "": none."""
    shutil.rmtree(target, ignore_errors=True)
    modules = sorted(Path(work).glob("*.py")) if work else []
    if not modules:
        return ""
    os.mkdir(target)
    os.chmod(target, 0o755)
    for module in modules:
        shutil.copyfile(module, f"{target}/{module.name}")
        os.chmod(f"{target}/{module.name}", 0o644)
    return target


def _memory_file(data: bytes) -> int:
    fd = os.memfd_create("order")
    with open(fd, "wb", closefd=False) as file:
        file.write(data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _live(
    room: Room, slot: int, work: str, streams: tuple[int, int, int], group: cgroups.Cgroup | None
) -> None:
    """The life of the process that runs a container; never returns."""
    parent, status = os.getppid(), NOT_STARTED
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        os.setsid()  # no terminal of the grader's can be opened from inside
        for target, fd in enumerate(streams):
            os.dup2(fd, target)
        syscalls.close_range(3)
        if group is not None:
            group.add(os.getpid())
        volumes = _reach(room, work)
        if os.geteuid() == 0:
            _become(FIRST_UID + slot)
        syscalls.prctl(PR.SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == parent:
            status = _run(room, slot, volumes)
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode(errors="replace"))
    finally:
        os._exit(status)


def _become(uid: int) -> None:
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    syscalls.prctl(PR.SET_DUMPABLE, 1)  # else /proc/self stays root's, and with it uid_map


def _reach(room: Room, work: str) -> tuple[request.Volume, ...]:
    """The volumes of a container. Root shows them where its containers' users can reach them:
    the course may lie in a home that is closed to others."""
    shown = [*room.volumes, *([(work, f"{grading_root.WORK}/mycontainer")] if work else [])]
    if os.geteuid() == 0:
        syscalls.unshare(CLONE.NEWNS)
        syscalls.mount(None, "/", None, MS.REC | MS.SLAVE)
        syscalls.mount("sources", "/mnt", "tmpfs", 0, "mode=0711")
        for number, (source, target) in enumerate(shown):
            place = f"/mnt/{number}"
            os.mkdir(place)
            syscalls.mount(source, place, None, MS.BIND | MS.REC)
            shown[number] = (place, target)
    return tuple(request.Volume(source, target, readonly=True) for source, target in shown)


def _run(room: Room, slot: int, volumes: tuple[request.Volume, ...]) -> int:
    from labcontainer.engine import single

    home = f"{room.path}/home-{slot}"
    os.environ.clear()
    os.environ.update(LABCONTAINER_HOME=home, HOME=home, PATH=os.defpath)
    os.chdir("/")
    return single.run(
        request.Request(
            image=room.tree,
            command=tuple(apart.program("proctor", grading_root.COURSE)),
            env=(
                "HOME=/",
                "LANG=C.UTF-8",
                "PYTHONDONTWRITEBYTECODE=1",
                f"PYTHONPATH={grading_root.COURSE}",
                f"LABCONTAINER_WORK={grading_root.WORK}",
            ),
            hostname="lab",
            interactive=True,
            read_only=True,
            network="none",
            cap_add=("ALL",),
            unmasked=True,
            seccomp=f"{room.path}/seccomp.json",
            volumes=volumes,
            tmpfs=(request.Tmpfs("/tmp", ("rw", "nosuid", "nodev", "mode=1777", "size=64m")),),
        )
    )


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Let Ctrl-C wait until the block is over: no container without somebody who knows of it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


@contextlib.contextmanager
def opened(limits: Limits, slots: int) -> Iterator[Room]:
    """A room with all that its containers import already imported: they are forks of us."""
    from labcontainer.engine import connect, contained, single  # noqa: F401 - for the forks

    with Room(limits, slots) as room:
        yield room


def wait(containers: list[Container]) -> list[Container]:
    """Wait until something happens; those that are over."""
    nearest = min(one.deadline for one in containers) - time.monotonic()
    watched = {fd: one for one in containers for fd in one.descriptors}
    for fd in select.select(list(watched), [], [], max(nearest, 0.01))[0]:
        if fd in watched[fd].descriptors:
            watched[fd].read(fd)
    return [one for one in containers if one.over]
