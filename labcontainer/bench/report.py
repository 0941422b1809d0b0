"""A measurement as a table for people, and as JSON with every sample."""

from __future__ import annotations

import json
from collections.abc import Mapping

from labcontainer.bench import samples
from labcontainer.record import Record

BASE = "runc"


class Row(Record):
    """One subject of one workload: milliseconds, and the ratio to the base where it ran."""

    workload: str
    subject: str
    runs: int
    least: float
    median: samples.Interval
    ratio: samples.Interval | None = None


def rows(workload: str, taken: Mapping[str, list[float]], base: str = BASE) -> list[Row]:
    """The table's rows of one workload, from seconds; the ratio is to the subject `base`."""
    found = []
    for subject, seconds in taken.items():
        thousands = [1000 * one for one in seconds]
        ratio = samples.ratio_interval(seconds, taken[base]) if base in taken else None
        found.append(Row(workload, subject, len(seconds), min(thousands),
                         samples.median_interval(thousands), ratio))  # fmt: skip
    return found


def table(found: list[Row], base: str = BASE) -> str:
    """The rows as a Markdown table, which reads as text too."""
    lines = [
        f"| workload | subject | runs | least, ms | median, ms [95 %] | times {base} [95 %] |",
        "|---|---|---|---|---|---|",
    ]
    for row in found:
        ratio = str(row.ratio) if row.ratio else "-"
        lines.append(
            f"| {row.workload} | {row.subject} | {row.runs} | {row.least:.1f} | {row.median}"
            f" | {ratio} |"
        )
    return "\n".join(lines)


def as_json(machine: Mapping[str, object], taken: Mapping[str, Mapping[str, list[float]]]) -> str:
    """The raw samples in seconds, by workload and subject, with the machine."""
    return json.dumps({"unit": "seconds", "machine": machine, "samples": taken}, indent=1)
