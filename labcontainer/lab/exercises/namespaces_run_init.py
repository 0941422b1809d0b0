"""namespaces.run_init: be PID 1 for a program that was not written for it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

from labcontainer.kernel import files
from labcontainer.lab import child, limits
from labcontainer.lab.child import Job, Running
from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import LearnerError, Trial

HOLE = '''\
import os
import signal

from labcontainer import namespaces

WATCHED = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}


def run_init(argv: list[str], env: dict[str, str] | None = None) -> int:
    """Run a program as PID 1's child: pass signals on, reap, give back the program's status."""
    signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)  # they wait until we ask for them
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, WATCHED)
        os.execvpe(argv[0], argv, os.environ if env is None else env)
    while True:
        number = signal.sigwait(WATCHED)
        ...
'''

SOLUTION = '''\
import os
import signal

from labcontainer import namespaces

WATCHED = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}


def run_init(argv: list[str], env: dict[str, str] | None = None) -> int:
    """Run a program as PID 1's child: pass signals on, reap, give back the program's status."""
    signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)  # they wait until we ask for them
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, WATCHED)
        os.execvpe(argv[0], argv, os.environ if env is None else env)
    while True:
        number = signal.sigwait(WATCHED)
        if number != signal.SIGCHLD:
            os.kill(child, number)
            continue
        for pid, status in namespaces.reap():
            if pid == child:
                return status if status >= 0 else 128 - status
'''

_PASS_ON = "            os.kill(child, number)\n"
_COLLECT = SOLUTION[SOLUTION.index("        for pid, status") :]
DEAF = SOLUTION.replace(_PASS_ON, "")
TO_ITSELF = SOLUTION.replace("os.kill(child, number)", "os.kill(os.getpid(), number)")
ANY_CHILD = SOLUTION.replace(
    _COLLECT, "        for pid, status in namespaces.reap():\n            return status\n"
)
ONLY_ITS_OWN = SOLUTION.replace(
    _COLLECT,
    "        pid, status = os.waitpid(child, os.WNOHANG)\n"
    "        if pid == child:\n"
    "            return os.waitstatus_to_exitcode(status)\n",
)
MINUS = SOLUTION.replace("status if status >= 0 else 128 - status", "status")

SCENE = '\n\ndef _scene(script):\n    return run_init(["/bin/sh", "-c", script])\n'
# The two subshells are orphans at once: their parent, the subshell around them, has ended.
ORPHANS = "(exit 3 & exit 4 &) ; "


def check(trial: Trial) -> Outcome:
    trial.code += SCENE
    code = trial.number("code", 2, 100)
    return (
        _status(trial, f"exit {code}", code, "The program's exit code is yours.")
        or _zombies(trial)
        or _status(
            trial,
            f"{ORPHANS} sleep 0.3; exit {code}",
            code,
            "PID 1 gets everybody's orphans: a child that ended need not be the program.",
        )
        or _passes_on(trial, code)
        or _status(
            trial,
            "kill -KILL $$",
            137,
            "A shell tells a signal as 128 and its number; a negative status can't be exited with.",
        )
        or done("signals reach the program, orphans are reaped, the status is the program's")
    )


def _start(trial: Trial, script: str) -> Running:
    job = Job(source=trial.code, file="<namespaces.run_init>", call="_scene", args=(script,))
    running = child.start(job.replace(namespaces=("pid",)))
    trial.undo.push(running.kill)
    running.wait_started()
    return running


def _status(trial: Trial, script: str, wanted: int, hint: str) -> Outcome | None:
    result = _start(trial, script).wait(5 * limits.busy())
    if result.error or result.timed_out or not result.returned:
        raise LearnerError("run_init", result)
    if result.value == wanted:
        return None
    return not_yet(
        expected=f"sh -c '{script}' gives {wanted}",
        observed=repr(result.value),
        where="what you return",
        hint=hint,
    )


def _zombies(trial: Trial) -> Outcome | None:
    left = f"{trial.room}/left"
    running = _start(trial, f"{ORPHANS} : > {left}; exec sleep 60")
    _until(lambda: os.path.exists(left), 3)
    _until(lambda: len(_children(running.pid)) <= 1, 1)  # the program alone
    dead = [pid for pid in _children(running.pid) if _field(pid, "State").startswith("Z")]
    running.kill()
    if not dead:
        return None
    return not_yet(
        expected="two orphans ended: no zombie below PID 1",
        observed=f"zombies below PID 1: {len(dead)}",
        where="what you do at SIGCHLD",
        hint="Whoever waits for the program alone leaves the orphans lying: namespaces.reap().",
    )


def _passes_on(trial: Trial, code: int) -> Outcome | None:
    ready = f"{trial.room}/ready"
    trap = f"trap 'exit {code}' TERM; : > {ready}; while :; do sleep 0.05; done"
    running = _start(trial, trap)
    _until(lambda: os.path.exists(ready), 3)
    os.kill(running.pid, signal.SIGTERM)
    result = running.wait(limits.busy())
    if result.value == code:
        return None
    return not_yet(
        expected=f"SIGTERM to PID 1: the program's trap runs, and it ends with {code}",
        observed=result.error
        or ("the program still runs" if result.timed_out else f"it gave {result.value!r}"),
        where="what you do with a signal that is not SIGCHLD",
        hint="It came to PID 1; the program never heard of it. Send it on: os.kill(child, …).",
    )


def _until(condition: Callable[[], bool], seconds: float) -> None:
    last = time.monotonic() + seconds * limits.busy()
    while not condition() and time.monotonic() < last:
        time.sleep(0.02)


def _children(pid: int) -> list[int]:
    numbers = [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    return [each for each in numbers if _field(each, "PPid") == str(pid)]


def _field(pid: int, name: str) -> str:
    try:
        lines = files.read(f"/proc/{pid}/status").splitlines()
    except OSError:
        return ""  # it ended while we looked
    return next(line.partition(":")[2].strip() for line in lines if line.startswith(f"{name}:"))


EXERCISE = Exercise(
    id="namespaces.run_init",
    notebook="03_namespaces",
    title="A mini-init",
    hole=HOLE,
    solution=SOLUTION,
    own="labcontainer.namespaces.run_init",
    replaces="labcontainer.namespaces.run_init",
    check=check,
    needs=("sandbox",),
    hints=(
        "Two kinds of signals come: SIGCHLD (somebody ended) and all others (for the program).",
        "`os.kill(child, number)` passes one on. At SIGCHLD, `namespaces.reap()` tells who ended.",
        "If the program's pid is among them, return its status; below 0, return 128 - status.",
    ),
    wrong=(
        Wrong(DEAF, "the program never heard of it"),
        Wrong(TO_ITSELF, "the program never heard of it"),
        Wrong(ANY_CHILD, "PID 1 gets everybody's orphans"),
        Wrong(ONLY_ITS_OWN, "leaves the orphans lying"),
        Wrong(MINUS, "128 and its number"),
    ),
    seconds=30,
)
