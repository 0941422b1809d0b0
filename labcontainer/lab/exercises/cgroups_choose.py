"""cgroups.choose: limits in which a worker lives and a hog does not."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from labcontainer import cgroups
from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
def choose(worker_mib: int, worker_processes: int) -> dict[str, int]:
    """Limits for a worker that fills so many MiB and has so many processes, itself included."""
    return {"memory": ..., "memory_swap": ..., "pids": ...}
'''

SOLUTION = '''\
def choose(worker_mib: int, worker_processes: int) -> dict[str, int]:
    """Limits for a worker that fills so many MiB and has so many processes, itself included."""
    memory = (worker_mib + 12) << 20
    return {"memory": memory, "memory_swap": memory, "pids": worker_processes}
'''

TOO_SMALL = SOLUTION.replace("(worker_mib + 12) << 20", "worker_mib << 20")
TOO_MANY = SOLUTION.replace('"pids": worker_processes', '"pids": worker_processes + 8')
MEGABYTES = SOLUTION.replace("(worker_mib + 12) << 20", "worker_mib + 12")
GENEROUS = SOLUTION.replace("worker_mib + 12", "worker_mib * 4")

# A worker: fills memory, then has its processes, then ends well.
WORKER = """
import os, signal, sys
sys.stdin.readline()
mib, processes = map(int, sys.argv[1:])
room = bytearray(mib << 20)
made = []
try:
    for _ in range(processes - 1):
        pid = os.fork()
        if pid == 0:
            signal.pause()
        made.append(pid)
finally:
    for pid in made:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
"""


def run(group: cgroups.Cgroup, mib: int, processes: int) -> tuple[int, str]:
    """The worker's exit status in a group, and what it complained of."""
    argv = [sys.executable, "-I", "-S", "-c", WORKER, str(mib), str(processes)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as worker:
        group.add(worker.pid)
        assert worker.stdin is not None and worker.stderr is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
        said = worker.stderr.read()
        return worker.wait(), said


def check(trial: Trial) -> Outcome:
    mib, processes = trial.number("worker_mib", 20, 40), trial.number("worker_processes", 3, 6)
    chosen = trial.call("choose", mib, processes)
    names = ("memory", "memory_swap", "pids")
    if not isinstance(chosen, dict) or not all(isinstance(chosen.get(n), int) for n in names):
        return not_yet(
            expected="a dict with a number each for memory, memory_swap and pids",
            observed=repr(chosen),
            where="the return line",
            hint="memory and memory_swap are bytes, pids counts processes.",
        )
    group = cgroups.Cgroup(f"/{trial.group}", cgroups.detect())
    with group:
        group.apply(cgroups.Limits(**{name: chosen[name] for name in names}))
        return _try(group, chosen, mib, processes)


def _try(group: cgroups.Cgroup, chosen: dict[str, Any], mib: int, processes: int) -> Outcome:
    status, said = run(group, mib, processes)
    if status:
        killed = group.oom_kills()
        return not_yet(
            expected=f"the worker ({mib} MiB, {processes} processes) ends with status 0",
            observed=f"status {status}, {killed} killed for want of memory {said[-60:].strip()}",
            where="the value of " + ("memory" if killed else "pids"),
            hint="bytes, not MiB: shift by 20" if chosen["memory"] < 1 << 20
            else "Python itself needs some MiB beside the data." if killed
            else "The worker itself counts as a process too.",
        )  # fmt: skip
    status, _ = run(group, 3 * mib, 1)
    if not group.oom_kills():
        return not_yet(
            expected=f"a hog that fills {3 * mib} MiB is killed",
            observed=f"it ended with status {status}: memory {chosen['memory'] >> 20} MiB, "
            f"with swap {chosen['memory_swap'] >> 20} MiB",
            where="the values of memory and memory_swap",
            hint="The hog still fits. Leave room for the worker and Python, no more.",
        )
    status, said = run(group, 1, processes + 4)
    if "BlockingIOError" not in said:
        return not_yet(
            expected=f"the fork of process number {processes + 1} or so fails with EAGAIN",
            observed=f"{processes + 4} processes lived there: pids is {chosen['pids']}",
            where="the value of pids",
            hint="A process too many still starts. How many does the worker have?",
        )
    return done("the worker lives, the hog and the bomb do not", score=f"{chosen['memory']} bytes")


EXERCISE = Exercise(
    id="cgroups.choose",
    notebook="05_cgroups",
    title="Choose limits for a goal",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("cgroup-write",),
    writes=("cgroup",),
    seconds=40,
    hints=(
        "A MiB is `1 << 20` bytes. `memory_swap` is memory and swap together.",
        "With `memory_swap` equal to `memory` there is no swap to flee into.",
        "`memory = (worker_mib + 12) << 20`: Python needs about 8 MiB for itself.",
    ),
    wrong=(
        Wrong(TOO_SMALL, "Python itself needs"),
        Wrong(MEGABYTES, "bytes, not MiB"),
        Wrong(TOO_MANY, "A process too many"),
        Wrong(GENEROUS, "The hog still fits"),
    ),
)
