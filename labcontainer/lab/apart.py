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

from labcontainer.kernel import syscalls
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


def make_stage() -> int:
    """A mount namespace for the learner's processes: what the check mounts is seen in it, and not
    the other way round. A descriptor of it."""
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            syscalls.unshare(CLONE.NEWNS)
            syscalls.mount(None, "/", None, MS.REC | MS.SLAVE)
            os.write(tell, b"x")
            signal.pause()
        finally:
            os._exit(1)
    os.close(tell)
    os.read(told, 1)
    os.close(told)
    try:
        return os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def become(stage: int, job: Job, answers: int, asks: int) -> None:
    """Replace this process, a fork of the check, by one that is apart; never returns."""
    note = os.memfd_create("job", 0)
    os.write(note, pickle.dumps(job.as_dict()))
    os.lseek(note, 0, os.SEEK_SET)
    for fd in (answers, asks, stage):
        os.set_inheritable(fd, True)
    numbers = map(str, (note, answers, asks, stage))
    os.execv(sys.executable, [*program("apart"), *numbers])


def main() -> None:
    """Its life: read the job, leave the check's mounts, do it."""
    note, answers, asks, stage = map(int, sys.argv[1:])
    with open(note, "rb") as file:
        job = Job(**pickle.load(file))  # written by the check, before any code of the learner's ran
    del sys.argv[1:]
    syscalls.setns(stage, CLONE.NEWNS)
    os.close(stage)
    os.chdir(sandbox.ROOM)
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
