"""runtime.status: the state of a container, read off the machine."""

from __future__ import annotations

import os
import signal
import time

from labcontainer.kernel import files
from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
import os


def status(pid: int, started: int, gate: str) -> str:
    """Whether a container is "created", "running" or "stopped", by looking.

    `started` is when its first process began, in ticks: field 22 of /proc/PID/stat, as it was noted
    at `create`. `gate` is the FIFO that is there until `start`.
    """
    ...
'''

SOLUTION = HOLE.replace(
    "    ...\n",
    """\
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
    except FileNotFoundError:
        return "stopped"
    if fields[0] == "Z" or int(fields[19]) != started:
        return "stopped"
    return "created" if os.path.exists(gate) else "running"
""",
)

ONLY_ALIVE = HOLE.replace(
    "    ...\n",
    """\
    if not os.path.exists(f"/proc/{pid}"):
        return "stopped"
    return "created" if os.path.exists(gate) else "running"
""",
)
NO_ZOMBIE = SOLUTION.replace('fields[0] == "Z" or ', "")
BLANKS = SOLUTION.replace('.rpartition(")")[2].split()', ".split()[2:]")
GATE_FIRST = SOLUTION.replace(
    "    try:\n", '    if os.path.exists(gate):\n        return "created"\n    try:\n'
)


def _process(name: str) -> int:
    """A child of this check that sleeps under a name."""
    pid = os.fork()
    if pid == 0:
        files.write("/proc/self/comm", name)
        signal.pause()
        os._exit(0)
    limit = time.monotonic() + 2
    while files.read(f"/proc/{pid}/comm") != name and time.monotonic() < limit:
        time.sleep(0.01)
    return pid


def _started(pid: int) -> int:
    return int(files.read(f"/proc/{pid}/stat").rpartition(")")[2].split()[19])


def check(trial: Trial) -> Outcome:
    place = trial.directory("state", {"gate": ""})
    gate, gone = f"{place}/gate", f"{place}/no-gate"
    alive, odd, dead = _process("sleep"), _process("a b) R 1 2"), _process("sleep")
    born = {pid: _started(pid) for pid in (alive, odd, dead)}
    os.kill(dead, signal.SIGKILL)
    os.waitid(os.P_PID, dead, os.WEXITED | os.WNOWAIT)  # not collected: a zombie
    try:
        return _compare(
            trial,
            (
                ("it lives, the gate is there", alive, born[alive], gate, "created",
                 "The gate goes away at `start`."),
                ("it lives, no gate", alive, born[alive], gone, "running",
                 "No gate: it has been started."),
                ("no such process", 4_000_000, 7, gone, "stopped",
                 "Then there is no directory in /proc."),
                ("no such process, the gate is still there", 4_000_000, 7, gate, "stopped",
                 "Killed before `start`: look at the process first, then at the gate."),
                ("a zombie: ended, not collected", dead, born[dead], gone, "stopped",
                 "Field 3 of its stat is Z. Nothing of it runs any more."),
                ("its number, but another process that began later", alive, born[alive] - 5, gone,
                 "stopped", "Numbers come round again: only number and start time are it."),
                ("a program that calls itself `a b) R 1 2`", odd, born[odd], gone, "running",
                 "Field 2 is the program's own word, blanks and all: cut at the last `)`."),
            ),
        )  # fmt: skip
    finally:
        for pid in (alive, odd):
            os.kill(pid, signal.SIGKILL)
        for pid in (alive, odd, dead):
            os.waitpid(pid, 0)


def _compare(trial: Trial, cases: tuple[tuple[str, int, int, str, str, str], ...]) -> Outcome:
    for what, pid, started, gate, wanted, hint in cases:
        result = trial.attempt("status", pid, started, gate)
        found = repr(result.value) if result.returned else result.error
        if found != repr(wanted):
            return not_yet(
                expected=f"{what}: {wanted!r}", observed=found, where="`status`", hint=hint
            )
    return done("seven containers, none of them asked")


EXERCISE = Exercise(
    id="runtime.status",
    notebook="13_runtime",
    title="A state that is never stored",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox",),
    hints=(
        "Read /proc/PID/stat: field 3 is the process's state, field 22 when it began (proc(5)).",
        "Cut at the last `)`: what follows begins with field 3, so field 22 is number 19 of it.",
        "No file, a `Z`, or another start time: stopped. Else the gate tells created from running.",
    ),
    wrong=(
        Wrong(ONLY_ALIVE, "a zombie"),
        Wrong(NO_ZOMBIE, "Nothing of it runs any more"),
        Wrong(BLANKS, "cut at the last"),
        Wrong(GATE_FIRST, "look at the process first"),
    ),
)
