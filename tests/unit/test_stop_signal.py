"""The words of a signal."""

from __future__ import annotations

import signal

import pytest

from labcontainer import errors
from labcontainer.engine import words


@pytest.mark.parametrize(
    ("word", "number"),
    [("", 0), ("9", 9), ("INT", 2), ("sigterm", 15), ("SIGRTMIN", int(signal.SIGRTMIN)),
     ("RTMIN+3", signal.SIGRTMIN + 3), ("sigrtmax-1", signal.SIGRTMAX - 1)],
)  # fmt: skip
def test_signals(word: str, number: int) -> None:
    assert words.stop_signal(word) == number


@pytest.mark.parametrize("word", ["NOSUCH", "99", "INT+1", "RTMIN+", "RTMIN+99", "RTMAX+1", "SIG"])
def test_no_signals(word: str) -> None:
    with pytest.raises(errors.UsageError, match="no such signal"):
        words.stop_signal(word)
