"""breakouts.close_others: no descriptor of the runtime's goes with the container's program."""

from __future__ import annotations

import os
import shutil

from labcontainer.lab import box
from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
from labcontainer.kernel import syscalls


def close_others(keep: int) -> None:
    """Close all descriptors but 0, 1, 2 and the next `keep`, which are the program's own.

    After this the runtime goes to the working directory that the image names, and execs.
    """
    ...
'''

SOLUTION = HOLE.replace("    ...\n", "    syscalls.close_range(3 + keep)\n")

AT_EXEC = HOLE.replace(
    "    ...\n",
    "    from labcontainer.kernel.flags import CLOSE_RANGE\n"
    "    syscalls.close_range(3 + keep, flags=CLOSE_RANGE.CLOEXEC)\n",
)
FEW = HOLE.replace(
    "    ...\n",
    "    import os\n\n    os.closerange(3 + keep, 64)\n",
)
NOT_KEPT = SOLUTION.replace("3 + keep", "3")
STREAMS = SOLUTION.replace("3 + keep", "keep")

# The runtime's last steps; two of its descriptors lead to a directory of the host's.
SCENE = """

import os

def _runtime(program, folder, keep, low, high):
    pid = os.fork()
    if pid == 0:
        try:
            for number in range(3, 3 + keep):
                os.dup2(0, number)
            leak = os.open(folder, os.O_RDONLY)
            for number in (low, high):
                os.dup2(leak, number)
            close_others(keep)
            try:
                os.chdir(f"/proc/self/fd/{low}")
            except OSError:
                os.chdir("/")
            os.execv(program, ["sleep", "60"])
        finally:
            os._exit(1)
    return pid
"""


def check(trial: Trial) -> Outcome:
    trial.code += SCENE
    folder = trial.directory("host", {"treasure": trial.secret()})
    low, high = trial.number("low", 12, 40), trial.number("high", 300, 900)
    path = shutil.which("sleep") or "/bin/sleep"
    for keep in (0, trial.number("keep", 2, 4)):
        with trial.hold("_runtime", path, folder, keep, low, high) as process:
            wrong = _look(process.value, keep)
        if wrong:
            return wrong
    return done("/proc/PID/fd: the three streams, and what was handed over; the rest is closed")


def _look(pid: int, keep: int) -> Outcome | None:
    box.asleep(pid)
    try:
        found = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}
        stands = os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        found, stands = set(), ""
    wanted = set(range(3 + keep))
    if found == wanted and stands == "/":
        return None
    if found - wanted:
        hint = "Descriptors may have any number up to a million: leave the end open."
    elif not {0, 1, 2} <= found:
        hint = "0, 1 and 2 are the program's input and output."
    elif wanted - found:
        hint = f"keep={keep}: an honest program was handed these, a socket to listen on for one."
    else:
        hint = "Closed at the exec is too late: the working directory was reached before it."
    return not_yet(
        expected=f"descriptors {sorted(wanted)}, working directory /",
        observed=f"descriptors {sorted(found)}, working directory {stands or 'unknown'}",
        where="`close_others`",
        hint=hint,
    )


EXERCISE = Exercise(
    id="breakouts.close_others",
    notebook="19_breakouts",
    title="Close what is not the program's",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox",),
    seconds=20,
    hints=(
        "close_range(2) closes a whole range of descriptors at once.",
        "`syscalls.close_range(first)` closes from `first` to the last one there can be.",
        "The first one that is not the program's: `3 + keep`.",
    ),
    wrong=(
        Wrong(AT_EXEC, "Closed at the exec is too late"),
        Wrong(FEW, "any number up to a million"),
        Wrong(NOT_KEPT, "was handed these"),
        Wrong(STREAMS, "input and output"),
    ),
)
