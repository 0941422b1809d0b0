"""breakouts.start: a program that sees no process but its own."""

from __future__ import annotations

import os
import time

from labcontainer.kernel import files
from labcontainer.lab import box
from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
import os
from collections.abc import Callable

from labcontainer.kernel import syscalls
from labcontainer.kernel.flags import CLONE


def start(enter: Callable[[], object], program: list[str]) -> int:
    """Start `program` in a container where it sees no process but its own; its PID out here.

    `enter()` makes the container's root the root. It wants a mount namespace of the container's
    own, and mounts a /proc there, which shows the PID namespace of whoever mounts it.
    """
    ...
'''

SOLUTION = HOLE.replace(
    "    ...\n",
    """\
    pid, _ = syscalls.clone3(CLONE.NEWNS | CLONE.NEWPID)
    if pid == 0:
        try:
            enter()
            os.execv(program[0], program)
        finally:
            os._exit(127)
    return pid
""",
)

NO_PID = SOLUTION.replace(" | CLONE.NEWPID", "")
NO_MOUNTS = SOLUTION.replace("CLONE.NEWNS | ", "")
UNSHARES = SOLUTION.replace(" | CLONE.NEWPID", "").replace(
    "            enter()\n", "            syscalls.unshare(CLONE.NEWPID)\n            enter()\n"
)
TOO_EARLY = SOLUTION.replace(" | CLONE.NEWPID", "").replace(
    "            enter()\n",
    "            enter()\n            inner, _ = syscalls.clone3(CLONE.NEWPID)\n"
    "            if inner:\n                os.waitpid(inner, 0)\n                os._exit(0)\n",
)

SCENE = """

from labcontainer.lab import attacks_found, box

def _held(treasure):
    box.furnish(treasure)
    return start(box.entry(box.NAIVE), ["/bin/sleep", "60"])

def _tried(treasure):
    box.furnish(treasure)
    return attacks_found.neighbour(start)
"""


def check(trial: Trial) -> Outcome:
    trial.code += SCENE
    with trial.hold("_held", trial.secret(), timeout=20) as process:
        wrong = _look(process.value)
    if wrong:
        return wrong
    found = trial.call("_tried", trial.secret(), timeout=20)
    if found["attack"] or not found["honest"]:
        return not_yet(
            expected="the treasure stays outside, and the program sees itself in /proc",
            observed=found["answer"],
            where="`start`",
            hint="Every /proc/PID/root that can be seen is a door.",
        )
    return done("NSpid has two numbers, and /proc inside has one process: PID 1")


def _look(pid: object) -> Outcome | None:
    """From outside: in which namespaces does the program live, and whom does its /proc show?"""
    if not isinstance(pid, int) or not os.path.exists(f"/proc/{pid}"):
        return not_yet(
            expected="a process", observed=f"{pid!r}", where="what you return",
            hint="clone3 returns (pid, pidfd); in the new process pid is 0.",
        )  # fmt: skip
    files.look_again(lambda: _settled(pid), time.monotonic() + 10)
    status = files.read(f"/proc/{pid}/status")
    if "State:\tZ" in status:
        return not_yet(
            expected="the program runs",
            observed="the process ended before it",
            where="the flags of clone3",
            hint="enter() refused: a mount namespace of its own is missing, NEWNS.",
        )
    numbers = next(line.split()[1:] for line in status.splitlines() if line.startswith("NSpid"))
    inside = [name for name in os.listdir(f"/proc/{pid}/root/proc") if name.isdecimal()]
    if len(numbers) == 2 and inside == ["1"]:
        return None
    hint = "It sees everybody: a PID namespace of its own is missing, NEWPID."
    if not os.path.exists(f"/proc/{pid}/ns/pid_for_children"):  # new, and without a child yet
        hint = "unshare sends the *children* to the new namespace; the process stays where it is."
    if _children_elsewhere(pid):
        hint = "The child is PID 1 of a new namespace, but /proc was mounted before it was there."
    return not_yet(
        expected="NSpid with two numbers, the second 1; one process in its /proc",
        observed=f"NSpid with {len(numbers)}, {len(inside)} processes in its /proc",
        where="where the namespaces begin",
        hint=hint,
    )


def _settled(pid: int) -> bool:
    """Whether the program sleeps, the process has ended before it, or has a child instead."""
    ended = "State:\tZ" in files.read(f"/proc/{pid}/status")
    return ended or bool(_children_elsewhere(pid)) or box.asleep(pid, 0)


def _children_elsewhere(pid: int) -> list[str]:
    """The process's children that live in another PID namespace."""
    own, found = os.stat(f"/proc/{pid}/ns/pid").st_ino, []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            if f"PPid:\t{pid}\n" in files.read(f"/proc/{name}/status"):
                found += [name] if os.stat(f"/proc/{name}/ns/pid").st_ino != own else []
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended
    return found


EXERCISE = Exercise(
    id="breakouts.start",
    notebook="19_breakouts",
    title="Nobody next door",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox", "mount"),
    seconds=45,
    hints=(
        "clone3 forks into new namespaces: which two? In the child it returns 0 for the PID.",
        "`syscalls.clone3(CLONE.NEWNS | CLONE.NEWPID)`; the child enters and execs the program.",
        "In the child `enter()`, then `os.execv(program[0], program)`. Out here `return pid`.",
    ),
    wrong=(
        Wrong(NO_PID, "It sees everybody"),
        Wrong(NO_MOUNTS, "a mount namespace of its own is missing"),
        Wrong(UNSHARES, "unshare sends the *children*"),
        Wrong(TOO_EARLY, "/proc was mounted before"),
    ),
)
