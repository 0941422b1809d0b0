"""The verdict's words, and what a judge takes of a program's output: no root, no namespaces."""

from __future__ import annotations

import os
import time

import pytest

from labcontainer.lab import capstone, hostile
from labcontainer.lab.exercises import capstone_judge

LIMITS = {"seconds": 2, "memory": 64 << 20}


def report(status: int = 0, seconds: float = 0.1, peak: int = 1 << 20) -> dict[str, float]:
    return {"status": status, "seconds": seconds, "peak": peak}


@pytest.mark.parametrize(
    ("told", "kills", "word"),
    [
        (report(), 0, "exit 0"),
        (report(status=3), 0, "exit 3"),
        (report(status=-11), 0, "SIGSEGV"),
        (report(status=-9), 0, "SIGKILL"),
        (report(status=-9, seconds=1.9), 0, "processor time"),
        (report(seconds=1.9), 0, "exit 0"),
        (report(status=-9), 1, "memory"),
        (report(status=1, peak=65 << 20), 0, "memory"),
        ({}, 0, "lost"),
    ],
)
def test_a_verdict_names_what_ended_the_program(
    told: dict[str, float], kills: int, word: str
) -> None:
    assert capstone.why(told, LIMITS, kills) == word


@pytest.mark.parametrize(
    ("written", "closed", "seconds", "found"),
    [
        (b"four", True, 60, (b"four", "")),
        (b"12345678", True, 60, (b"12345678", "")),
        (b"123456789", False, 60, (b"12345678", "output")),
        (b"four", False, 1, (b"four", "wall clock")),
        (b"four", False, -1, (b"", "wall clock")),
    ],
)
def test_no_more_is_taken_than_was_allowed(
    written: bytes, closed: bool, seconds: float, found: tuple[bytes, str]
) -> None:
    reads, writes = os.pipe()
    try:
        os.write(writes, written)
        if closed:
            os.close(writes)
        assert capstone.collect(reads, 8, time.monotonic() + seconds) == found
    finally:
        os.close(reads)
        if not closed:
            os.close(writes)


def test_every_program_is_told_apart() -> None:
    names = [program.name for program in hostile.PROGRAMS]
    assert len(set(names)) == len(names)
    assert all(program.hint and not program.says for program in hostile.HOSTILE)
    assert all(program.says for program in hostile.HONEST)
    for program in hostile.PROGRAMS:
        compile(program.code.replace("PORT", "1"), program.name, "exec")


def test_the_score_counts_lines_with_code() -> None:
    code = 'def f():\n    """Words."""\n    # more\n\n    return 1\n\n\ndef g():\n    return 2\n'
    assert capstone_judge.lines_of(code) == 4
