"""capstone.limit: resource limits that the program can't lift."""

from __future__ import annotations

from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
import resource
from typing import Any


def limit(limits: dict[str, Any]) -> None:
    """Put this process, and all that it starts, under limits that none of them can lift.

    `limits` has `seconds` of the processor, bytes of `memory` (RLIMIT_AS counts addresses, of which
    a program has more than it touches: give it twice as much), `processes`, open `files`, and bytes
    of the largest `file`. A core file has 0.
    """
    ...
'''

SOLUTION = '''\
import resource
from typing import Any


def limit(limits: dict[str, Any]) -> None:
    """Put this process, and all that it starts, under limits that none of them can lift.

    `limits` has `seconds` of the processor, bytes of `memory` (RLIMIT_AS counts addresses, of which
    a program has more than it touches: give it twice as much), `processes`, open `files`, and bytes
    of the largest `file`. A core file has 0.
    """
    wanted = {"CPU": limits["seconds"], "AS": 2 * limits["memory"], "CORE": 0}
    wanted |= {"NPROC": limits["processes"], "NOFILE": limits["files"], "FSIZE": limits["file"]}
    for name, most in wanted.items():
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (most, most))
'''

SOFT_ALONE = SOLUTION.replace(
    '        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (most, most))',
    '        kind = getattr(resource, f"RLIMIT_{name}")\n'
    "        resource.setrlimit(kind, (most, resource.getrlimit(kind)[1]))",
)
NO_MEMORY = SOLUTION.replace('"AS": 2 * limits["memory"], ', "")
AS_TOUCHED = SOLUTION.replace("2 * limits", "limits")
CORE_STAYS = SOLUTION.replace(', "CORE": 0', "")

# The line of /proc/PID/limits, what it is to be, and what to say where it is not.
LINES = (
    ("Max cpu time", "seconds", 1, "RLIMIT_CPU, in whole seconds."),
    ("Max address space", "memory", 2, "RLIMIT_AS, in bytes, and twice the memory."),
    ("Max processes", "processes", 1, "RLIMIT_NPROC."),
    ("Max open files", "files", 1, "RLIMIT_NOFILE."),
    ("Max file size", "file", 1, "RLIMIT_FSIZE, in bytes."),
    ("Max core file size", "core", 1, "A program that crashes writes its memory to a file."),
)


def check(trial: Trial) -> Outcome:
    limits = {
        "seconds": trial.number("seconds", 2, 9),
        "memory": trial.number("memory", 60, 90) << 20,
        "processes": trial.number("processes", 6, 12),
        "files": trial.number("files", 24, 60),
        "file": trial.number("file", 4, 12) << 20,
    }
    with trial.hold("limit", limits) as process:
        lines = process.read("limits").splitlines()
    for title, name, factor, hint in LINES:
        most = str(factor * {**limits, "core": 0}[name])
        line = next(line for line in lines if line.startswith(title))
        soft, hard = line.removeprefix(title).split()[:2]
        if soft == most and hard != most and name != "core":
            hint = "A soft limit may be lifted up to the hard one, by the program itself: set both."
        if (soft, hard) != (most, most):
            return not_yet(
                expected=f"/proc/PID/limits: {title} {most} (soft) {most} (hard)",
                observed=f"{soft} (soft) {hard} (hard)",
                where="setrlimit",
                hint=hint,
            )
    return done("six limits, soft and hard")


EXERCISE = Exercise(
    id="capstone.limit",
    notebook="21_capstone",
    title="Limits that can't be lifted",
    hole=HOLE,
    solution=SOLUTION,
    own="labcontainer.lab.capstone.limit",
    check=check,
    needs=("sandbox",),
    hints=(
        (
            "`resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))`, six times: CPU, AS, NPROC, "
            "NOFILE, FSIZE, CORE."
        ),
        "Who has no CAP_SYS_RESOURCE can lower the hard limit and never raise it again.",
        (
            "`resource.setrlimit(kind, (most, most))` for each kind; `most` of RLIMIT_AS is "
            "`2 * limits['memory']`."
        ),
    ),
    wrong=(
        Wrong(SOFT_ALONE, "set both"),
        Wrong(NO_MEMORY, "RLIMIT_AS, in bytes"),
        Wrong(AS_TOUCHED, "twice the memory"),
        Wrong(CORE_STAYS, "writes its memory to a file"),
    ),
)
