"""Timing, taking turns, and the statistics of the samples.

A machine's load changes from minute to minute, so a time says little and a comparison of times
taken one after the other says less. Here the subjects take turns, each round in another order, and
what is told is the ratio of the medians with a bootstrap interval over whole rounds: a slow
moment hits all subjects of its round.
"""

from __future__ import annotations

import random
import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

from labcontainer.record import Record

RESAMPLES = 2000
SEED = 20261124


class Interval(Record):
    """A value, and the bounds that hold 95 of 100 resampled ones."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


def interleave(
    subjects: Mapping[str, Callable[[], object]],
    runs: int,
    warm_up: int = 2,
    clock: Callable[[Callable[[], object]], float] | None = None,
) -> dict[str, list[float]]:
    """Seconds of each run of each subject: round by round, in an order drawn for each round.

    `clock` is `timed` unless given, or `processor_time`.
    """
    measure = clock or timed
    order = list(subjects)
    draw = random.Random(SEED)
    taken: dict[str, list[float]] = {name: [] for name in order}
    for turn in range(-warm_up, runs):
        draw.shuffle(order)
        for name in order:
            seconds = measure(subjects[name])
            if turn >= 0:
                taken[name].append(seconds)
    return taken


def turns(seed: int = SEED) -> random.Random:
    """Where the order of each round is drawn from: the same for everybody."""
    return random.Random(seed)


def timed(action: Callable[[], object]) -> float:
    """Seconds on the clock that an action takes."""
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


def processor_time(action: Callable[[], object]) -> float:
    """Seconds of a processor that the child processes of an action take, in the kernel too."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    action()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def quantile(samples: Sequence[float], share: float) -> float:
    """The value below which a share of the samples lies, linear between neighbours."""
    if not samples:
        raise ValueError("no samples")
    ordered = sorted(samples)
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def median_interval(samples: Sequence[float], seed: int = SEED) -> Interval:
    """The median, and its bootstrap interval."""
    draw = random.Random(seed)
    medians = [
        statistics.median(draw.choices(samples, k=len(samples))) for _ in range(RESAMPLES)
    ]  # fmt: skip
    return _interval(statistics.median(samples), medians)


def ratio_interval(samples: Sequence[float], base: Sequence[float], seed: int = SEED) -> Interval:
    """Median of samples over median of base, from the same rounds; rounds are resampled whole."""
    if len(samples) != len(base):
        raise ValueError(f"{len(samples)} and {len(base)} rounds are not the same rounds")
    draw = random.Random(seed)
    rounds = range(len(samples))
    ratios = []
    for _ in range(RESAMPLES):
        chosen = draw.choices(rounds, k=len(samples))
        above = statistics.median([samples[one] for one in chosen])
        ratios.append(above / statistics.median([base[one] for one in chosen]))
    return _interval(statistics.median(samples) / statistics.median(base), ratios)


def unpaired_ratio(samples: Sequence[float], base: Sequence[float], seed: int = SEED) -> Interval:
    """Median over median of two runs that have no rounds in common: each is resampled alone."""
    draw = random.Random(seed)

    def again(taken: Sequence[float]) -> float:
        return statistics.median(draw.choices(taken, k=len(taken)))

    ratios = [again(samples) / again(base) for _ in range(RESAMPLES)]
    return _interval(statistics.median(samples) / statistics.median(base), ratios)


def _interval(value: float, resampled: Sequence[float]) -> Interval:
    return Interval(value, quantile(resampled, 0.025), quantile(resampled, 0.975))
