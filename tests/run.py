"""Runs the steps of `make test`, each a process, and sums up what was not run and why.

python tests/run.py lint types unit        steps by name; all of them run, whatever fails
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = ROOT / ".venv/bin"
REPORTS = ROOT / ".test-reports"


def pytest(*paths: str) -> tuple[str, ...]:
    """A step of pytest's, over the paths that there are."""
    return ("pytest", "-q", *paths)


def spread(path: str, *words: str) -> tuple[str, ...]:
    """A step whose tests do not disturb one another: a worker for each processor."""
    dealt = words or ("--dist=worksteal",)
    return (*pytest(path), "--numprocesses=logical", "--maxprocesses=4", *dealt)


def guests(path: str) -> tuple[str, ...]:
    """The same of tests that boot guests, a few long ones among them: those stand first, and each
    worker takes the next one. A guest stays on the processor where it begins, so workers do too."""
    return spread(path, "--dist=load", "--maxschedchunk=1", "--one-processor")


STEPS: dict[str, tuple[str, ...]] = {
    "lint": ("ruff", "check", "--quiet", "."),
    "types": ("mypy", "--no-error-summary"),
    "contract": ("lint-imports", "--no-cache", "--no-logo"),
    "unit": spread("tests/unit"),
    "architecture": pytest("tests/architecture"),
    "system": pytest("tests/system"),
    "api": pytest("tests/api"),
    "engines": pytest("tests/engines"),
    "notebooks": spread("tests/notebooks"),
    "vm": guests("tests/vm"),
    "guest": guests("tests/guest"),
    "browser": pytest("tests/browser"),
    "hub": pytest("tests/hub"),  # minutes, and downloads: not a part of `make test`
}
USUAL = tuple(name for name in STEPS if name != "hub")


@dataclass
class Outcome:
    """How a step ended."""

    name: str
    ok: bool
    seconds: float
    counts: Counter[str] = field(default_factory=Counter)
    skips: Counter[str] = field(default_factory=Counter)


def run(name: str) -> Outcome:
    """One step; its output goes to the terminal as it comes."""
    program, *words = STEPS[name]
    report = REPORTS / f"{name}.xml"
    report.unlink(missing_ok=True)
    if program == "pytest":
        words.append(f"--junitxml={report}")
    print(f"\n=== {name}: {program} {' '.join(words)}", flush=True)
    started = time.monotonic()
    done = subprocess.run([BIN / program, *words], cwd=ROOT, env=environment(), check=False)
    outcome = Outcome(name, done.returncode == 0, time.monotonic() - started)
    if report.exists():
        count(outcome, report)
    return outcome


def environment() -> dict[str, str]:
    """The caller's, with the environment's programs first and byte code where it is compiled."""
    own = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return own | {"PATH": f"{BIN}:{os.environ.get('PATH', os.defpath)}"}


def count(outcome: Outcome, report: Path) -> None:
    """What pytest wrote down: how many passed, and why some were skipped."""
    for case in ET.parse(report).iter("testcase"):
        kinds = {child.tag for child in case}
        if "failure" in kinds or "error" in kinds:
            outcome.counts["failed"] += 1
        elif "skipped" in kinds:
            outcome.counts["skipped"] += 1
            skipped = case.find("skipped")
            assert skipped is not None
            outcome.skips[skipped.get("message", "no reason given")] += 1
        else:
            outcome.counts["passed"] += 1


def summary(outcomes: list[Outcome]) -> None:
    """One line a step, then the reasons of skips, then the sum as pytest would print it."""
    print("\n=== summary")
    total: Counter[str] = Counter()
    skips: Counter[str] = Counter()
    for one in outcomes:
        total += one.counts
        skips += one.skips
        words = ", ".join(f"{number} {kind}" for kind, number in sorted(one.counts.items()))
        print(f"{'ok    ' if one.ok else 'FAILED'} {one.name:13} {one.seconds:7.1f} s  {words}")
    if skips:
        print("\nNot run here:")
        for reason, number in skips.most_common():
            print(f"{number:5} {reason}")
    broken = [one.name for one in outcomes if not one.ok]
    words = ", ".join(f"{total[kind]} {kind}" for kind in ("failed", "passed", "skipped"))
    seconds = sum(one.seconds for one in outcomes)
    print(f"\n=== {words} in {seconds:.0f}s; steps that failed: {', '.join(broken) or 'none'} ===")


def main(names: list[str]) -> int:
    """0 where every step was right."""
    unknown = [name for name in names if name not in STEPS]
    if unknown:
        print(f"no such step: {unknown[0]}; there are {', '.join(STEPS)}", file=sys.stderr)
        return 2
    REPORTS.mkdir(exist_ok=True)
    outcomes = [run(name) for name in names or USUAL]
    summary(outcomes)
    return 0 if all(one.ok for one in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
