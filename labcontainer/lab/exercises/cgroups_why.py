"""cgroups.why: out of memory, or a plain 137?"""

from __future__ import annotations

import os
import subprocess
import sys

from labcontainer import cgroups
from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
def why(status: int, oom_kills: int) -> str:
    """What ended a container: "out of memory", "killed" (by somebody) or "ended" (by itself).

    `status` is as a shell has it: 128 + 9 after SIGKILL. `oom_kills` is how many processes of the
    group the kernel has killed for want of memory.
    """
    ...
'''

SOLUTION = '''\
def why(status: int, oom_kills: int) -> str:
    """What ended a container: "out of memory", "killed" (by somebody) or "ended" (by itself).

    `status` is as a shell has it: 128 + 9 after SIGKILL. `oom_kills` is how many processes of the
    group the kernel has killed for want of memory.
    """
    if status != 137:
        return "ended"
    return "out of memory" if oom_kills else "killed"
'''

ONLY_STATUS = SOLUTION.replace(' if oom_kills else "killed"', "")
ONLY_COUNT = SOLUTION.replace('''    if status != 137:
        return "ended"
''', '').replace('"killed"\n', '"killed" if status == 137 else "ended"\n')  # fmt: skip

# What is run in the group, and the true answer. `kill` is what the check does to it.
CASES = (
    ("a hog", "x = bytearray(200 << 20)", False, "out of memory"),
    ("kill -9 from outside", "sys.stdin.readline()", True, "killed"),
    ("a program that ends well", "pass", False, "ended"),
    (
        "a parent that lives on when its child is out of memory",
        "import os\npid = os.fork()\nif not pid: bytearray(200 << 20)\nos.waitpid(pid, 0)",
        False,
        "ended",
    ),
)


def run(group: cgroups.Cgroup, code: str, kill: bool) -> int:
    """The status of a program in a group, as a shell has it."""
    argv = [sys.executable, "-I", "-S", "-c", "import sys\nsys.stdin.readline()\n" + code]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stderr=quiet, text=True) as program:
        group.add(program.pid)
        assert program.stdin is not None
        program.stdin.write("go\n")
        program.stdin.flush()
        if kill:
            program.kill()
        status = program.wait()
    return status if status >= 0 else 128 - status


def check(trial: Trial) -> Outcome:
    layout = cgroups.detect()
    for number, (what, code, kill, truth) in enumerate(CASES):
        with cgroups.Cgroup(os.path.join("/", trial.group, str(number)), layout) as group:
            group.apply(cgroups.Limits(memory=32 << 20, memory_swap=32 << 20))
            status = run(group, code, kill)
            kills = group.oom_kills()
        said = trial.call("why", status, kills)
        if said != truth:
            return not_yet(
                expected=f"{what}: why({status}, {kills}) = {truth!r}",
                observed=repr(said),
                where="`why`",
                hint="137 says SIGKILL, not who sent it. Who counts its own?"
                if not kills
                else "Some process of the group was killed, but not the one whose status this is.",
            )
    return done("four ends, each with its own reason")


EXERCISE = Exercise(
    id="cgroups.why",
    notebook="05_cgroups",
    title="Out of memory, or a plain 137?",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("cgroup-write",),
    writes=("cgroup",),
    seconds=40,
    hints=(
        "128 + 9 is what a shell makes of SIGKILL, whoever sent it.",
        "The OOM killer counts what it kills: `oom_kill` in memory.events or memory.oom_control.",
        "Both must be so: the status is 137, and the count is not 0.",
    ),
    wrong=(
        Wrong(ONLY_STATUS, "not who sent it"),
        Wrong(ONLY_COUNT, "not the one whose status"),
    ),
)
