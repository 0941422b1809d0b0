"""start.inside: tell from outside whether a process is in a container's PID namespace."""

from __future__ import annotations

from labcontainer.lab import child
from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
import os


def inside(pid: int) -> bool:
    """Whether a process has a PID namespace other than ours."""
    return ...
'''

SOLUTION = HOLE.replace(
    "...", 'os.readlink(f"/proc/{pid}/ns/pid") != os.readlink("/proc/self/ns/pid")'
)
ALWAYS = HOLE.replace("...", "True")
NEVER = HOLE.replace("...", "False")
TURNED = SOLUTION.replace("!=", "==")
OTHER_KIND = SOLUTION.replace("ns/pid", "ns/mnt")

# What the process is, its new namespaces, the right answer.
CASES = (
    ("a process like all others", (), False),
    ("a process with a PID namespace of its own", ("pid",), True),
    ("a process with a mount namespace of its own, and no more", ("mnt",), False),
)


def check(trial: Trial) -> Outcome:
    answers = {what: _ask(trial, namespaces) for what, namespaces, _ in CASES}
    for what, _, wanted in CASES:
        if answers[what] is not wanted:
            return not_yet(
                expected=f"{wanted} for {what}",
                observed=f"{answers[what]!r}",
                where="the return line",
                hint=_hint([answers[what] for what, _, _ in CASES]),
            )
    return done("three processes, three right answers")


def _ask(trial: Trial, namespaces: tuple[str, ...]) -> object:
    running = child.start(child.Job(source="", hold=True, namespaces=namespaces))
    try:
        running.wait(5)
        return trial.call("inside", running.pid)
    finally:
        running.kill()


def _hint(given: list[object]) -> str:
    if given == [True, True, True]:
        return "It says yes to all. Good, you have seen a *not yet*; now ask the kernel."
    if given == [False, False, False]:
        return "It says no to all. `/proc/PID/ns` has a link for each kind of namespace."
    if given == [True, False, True]:
        return "Each answer is turned round. Equal links mean the same namespace."
    if given == [False, False, True]:
        return "That compares another kind. Which entry of `/proc/PID/ns` is about processes?"
    return "Compare the link `pid` in `/proc/PID/ns` with the one in `/proc/self/ns`."


EXERCISE = Exercise(
    id="start.inside",
    notebook="00_start_here",
    title="Is it in a container?",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox",),
    hints=(
        "Two processes are in the same namespace when their links in `/proc/PID/ns` are equal.",
        '`os.readlink(f"/proc/{pid}/ns/pid")` is the one side of the comparison.',
        "The other side is the same link of `/proc/self`; they differ for a process inside.",
    ),
    wrong=(
        Wrong(ALWAYS, "yes to all"),
        Wrong(NEVER, "no to all"),
        Wrong(TURNED, "turned round"),
        Wrong(OTHER_KIND, "another kind"),
    ),
)
