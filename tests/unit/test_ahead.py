"""Reading ahead: everything in order, errors where they are met, no thread left."""

from __future__ import annotations

import threading
import time

import pytest

from labcontainer.image import ahead


def test_all_comes_in_order_and_then_nothing() -> None:
    chunks = iter([b"%d" % number for number in range(50)] + [b""])
    reader = ahead.Ahead(lambda: next(chunks))
    assert [reader.take() for _ in range(50)] == [b"%d" % number for number in range(50)]
    assert (reader.take(), reader.take()) == (b"", b"")
    reader.close()


def test_an_error_comes_after_what_was_read_before_it() -> None:
    chunks = iter([b"one"])
    reader = ahead.Ahead(lambda: next(chunks))
    assert reader.take() == b"one"
    with pytest.raises(StopIteration):
        reader.take()
    assert reader.take() == b""
    reader.close()


def test_it_stays_a_few_chunks_ahead_and_ends_when_told() -> None:
    read = []
    threads = threading.active_count()

    def fetch() -> bytes:
        read.append(1)
        return b"x"

    reader = ahead.Ahead(fetch)
    ends = time.monotonic() + 60
    while len(read) <= ahead.DEPTH and time.monotonic() < ends:
        time.sleep(0.001)
    time.sleep(0.02)
    assert len(read) == ahead.DEPTH + 1
    reader.close()
    assert threading.active_count() == threads
