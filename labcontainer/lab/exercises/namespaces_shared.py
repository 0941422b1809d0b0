"""namespaces.shared: which namespaces two processes are in together."""

from __future__ import annotations

import os

from labcontainer.lab import child
from labcontainer.lab.child import Job
from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

KINDS = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")

HOLE = '''\
import os

KINDS = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")


def shared(one: int, other: int) -> list[str]:
    """Those of KINDS whose namespace the processes `one` and `other` are both in."""
    return [kind for kind in KINDS if ...]
'''

SOLUTION = '''\
import os

KINDS = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")


def number(pid: int, kind: str) -> int:
    """The inode number behind the link in /proc."""
    return os.stat(f"/proc/{pid}/ns/{kind}").st_ino


def shared(one: int, other: int) -> list[str]:
    """Those of KINDS whose namespace the processes `one` and `other` are both in."""
    return [kind for kind in KINDS if number(one, kind) == number(other, kind)]
'''

BOTH_HAVE_ONE = SOLUTION.replace(
    "number(one, kind) == number(other, kind)",
    'os.path.exists(f"/proc/{one}/ns/{kind}") and os.path.exists(f"/proc/{other}/ns/{kind}")',
)
TURNED = SOLUTION.replace("==", "!=")
OF_THE_LINK = SOLUTION.replace("os.stat(", "os.lstat(")

STAY = "import time\n\n\ndef stay():\n    time.sleep(60)\n"


def check(trial: Trial) -> Outcome:
    left = tuple(trial.random().sample(("ipc", "uts", "net", "mnt"), 2))
    plain, second, apart = (_stays(trial, kinds) for kinds in ((), (), left))
    for one, other in ((plain, apart), (plain, second), (apart, apart)):
        wanted = [kind for kind in KINDS if _number(one, kind) == _number(other, kind)]
        answer = trial.call("shared", one, other)
        if answer != wanted:
            return not_yet(
                expected=f"{', '.join(wanted)}: the processes have these numbers in common",
                observed=", ".join(map(str, answer)) if isinstance(answer, list) else repr(answer),
                where="the condition after `if`",
                hint=_hint(answer),
            )
    return done("three pairs of processes, compared by the numbers behind /proc/PID/ns")


def _stays(trial: Trial, kinds: tuple[str, ...]) -> int:
    running = child.start(Job(source=STAY, call="stay", namespaces=kinds))
    trial.undo.push(running.kill)
    running.wait_started()
    return running.pid


def _number(pid: int, kind: str) -> int:
    return os.stat(f"/proc/{pid}/ns/{kind}").st_ino


def _hint(answer: object) -> str:
    if not isinstance(answer, list):
        return "Return a list of names out of KINDS."
    if not answer:
        return "Each link in /proc is a file of its own; what it leads to is the namespace: stat."
    if set(answer) == set(KINDS):
        return "Every process is in one namespace of each kind. Is it the same one?"
    return "These are the kinds in which they differ."


EXERCISE = Exercise(
    id="namespaces.shared",
    notebook="03_namespaces",
    title="Are they in the same one?",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox",),
    hints=(
        "A namespace has no name, but it has a number: that of the file behind /proc/PID/ns/KIND.",
        "`os.stat(path).st_ino` follows the link; so does `os.readlink(path)`, as text.",
        'Compare `os.stat(f"/proc/{one}/ns/{kind}").st_ino` with that of `other`.',
    ),
    wrong=(
        Wrong(BOTH_HAVE_ONE, "Is it the same one"),
        Wrong(TURNED, "in which they differ"),
        Wrong(OF_THE_LINK, "is a file of its own"),
    ),
)
