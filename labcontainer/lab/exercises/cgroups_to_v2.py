"""cgroups.to_v2: the files and values of version 2 for what version 1 would be told."""

from __future__ import annotations

from labcontainer import limits
from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
def to_v2(memory: int, memory_swap: int, quota: int, period: int, pids: int) -> dict[str, str]:
    """Version 2's files and what to write there; -1 is no limit."""
    return {
        "memory.max": ...,
        "memory.swap.max": ...,
        "cpu.max": ...,
        "pids.max": ...,
    }
'''

SOLUTION = '''\
def to_v2(memory: int, memory_swap: int, quota: int, period: int, pids: int) -> dict[str, str]:
    """Version 2's files and what to write there; -1 is no limit."""

    def number(value: int) -> str:
        return "max" if value == -1 else str(value)

    return {
        "memory.max": number(memory),
        "memory.swap.max": "max" if memory_swap == -1 else str(memory_swap - memory),
        "cpu.max": f"{number(quota)} {period}",
        "pids.max": number(pids),
    }
'''

WITH_MEMORY = SOLUTION.replace("str(memory_swap - memory)", "str(memory_swap)")
MINUS_ONE = SOLUTION.replace('"max" if value == -1 else str(value)', "str(value)")
TURNED = SOLUTION.replace("{number(quota)} {period}", "{period} {number(quota)}")

_WHY = {
    "memory.swap.max": "Version 1 counts memory and swap together, version 2 swap alone.",
    "cpu.max": "Two numbers, one line: the quota, then the period.",
}


def check(trial: Trial) -> Outcome:
    for memory, swap, quota, period, pids in _cases(trial):
        found = trial.call("to_v2", memory, swap, quota, period, pids)
        wished = limits.Limits(
            memory=memory, memory_swap=swap, cpu_quota=quota, cpu_period=period, pids=pids
        )
        wanted = {
            step.file: step.value for step in limits.plan(wished) if isinstance(step, limits.Write)
        }
        for file, value in wanted.items():
            got = found.get(file) if isinstance(found, dict) else found
            if got != value:
                called = f"to_v2({memory}, {swap}, {quota}, {period}, {pids})"
                hint = _WHY.get(file, f"{file} takes a number as text.")
                return not_yet(
                    expected=f"{called}: {file} {value!r}",
                    observed=repr(got),
                    where=f"the line of {file}",
                    hint="No limit is the word max here." if "-1" in str(got) else hint,
                )
    return done("four files, with and without limits")


def _cases(trial: Trial) -> list[tuple[int, int, int, int, int]]:
    memory = trial.number("memory", 20, 90) << 20
    more = memory + (trial.number("swap", 1, 50) << 20)
    quota, pids = trial.number("quota", 2, 90) * 1000, trial.number("pids", 10, 90)
    return [
        (memory, more, quota, 100_000, pids),
        (memory, memory, quota, 50_000, pids),
        (memory, more, -1, 100_000, -1),
        (-1, -1, quota, 100_000, pids),
    ]


EXERCISE = Exercise(
    id="cgroups.to_v2",
    notebook="05_cgroups",
    title="The same limits in version 2",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    hints=(
        "The table above has the file names. All values are text.",
        "Version 2 writes `max` where version 1 writes -1.",
        "`memory.swap.max` is the swap alone: memory_swap - memory.",
    ),
    wrong=(
        Wrong(WITH_MEMORY, "swap alone"),
        Wrong(MINUS_ONE, "the word max"),
        Wrong(TURNED, "the quota, then the period"),
    ),
)
