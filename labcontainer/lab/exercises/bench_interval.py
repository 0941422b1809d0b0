"""bench.interval: how sure a median is, by drawing from the samples again and again."""

from __future__ import annotations

import random
import statistics

from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
import random
import statistics


def interval(samples: list[float], seed: int) -> tuple[float, float]:
    """The bounds that hold 95 of 100 medians of resamples: the bootstrap's interval.

    A resample is as many of the samples, drawn by chance, each put back before the next is drawn.
    """
    draw = random.Random(seed)
    medians = []
    for _ in range(2000):
        ...
    medians.sort()
    return medians[50], medians[1949]
'''

SOLUTION = HOLE.replace(
    "        ...\n",
    "        again = draw.choices(samples, k=len(samples))\n"
    "        medians.append(statistics.median(again))\n",
)
NOT_PUT_BACK = SOLUTION.replace("draw.choices(samples, k=len(samples))",
                                "draw.sample(samples, len(samples))")  # fmt: skip
SINGLE = SOLUTION.replace("draw.choices(samples, k=len(samples))", "[draw.choice(samples)]")
MEANS = SOLUTION.replace("statistics.median(again)", "statistics.mean(again)")


def check(trial: Trial) -> Outcome:
    draw = trial.random()
    samples = [draw.gauss(100, 5) for _ in range(40)] + [900.0]
    low, high = _ours(samples)
    said = trial.call("interval", samples, 3)
    try:
        mine = float(said[0]), float(said[1])
    except (TypeError, ValueError, IndexError):
        return not_yet(expected="two numbers", observed=repr(said)[:60], where="the loop")
    wide, wanted = mine[1] - mine[0], high - low
    expected = f"about {low:.1f} to {high:.1f}, for 41 samples with one outlier"
    observed = f"{mine[0]:.1f} to {mine[1]:.1f}"
    if wide == 0:
        return not_yet(
            expected=expected,
            observed=observed,
            where="how a resample is drawn",
            hint="Drawn without putting back, a resample is the samples in another order.",
        )
    if wide > 4 * wanted:
        middle = statistics.mean(samples)
        by_mean = mine[0] < middle < mine[1] and mine[1] < 250 and mine[0] > 95
        return not_yet(
            expected=expected,
            observed=observed,
            where="what is kept of a resample",
            hint="One outlier draws a mean with it; the median does not care."
            if by_mean
            else "A resample is as large as the samples: one number alone has their whole spread.",
        )
    if abs(mine[0] - low) > 0.3 * wanted or abs(mine[1] - high) > 0.3 * wanted:
        return not_yet(expected=expected, observed=observed, where="the loop")
    return done("wide enough for 41 samples, and the outlier does not move it")


def _ours(samples: list[float]) -> tuple[float, float]:
    draw = random.Random(1)
    medians = sorted(statistics.median(draw.choices(samples, k=len(samples))) for _ in range(2000))
    return medians[50], medians[1949]


EXERCISE = Exercise(
    id="bench.interval",
    notebook="18_vm_vs_container",
    title="How sure is a median?",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    seconds=20,
    hints=(
        "`draw.choices` puts back, `draw.sample` does not.",
        "`draw.choices(samples, k=len(samples))` is one resample.",
        "Append `statistics.median(...)` of it to `medians`.",
    ),
    wrong=(
        Wrong(NOT_PUT_BACK, "in another order"),
        Wrong(SINGLE, "their whole spread"),
        Wrong(MEANS, "draws a mean with it"),
    ),
)
