"""bench.schedule: an order of runs in which a slow moment hits everybody."""

from __future__ import annotations

import statistics

from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
import random


def schedule(names: list[str], rounds: int, seed: int) -> list[tuple[str, bool]]:
    """The runs in their order: who, and whether the run counts.

    One round that does not count, to warm up, then `rounds` that do. In each round everybody
    runs once, in an order drawn anew.
    """
    draw = random.Random(seed)
    found = []
    for number in range(rounds + 1):
        ...
    return found
'''

SOLUTION = HOLE.replace(
    "        ...\n",
    "        order = draw.sample(names, len(names))\n"
    "        found += [(name, number > 0) for name in order]\n",
)
ONE_AFTER_THE_OTHER = HOLE.replace(
    "    for number in range(rounds + 1):\n        ...\n",
    "    for name in names:\n"
    "        found += [(name, number > 0) for number in range(rounds + 1)]\n",
)
NO_WARM_UP = SOLUTION.replace("number > 0", "True").replace("rounds + 1", "rounds")
SAME_ORDER = SOLUTION.replace("draw.sample(names, len(names))", "names")


def check(trial: Trial) -> Outcome:
    names, rounds = ["process", "container", trial.token("machine")], 12
    said = trial.call("schedule", names, rounds, 7)
    try:
        runs = [(str(name), bool(counts)) for name, counts in said]
    except (TypeError, ValueError):
        return not_yet(expected="a list of (name, counts)", observed=repr(said)[:60], where="found")
    if problem := _shape(runs, names, rounds):
        return problem
    times, truth = _play(runs, names), 1.5
    ratio = statistics.median(times[names[1]]) / statistics.median(times[names[0]])
    return done(
        "everybody in each round, in changing order, after one round to warm up",
        score=f"{abs(ratio / truth - 1):.1%} off, on a machine that slows down",
    )


def _shape(runs: list[tuple[str, bool]], names: list[str], rounds: int) -> Outcome | None:
    size = len(names)
    parts = [runs[at : at + size] for at in range(0, len(runs), size)]
    for number, part in enumerate(parts):
        if sorted(name for name, _ in part) != sorted(names):
            return not_yet(
                expected="everybody once in each round",
                observed=f"round {number}: {', '.join(name for name, _ in part)}",
                where="the loop",
                hint="One after the other, the last one gets the busy evening: by turns.",
            )
    if len(runs) >= size and any(counts for _, counts in runs[:size]):
        return not_yet(
            expected="the first round does not count",
            observed=f"{runs[0][0]} counts at once",
            where="the second part of each pair",
            hint="The first run finds nothing in a cache, and is not the subject's fault.",
        )
    counted = [part for part in parts if all(counts for _, counts in part)]
    if len(parts) != rounds + 1 or len(counted) != rounds:
        return not_yet(
            expected=f"1 + {rounds} rounds, {rounds} of them count",
            observed=f"{len(parts)} rounds, {len(counted)} count",
            where="range and the second part of each pair",
        )
    if len({tuple(part) for part in counted}) == 1:
        return not_yet(
            expected="another order in each round",
            observed=f"always {', '.join(name for name, _ in counted[0])}",
            where="where the order comes from",
            hint="Who always runs after the greedy one always finds the caches full of others.",
        )
    return None


def _play(runs: list[tuple[str, bool]], names: list[str]) -> dict[str, list[float]]:
    """A machine on which the second takes 1.5 times as long, and all take longer with each run."""
    takes = dict(zip(names, (1.0, 1.5, 40.0), strict=True))
    times: dict[str, list[float]] = {name: [] for name in names}
    for at, (name, counts) in enumerate(runs):
        if counts:
            times[name].append(takes[name] * (1 + 0.02 * at))
    return times


EXERCISE = Exercise(
    id="bench.schedule",
    notebook="18_vm_vs_container",
    title="Take turns",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    hints=(
        "In each turn of the loop everybody runs once.",
        "`draw.sample(names, len(names))` is all of them in another order.",
        "Add `(name, number > 0)` for each name of that order: round 0 does not count.",
    ),
    wrong=(
        Wrong(ONE_AFTER_THE_OTHER, "by turns"),
        Wrong(NO_WARM_UP, "finds nothing in a cache"),
        Wrong(SAME_ORDER, "another order in each round"),
    ),
)
