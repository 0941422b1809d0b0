"""start.facts: read three facts of a process from /proc."""

from __future__ import annotations

import os

from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
import os


def facts(pid: int) -> dict[str, object]:
    """The name, the user's number and the root directory of a process, read from /proc."""
    ...
'''

SOLUTION = '''\
import os


def facts(pid: int) -> dict[str, object]:
    """The name, the user's number and the root directory of a process, read from /proc."""
    with open(f"/proc/{pid}/comm") as file:
        name = file.read().strip()
    return {"name": name, "uid": os.stat(f"/proc/{pid}").st_uid, "root": os.readlink(f"/proc/{pid}/root")}
'''

OWN_PROCESS = SOLUTION.replace("/proc/{pid}", "/proc/self")
NEWLINE = SOLUTION.replace(".strip()", "")
NO_ROOT = SOLUTION.replace(', "root": os.readlink(f"/proc/{pid}/root")', "")


def check(trial: Trial) -> Outcome:
    return done()


EXERCISE = Exercise(
    id="start.facts", notebook="00_start_here", title="Three facts from /proc", hole=HOLE,
    solution=SOLUTION, check=check, hints=("a", "b", "c"),
    wrong=(Wrong(OWN_PROCESS, "x"), Wrong(NEWLINE, "y")),
)
