"""A learner's process in grading: a program of its own, which remembers nothing of the check.

    check ── fork ── execve ──▶ main ── own mount namespace ──▶ lab.child.run

On the learner's machine it is a fork of the check. Here a fork would be too much: the check's
memory holds what it expects, and a mount made in the check's own mount namespace could show it a
/proc or a module of the learner's. After execve(2) the memory is new, three pipes are the only
descriptors, and the check's process, which is not dumpable, can't be traced (`sandbox.enter`).
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
from pathlib import Path

from labcontainer.kernel import files, syscalls
from labcontainer.kernel.flags import CLONE, MS, PR
from labcontainer.lab import child, sandbox
from labcontainer.lab.child import Job

SYS_PTRACE = 19  # linux/capability.h
COURSE = str(Path(__file__).resolve().parents[2])
# -I: neither PYTHONPATH nor the directory that the process stands in has modules for it.
BOOT = "import sys; sys.path.insert(0, {!r}); from labcontainer.lab import {}; {}.main()"


def program(module: str, course: str = COURSE) -> list[str]:
    """The command that runs `main` of a module of the lab, and imports nothing of the user's."""
    return [sys.executable, "-I", "-c", BOOT.format(course, module, module)]


class Stage:
    """The mount namespace of the learner's processes, and how they come to be (child.becoming).

    A copy of the check's, made anew where the check has changed its own since. Shared mounts are
    shared in it too, but with nobody outside.
    """

    def __init__(self) -> None:
        self._seen = ""
        self._fd = self._holder = -1

    def prepare(self) -> int:
        """Have a stage as the check's mounts are now; its descriptor."""
        now = files.read("/proc/self/mountinfo")
        if now != self._seen:
            self._end()
            self._begin(" shared:" in now)
            self._seen = now
        return self._fd

    def mountinfo(self) -> str:
        """What is mounted on it."""
        self.prepare()
        return files.read(f"/proc/{self._holder}/mountinfo")

    def _begin(self, shared: bool) -> None:
        told, tell = os.pipe()
        self._holder = os.fork()
        if self._holder == 0:
            _hold_stage(shared, tell)
        os.close(tell)
        os.read(told, 1)
        os.close(told)
        flags = os.O_RDONLY | os.O_CLOEXEC
        self._fd = os.open(f"/proc/{self._holder}/ns/mnt", flags)

    def _end(self) -> None:
        if self._holder > 0:
            os.close(self._fd)
            os.kill(self._holder, signal.SIGKILL)
            os.waitpid(self._holder, 0)

    def become(self, job: Job, answers: int, asks: int) -> None:
        """Replace this process, a fork of the check, by one that is apart; never returns."""
        note = os.memfd_create("job", 0)
        os.write(note, pickle.dumps(job.as_dict()))
        os.lseek(note, 0, os.SEEK_SET)
        for fd in (answers, asks, self._fd):
            os.set_inheritable(fd, True)
        numbers = map(str, (note, answers, asks, self._fd))
        os.execv(sys.executable, [*program("apart"), *numbers])


def _hold_stage(shared: bool, tell: int) -> None:
    """The life of the process that keeps a stage: it can be looked at, and waits to be killed."""
    try:
        syscalls.unshare(CLONE.NEWNS)
        syscalls.mount(None, "/", None, MS.REC | MS.SLAVE)
        syscalls.mount(None, "/", None, MS.REC | (MS.SHARED if shared else MS.PRIVATE))
        os.write(tell, b"x")
        signal.pause()
    finally:
        os._exit(1)


def main() -> None:
    """Its life: read the job, leave the check's mounts, do it."""
    note, answers, asks, stage = map(int, sys.argv[1:])
    with open(note, "rb") as file:
        job = Job(**pickle.load(file))  # written by the check, before any code of the learner's ran
    del sys.argv[1:]
    syscalls.setns(stage, CLONE.NEWNS)
    os.close(stage)
    os.chdir(sandbox.ROOM)
    child.redirect(1)  # anew: a program starts with Python's own streams and signals
    give_up_tracing()
    child.run(job, answers, asks)


def give_up_tracing() -> None:
    """Lose CAP_SYS_PTRACE for good. What has it can't be traced by what has not (ptrace(2)):
    the helpers that a check forks or starts are safe, and our own children are ours."""
    without = ~(1 << SYS_PTRACE)
    effective, permitted, inheritable = syscalls.capget()
    if permitted & ~without:
        syscalls.prctl(PR.CAPBSET_DROP, SYS_PTRACE)
        syscalls.capset(effective & without, permitted & without, inheritable & without)
