"""namespaces.reap: collect the children that have ended, and wait for none."""

from __future__ import annotations

from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import LearnerError, Trial

HOLE = '''\
import os


def reap() -> list[tuple[int, int]]:
    """Collect every child that has ended, waiting for none: pairs of (pid, exit status)."""
    ended: list[tuple[int, int]] = []
    while True:
        ...
    return ended
'''

SOLUTION = '''\
import os


def reap() -> list[tuple[int, int]]:
    """Collect every child that has ended, waiting for none: pairs of (pid, exit status)."""
    ended: list[tuple[int, int]] = []
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:  # no children at all
            break
        if pid == 0:  # some, and all of them alive
            break
        ended.append((pid, os.waitstatus_to_exitcode(status)))
    return ended
'''

ONE_ONLY = SOLUTION.replace(
    "        ended.append((pid, os.waitstatus_to_exitcode(status)))\n",
    "        ended.append((pid, os.waitstatus_to_exitcode(status)))\n        break\n",
)
WAITS = SOLUTION.replace("os.WNOHANG", "0")
RAW_STATUS = SOLUTION.replace("os.waitstatus_to_exitcode(status)", "status")
NO_CHILDREN = SOLUTION.replace(
    "except ChildProcessError:  # no children at all", "except KeyError:"
)

SCENE = '''

def _scene(codes, alive):
    """Children that ended with these codes (below 0: by that signal), and some that live on."""
    import os
    import signal
    import time

    born = {}
    for code in codes:
        pid = os.fork()
        if pid == 0:
            if code < 0:
                os.kill(os.getpid(), -code)
            os._exit(code)
        born[pid] = code
    living = []
    for _ in range(alive):
        pid = os.fork()
        if pid == 0:
            time.sleep(60)
            os._exit(0)
        living.append(pid)
    for pid in born:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    found = [list(pair) for pair in reap()]
    left = 0
    for pid in born:
        try:
            left += os.waitpid(pid, os.WNOHANG)[0] != 0
        except ChildProcessError:
            pass
    for pid in living:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return sorted(list(pair) for pair in born.items()), sorted(found), left
'''


def check(trial: Trial) -> Outcome:
    trial.code += SCENE
    codes = [trial.number("code", 1, 99), 0, -9]
    for scene, where in (
        ((codes, 1), "three children that ended and one that lives"),
        (([], 1), "a child that lives"),
        (([], 0), "no children"),
    ):
        try:
            born, found, left = trial.call("_scene", *scene)
        except LearnerError as error:
            if error.result.kind == "ChildProcessError":
                return _no_children(error)
            raise LearnerError("reap", error.result) from None
        if left:
            return not_yet(
                expected=f"{where}: no zombie is left",
                observed=f"zombies left: {left}",
                where="the loop",
                hint="One waitpid collects one child. Ask again until it says that none has ended.",
            )
        if found != born:
            return not_yet(
                expected=f"{where}: the status of each as the shell counts it, minus a signal",
                observed=f"statuses {[pair[1] for pair in found]}",
                where="what you put into the list",
                hint="waitpid gives exit code and signal in one number. waitstatus_to_exitcode.",
            )
    return done("every zombie is gone, with its status, and nobody was waited for")


def _no_children(error: LearnerError) -> Outcome:
    return not_yet(
        expected="no children: an empty list",
        observed=error.result.error,
        where="the call of waitpid",
        hint="Without any child waitpid has an errno of its own, ECHILD: Python's "
        "ChildProcessError. For a reaper that is an end like any other.",
    )


EXERCISE = Exercise(
    id="namespaces.reap",
    notebook="03_namespaces",
    title="The reaper",
    hole=HOLE,
    solution=SOLUTION,
    own="labcontainer.namespaces.reap",
    replaces="labcontainer.namespaces.reap",
    check=check,
    needs=("sandbox",),
    hints=(
        "`os.waitpid(-1, os.WNOHANG)` collects any one child that has ended.",
        "It has three answers: a pid, the pid 0 (none has ended), ChildProcessError (none at all).",
        "Loop: break on the last two, else append `(pid, os.waitstatus_to_exitcode(status))`.",
    ),
    wrong=(
        Wrong(ONE_ONLY, "One waitpid collects one child"),
        Wrong(WAITS, "a wait that nothing ends"),
        Wrong(RAW_STATUS, "gives exit code and signal in one number"),
        Wrong(NO_CHILDREN, "ECHILD"),
    ),
    seconds=20,
)
