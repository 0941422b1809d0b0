"""cgroups.throttled: how often a group wanted more processor time than it may have."""

from __future__ import annotations

import subprocess
import sys

from labcontainer import cgroups
from labcontainer.kernel import files
from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
def throttled(stat: str) -> float:
    """The share of periods, 0 to 1, in which the group had to stop; `stat` is cpu.stat's text."""
    ...
'''

SOLUTION = '''\
def throttled(stat: str) -> float:
    """The share of periods, 0 to 1, in which the group had to stop; `stat` is cpu.stat's text."""
    numbers = dict(line.split() for line in stat.splitlines())
    periods = int(numbers.get("nr_periods", 0))
    return int(numbers["nr_throttled"]) / periods if periods else 0.0
'''

NO_PERIODS = SOLUTION.replace(" if periods else 0.0", "")
TURNED = SOLUTION.replace(
    'int(numbers["nr_throttled"]) / periods if periods',
    'periods / int(numbers["nr_throttled"]) if int(numbers.get("nr_throttled", 0))',
)
SPIN = "import time\nwhile time.process_time() < 0.1: pass"


def check(trial: Trial) -> Outcome:
    group = cgroups.Cgroup(f"/{trial.group}", cgroups.detect())
    with group:
        file = f"{group.directory('cpu')}/cpu.stat"
        fresh = files.read(file)
        quota = trial.number("quota", 10, 25) * 1000
        group.apply(cgroups.Limits(cpu_quota=quota, cpu_period=100_000))
        _spin(group)
        stat = files.read(file)
    if trial.attempt("throttled", fresh).error or trial.call("throttled", fresh) != 0:
        return not_yet(
            expected="0 for a group that has not run yet",
            observed=trial.attempt("throttled", fresh).error or "another number",
            where="the division",
            hint="nr_periods is 0 until the first process runs.",
        )
    periods = trial.number("periods", 20, 90)
    stops = periods // trial.number("part", 2, 5)
    example = f"nr_periods {periods}\nnr_throttled {stops}\nthrottled_time 987654321"
    return _compare(trial, example) or _compare(trial, stat) or done("as the kernel counts it")


def _compare(trial: Trial, stat: str) -> Outcome | None:
    found = trial.call("throttled", stat)
    if not isinstance(found, int | float) or isinstance(found, bool) or not 0 <= found <= 1:
        return not_yet(
            expected="a share from 0 to 1",
            observed=repr(found),
            where="what is divided by what",
            hint="A share: the periods with a stop, of all periods.",
        )
    numbers = dict(line.split() for line in stat.splitlines())
    truth = int(numbers["nr_throttled"]) / max(int(numbers["nr_periods"]), 1)
    if abs(found - truth) > 1e-9:
        return not_yet(
            expected=f"{truth:.3f} of: {stat!r:.70}",
            observed=repr(found),
            where="which lines are read",
            hint="nr_throttled and nr_periods; throttled_time is a time, not a count.",
        )
    return None


def _spin(group: cgroups.Cgroup) -> None:
    argv = [sys.executable, "-I", "-S", "-c", "input()\n" + SPIN]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, text=True) as program:
        group.add(program.pid)
        program.communicate("go\n")


EXERCISE = Exercise(
    id="cgroups.throttled",
    notebook="05_cgroups",
    title="How often was it throttled?",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("cgroup-write",),
    writes=("cgroup",),
    seconds=30,
    hints=(
        "cpu.stat has a name and a number on each line.",
        "nr_periods counts the periods in which anything ran, nr_throttled those with a stop.",
        "Their quotient; and 0 where there was no period yet.",
    ),
    wrong=(
        Wrong(NO_PERIODS, "nr_periods is 0"),
        Wrong(TURNED, "A share"),
    ),
)
