"""Two data sets, or the subjects of one, as ratios with intervals; and what may be said of each."""

from __future__ import annotations

from labcontainer.bench import samples
from labcontainer.bench.dataset import MEASURES, Dataset, describe
from labcontainer.bench.plots import BASE
from labcontainer.bench.samples import Interval
from labcontainer.record import Record

MORE, LESS, OPEN, FEW = "more", "less", "no difference seen", "too few rounds"
# Least and most of n samples hold the true median with a chance of 1 - 2 / 2**n: 94 % for five. Of
# fewer no interval can hold what it promises.
ENOUGH = 5


class Line(Record):
    """One ratio."""

    measure: str
    subject: str
    ratio: Interval
    runs: int

    @property
    def verdict(self) -> str:
        """What the interval supports: it lies above 1, below 1, or holds it."""
        if self.runs < ENOUGH:
            return FEW
        if self.ratio.low > 1:
            return MORE
        return LESS if self.ratio.high < 1 else OPEN


def within(data: Dataset, base: str = BASE) -> list[Line]:
    """Every subject against one of the same run: ratios of the same rounds."""
    return [
        Line(measure, name, samples.ratio_interval(taken, by_subject[base]), len(taken))
        for measure, by_subject in data.samples.items()
        if base in by_subject
        for name, taken in by_subject.items()
        if name != base and len(taken) == len(by_subject[base])
    ]


def between(new: Dataset, old: Dataset) -> list[Line]:
    """A run against another one, for what both have."""
    return [
        Line(measure, name, samples.unpaired_ratio(taken, before), min(len(taken), len(before)))
        for measure, by_subject in new.samples.items()
        for name, taken in by_subject.items()
        if (before := old.samples.get(measure, {}).get(name))
    ]


def table(lines: list[Line], head: str) -> str:
    """The ratios as a Markdown table, which reads as text too."""
    rows = [f"| measure | subject | {head} [95 %] | verdict |", "|---|---|---|---|"]
    for line in lines:
        title = MEASURES[line.measure].title
        rows.append(f"| {title} | {line.subject} | {line.ratio} | {line.verdict} |")
    return "\n".join(rows)


def report(new: Dataset, old: Dataset | None = None) -> str:
    """What `labcontainer bench compare` prints."""
    if old is None:
        return f"{describe(new)}\n\n{table(within(new), f'times {BASE}')}"
    heads = f"new: {describe(new)}\nold: {describe(old)}\n"
    return f"{heads}\n{table(between(new, old), 'new over old')}"
