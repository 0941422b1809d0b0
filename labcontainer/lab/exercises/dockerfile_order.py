"""dockerfile.order: the order of instructions that builds least anew."""

from __future__ import annotations

import itertools
from typing import Any

from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
def order(steps: dict[str, tuple[list[str], int, int]]) -> list[str]:
    """The names of all steps in the order that costs least, over a hundred builds.

    name -> (what must come before it, seconds it takes, builds of the 100 that change its input).
    A build makes a step anew if its input has changed, or if an earlier step was made anew.
    """
    found = []
    while len(found) < len(steps):
        ready = [name for name in steps if name not in found and set(steps[name][0]) <= set(found)]
        found.append(...)
    return found
'''

SOLUTION = HOLE.replace("append(...)", "append(min(ready, key=lambda name: steps[name][2]))")

AS_WRITTEN = SOLUTION.replace("min(ready, key=lambda name: steps[name][2])", "ready[0]")
CHEAP_FIRST = SOLUTION.replace("steps[name][2]", "steps[name][1]")
OFTEN_FIRST = SOLUTION.replace("min(ready", "max(ready")
NO_NEEDS = SOLUTION.replace(" and set(steps[name][0]) <= set(found)", "")


def check(trial: Trial) -> Outcome:
    steps = _steps(trial)
    found = trial.call("order", steps)
    if not isinstance(found, list) or sorted(map(str, found)) != sorted(steps):
        return not_yet(
            expected=f"all of {', '.join(sorted(steps))}, each once",
            observed=repr(found)[:90],
            where="what you return",
        )
    for place, name in enumerate(found):
        missing = [one for one in steps[name][0] if one not in found[:place]]
        if missing:
            return not_yet(
                expected=f"{missing[0]} before {name}",
                observed=" → ".join(found),
                where="`ready`",
                hint=f"{name} uses what {missing[0]} brought: it must come after it.",
            )
    orders = [list(one) for one in itertools.permutations(steps) if _allowed(list(one), steps)]
    best, cost = min(_cost(one, steps) for one in orders), _cost(found, steps)
    if cost > best * 1.001:
        return not_yet(
            expected=f"{best / 100:.1f} s a build",
            observed=f"{cost / 100:.1f} s a build: {' → '.join(found)}",
            where="what you append",
            hint=_hint(found, steps),
        )
    return done(f"{' → '.join(found)}", f"{cost / 100:.1f} s a build")


def _hint(found: list[str], steps: dict[str, Any]) -> str:
    first = found[0]
    if steps[first][2] == max(step[2] for step in steps.values() if not step[0]):
        return f"{first} changes most often, and all that follows it is made anew each time."
    return "How long a step takes is not what counts: what changes often takes all below it along."


def _steps(trial: Trial) -> dict[str, tuple[list[str], int, int]]:
    """A web program's steps; the numbers are the student's own."""
    install, build = trial.number("install", 60, 120), trial.number("build", 15, 30)
    return {
        "COPY source": ([], 1, trial.number("source", 60, 90)),
        "RUN install compiler": ([], install, 1),
        "COPY requirements": ([], 1, trial.number("requirements", 5, 9)),
        "RUN install requirements": (["COPY requirements"], 40, 2),
        "RUN build": (["COPY source", "RUN install compiler"], build, 3),
        "COPY settings": ([], 1, 95),
    }


def _allowed(names: list[str], steps: dict[str, Any]) -> bool:
    return all(set(steps[name][0]) <= set(names[:place]) for place, name in enumerate(names))


def _cost(names: list[str], steps: dict[str, Any]) -> float:
    """Seconds in a hundred builds, where each input changes by itself."""
    same, total = 1.0, 0.0
    for name in names:
        same *= 1 - steps[name][2] / 100
        total += steps[name][1] * (1 - same) * 100
    return total


EXERCISE = Exercise(
    id="dockerfile.order",
    notebook="12_dockerfile",
    title="Order the instructions",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox",),
    seconds=20,
    hints=(
        "All that follows a changed step is made anew, however little it changes itself.",
        "So of those that are ready the one that changes least should come first.",
        "`min(ready, key=lambda name: steps[name][2])`.",
    ),
    wrong=(
        Wrong(AS_WRITTEN, "is not what counts"),
        Wrong(CHEAP_FIRST, "is not what counts"),
        Wrong(OFTEN_FIRST, "changes most often"),
        Wrong(NO_NEEDS, "must come after it"),
    ),
)
