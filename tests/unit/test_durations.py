"""Lengths of time as Go writes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labcontainer import durations, errors
from labcontainer.engine import moments


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("10s", 10**10), ("1h30m", 5400 * 10**9), ("500ms", 5 * 10**8), ("1.5m", 90 * 10**9),
        ("-2s", -2 * 10**9), ("+2s", 2 * 10**9), ("0", 0), ("-0", 0), (".5s", 5 * 10**8),
        ("1.s", 10**9), ("1.0000000019ns", 1), ("1us2µs", 3000),
    ],
)  # fmt: skip
def test_durations(text: str, nanoseconds: int) -> None:
    assert durations.parse(text) == nanoseconds
    assert moments.seconds(text) == pytest.approx(nanoseconds / 1e9)


@pytest.mark.parametrize("text", ["", "10", "s", "1x", "1h 2m", ".s", "-", "--1s", "1.5", "1..5s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(errors.UsageError, match="no duration"):
        durations.parse(text)


@given(st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from(sorted(durations.NANOSECONDS)))))
def test_parts_add_up(parts: list[tuple[int, str]]) -> None:
    text = "".join(f"{number}{unit}" for number, unit in parts) or "0"
    wanted = sum(number * durations.NANOSECONDS[unit] for number, unit in parts)
    assert durations.parse(text) == wanted


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0s"), (1, "1ns"), (1500, "1.5µs"), (2 * 10**8, "200ms"), (10**9, "1s"),
        (1500 * 10**6, "1.5s"), (90 * 10**9, "1m30s"), (3600 * 10**9, "1h0m0s"),
        (-2 * 10**9, "-2s"), (3600 * 10**9 + 10**6, "1h0m0.001s"),
    ],
)  # fmt: skip
def test_as_go_prints_them(nanoseconds: int, text: str) -> None:
    assert durations.text(nanoseconds) == text


@given(st.integers(-(10**17), 10**17))
def test_what_is_printed_reads_the_same(nanoseconds: int) -> None:
    assert durations.parse(durations.text(nanoseconds)) == nanoseconds
