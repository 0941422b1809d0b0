"""bench.per_call: the time of one call, without what surrounds it."""

from __future__ import annotations

from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
def per_call(few: int, seconds_few: float, many: int, seconds_many: float) -> float:
    """Seconds of one call, from two runs of the same program: few calls, and many.

    Both have the same start-up and end, which are not to be in the answer.
    """
    ...
'''

SOLUTION = HOLE.replace("    ...\n", "    return (seconds_many - seconds_few) / (many - few)\n")
DIVIDED = HOLE.replace("    ...\n", "    return seconds_many / many\n")
MEAN = HOLE.replace("    ...\n", "    return (seconds_few / few + seconds_many / many) / 2\n")
TURNED = HOLE.replace("    ...\n", "    return (seconds_many - seconds_few) / many\n")


def check(trial: Trial) -> Outcome:
    for start, call in ((0.04, 1e-5), (4.0, 7e-7), (0.0, 2e-3)):
        few, many = 100, trial.number("many", 300, 900)
        said = trial.call("per_call", few, start + few * call, many, start + many * call)
        if not isinstance(said, (int, float)) or abs(said - call) > 0.001 * call:
            return not_yet(
                expected=f"{call * 1e6:g} µs: with {start:g} s of start-up, {few} and {many} calls",
                observed=f"{said * 1e6:.3g} µs" if isinstance(said, (int, float)) else repr(said),
                where="the return line",
                hint=_hint(said, start, few, many, call),
            )
    return done("the start-up is gone, however long it was")


def _hint(said: object, start: float, few: int, many: int, call: float) -> str:
    if isinstance(said, (int, float)) and abs(said - call * (many - few) / many) < 0.001 * call:
        return "The difference has only the calls that the longer run has more: divide by those."
    if isinstance(said, (int, float)) and abs(said - (start / many + call)) < 0.001 * call:
        return "That holds a share of the start-up. What have both runs in common?"
    return "A mean of two wrong numbers is wrong. Take from one run what the other has too."


EXERCISE = Exercise(
    id="bench.per_call",
    notebook="18_vm_vs_container",
    title="Only what was asked",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    hints=(
        "seconds = start-up + calls x seconds of one call, for both runs.",
        "Take one line from the other: the start-up goes.",
        "`(seconds_many - seconds_few) / (many - few)`",
    ),
    wrong=(
        Wrong(DIVIDED, "a share of the start-up"),
        Wrong(MEAN, "A mean of two wrong numbers"),
        Wrong(TURNED, "divide by those"),
    ),
)
