"""breakouts.sealed: the runtime's program, in a copy that nobody can change."""

from __future__ import annotations

import errno
from typing import Any

from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
import fcntl
import os

from labcontainer.kernel import syscalls
from labcontainer.kernel.flags import F_SEAL, MFD


def sealed(path: str) -> int:
    """A descriptor of a copy in memory of the program at `path`: nobody can change it any more."""
    copy = syscalls.memfd_create("runtime", MFD.CLOEXEC | MFD.ALLOW_SEALING)
    ...
    return copy
'''

_FILL = """\
    with open(path, "rb") as program:
        os.write(copy, program.read())
"""
_SEAL = """\
    seals = F_SEAL.WRITE | F_SEAL.SHRINK | F_SEAL.GROW | F_SEAL.SEAL
    fcntl.fcntl(copy, fcntl.F_ADD_SEALS, int(seals))
"""
SOLUTION = HOLE.replace("    ...\n", _FILL + _SEAL)

COPY = SOLUTION.replace(_SEAL, "")
THE_FILE = SOLUTION.replace(
    _FILL + _SEAL, "    os.close(copy)\n    copy = os.open(path, os.O_RDONLY)\n"
)
TOO_EARLY = SOLUTION.replace(_FILL + _SEAL, _SEAL + _FILL)
CAN_SHRINK = SOLUTION.replace("F_SEAL.WRITE | F_SEAL.SHRINK | F_SEAL.GROW", "F_SEAL.WRITE")
CAN_WRITE = SOLUTION.replace("F_SEAL.WRITE | ", "")
EMPTY = SOLUTION.replace(_FILL, "")

SCENE = """

from labcontainer.lab import attacks_engine, box

def _tried(treasure):
    box.furnish(treasure)
    return attacks_engine.runtime(sealed)
"""


def check(trial: Trial) -> Outcome:
    trial.code += SCENE
    program = trial.directory("opt", {"program": trial.secret()}) + "/program"
    with trial.hold("sealed", program) as process:
        copy = f"/proc/{process.pid}/fd/{process.value}"
        with open(copy, "rb") as file, open(program, "rb") as original:
            same = file.read() == original.read()
    if not same:
        return not_yet(
            expected="the copy has the program's bytes", observed="other bytes, or none",
            where="before the seals", hint="Read the file, and write that to the copy.",
        )  # fmt: skip
    found: dict[str, Any] = trial.call("_tried", trial.secret(), timeout=20)
    if found["attack"]:
        return _changed(found["told"])
    if not found["honest"]:
        return not_yet(
            expected="the runtime runs in the box, from the copy",
            observed=found["answer"],
            where="what you return",
        )
    return done("what /proc/PID/exe gave was a copy, and a sealed one")


def _changed(told: str) -> Outcome:
    hint = "A copy without seals is one more file to write to, and the next call runs it."
    if told == "written":
        hint = "F_SEAL.WRITE is missing: the bytes could be changed where they stand."
    elif "written" not in told:
        hint = "F_SEAL.WRITE leaves the length alone: SHRINK and GROW close that, too."
    return not_yet(
        expected="program and copy are what they were before the container ran",
        observed=f"opened by /proc/PID/exe, and {told}",
        where="the seals",
        hint=hint,
    )


EXERCISE = Exercise(
    id="breakouts.sealed",
    notebook="19_breakouts",
    title="Sealed",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox", "mount"),
    errors=((errno.EPERM, "What is sealed can't be filled any more: the seals come last."),),
    seconds=45,
    hints=(
        "First the bytes of the program, then the seals: memfd_create(2), fcntl(2).",
        "Four seals: F_SEAL.WRITE, SHRINK, GROW, and SEAL, so that it stays as it is.",
        "`fcntl.fcntl(copy, fcntl.F_ADD_SEALS, int(seals))`.",
    ),
    wrong=(
        Wrong(COPY, "one more file to write to"),
        Wrong(THE_FILE, "one more file to write to"),
        Wrong(TOO_EARLY, "the seals come last"),
        Wrong(CAN_SHRINK, "leaves the length alone"),
        Wrong(CAN_WRITE, "F_SEAL.WRITE is missing"),
        Wrong(EMPTY, "other bytes, or none"),
    ),
)
