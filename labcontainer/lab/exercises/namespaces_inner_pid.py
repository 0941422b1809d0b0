"""namespaces.inner_pid: the number that a process has for itself."""

from __future__ import annotations

import os

from labcontainer.kernel import files
from labcontainer.lab import child
from labcontainer.lab.child import Job
from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
def inner_pid(pid: int) -> int:
    """The number that process `pid` sees as its own, in the innermost namespace that it is in."""
    with open(f"/proc/{pid}/status") as status:
        for line in status:
            ...
'''

SOLUTION = '''\
def inner_pid(pid: int) -> int:
    """The number that process `pid` sees as its own, in the innermost namespace that it is in."""
    with open(f"/proc/{pid}/status") as status:
        for line in status:
            if line.startswith("NSpid:"):
                return int(line.split()[-1])
'''

OUTERMOST = SOLUTION.replace("[-1]", "[1]")
ALWAYS_ONE = SOLUTION.replace("int(line.split()[-1])", "1")
SECOND = SOLUTION.replace(
    "int(line.split()[-1])", "int(line.split()[2] if len(line.split()) > 2 else line.split()[1])"
)

SCENE = '''\
import os
import time

from labcontainer.kernel import syscalls
from labcontainer.kernel.flags import CLONE


def scene(before, deeper):
    """A process with a number of its own; what that number is."""
    for _ in range(before):  # numbers that are used up
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
    if deeper:
        syscalls.unshare(CLONE.NEWPID)
    read, write = os.pipe()
    if os.fork() == 0:
        if deeper and os.fork() == 0:
            os.write(write, str(os.getpid()).encode())
            time.sleep(60)
        if not deeper:
            os.write(write, str(os.getpid()).encode())
        time.sleep(60)
    return int(os.read(read, 10))
'''


def check(trial: Trial) -> Outcome:
    for namespaces, deeper, where in (
        (("pid",), False, "one PID namespace deeper"),
        (("pid",), True, "two PID namespaces deeper"),
        ((), False, "in our own PID namespace"),
    ):
        before = trial.number("before", 3, 40)
        job = Job(source=SCENE, call="scene", args=(before, deeper), namespaces=namespaces)
        running = child.start(job.replace(hold=True))
        trial.undo.push(running.kill)
        inside = running.wait(5).value
        outside = _youngest(running.pid)
        answer = trial.call("inner_pid", outside)
        if answer != inside:
            return not_yet(
                expected=f"{inside}: what getpid() says in a process {where}",
                observed=repr(answer),
                where="the line that you look for in status",
                hint=_hint(answer, outside, deeper),
            )
    return done("three processes, asked themselves by getpid()")


def _youngest(pid: int) -> int:
    """The last descendant of a process, by its number here."""
    while True:
        children = [each for each in _processes() if _status(each, "PPid") == [str(pid)]]
        if not children:
            return pid
        pid = max(children)


def _processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def _status(pid: int, field: str) -> list[str]:
    try:
        lines = files.read(f"/proc/{pid}/status").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return []  # it has ended since
    return next(line.split()[1:] for line in lines if line.startswith(f"{field}:"))


def _hint(answer: object, outside: int, deeper: bool) -> str:
    if answer == outside:
        return "That is its number here. NSpid has one for each namespace, the innermost last."
    if deeper:
        return "A process that is nested twice has three numbers. Which one is its own view?"
    return "Only the first process of a PID namespace is number 1. Read it: the line NSpid."


EXERCISE = Exercise(
    id="namespaces.inner_pid",
    notebook="03_namespaces",
    title="One process, several numbers",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox",),
    hints=(
        "/proc/PID/status has a line with all the numbers of a process. proc_pid_status(5).",
        "It is `NSpid:`, from the outermost namespace that you see to the innermost.",
        '`if line.startswith("NSpid:"): return int(line.split()[-1])`',
    ),
    wrong=(
        Wrong(OUTERMOST, "That is its number here"),
        Wrong(ALWAYS_ONE, "Only the first process of a PID namespace is number 1"),
        Wrong(SECOND, "nested twice has three numbers"),
    ),
)
