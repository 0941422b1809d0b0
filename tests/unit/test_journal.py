"""The log's lines: whole, in parts where they are long, and what is kept for later."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from labcontainer.runtime.journal import PART, Journal


def logged(path: Path, *pieces: bytes) -> list[str]:
    journal = Journal(str(path))
    for piece in pieces:
        journal.write("stdout", piece)
    journal.close()
    return [json.loads(line)["log"] for line in path.read_text().splitlines()]


@pytest.mark.parametrize(
    ("pieces", "lines"),
    [
        ((b"one\ntwo\n",), ["one\n", "two\n"]),
        ((b"o", b"ne\n\ntw", b"o"), ["one\n", "\n", "two"]),
        ((b"a" * PART + b"\n",), ["a" * PART + "\n"]),
        ((b"a" * PART + b"b\n",), ["a" * PART, "b\n"]),
        ((b"a" * (2 * PART + 1),), ["a" * PART, "a" * PART, "a"]),
        ((b"\n" * 20000,), ["\n"] * 20000),
        ((b"a\xff\n",), ["a\ufffd\n"]),
        ((), []),
    ],
)
def test_lines(tmp_path: Path, pieces: tuple[bytes, ...], lines: list[str]) -> None:
    assert logged(tmp_path / "log", *pieces) == lines


@pytest.mark.parametrize("shift", range(4))
def test_a_part_ends_between_characters(tmp_path: Path, shift: int) -> None:
    text = "x" * shift + "\U0001f600" * PART + "\n"
    lines = logged(tmp_path / "log", text.encode())
    assert "".join(lines) == text
    assert all(len(line.encode()) <= PART + 1 for line in lines)


def test_bytes_that_are_no_text_still_make_progress(tmp_path: Path) -> None:
    assert "".join(logged(tmp_path / "log", b"\x80" * (3 * PART))) == "\ufffd" * (3 * PART)


def test_streams_are_apart(tmp_path: Path) -> None:
    path = tmp_path / "log"
    journal = Journal(str(path))
    journal.write("stdout", b"o")
    journal.write("stderr", b"e\n")
    journal.write("stdout", b"ut\n")
    journal.close()
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(each["stream"], each["log"]) for each in entries] == [
        ("stderr", "e\n"),
        ("stdout", "out\n"),
    ]


def test_a_full_disk_is_counted() -> None:
    journal = Journal("/dev/full")
    journal.write("stdout", b"lost\n")
    assert journal.lost > 0
    journal.close()


def test_a_line_after_a_torn_one_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk takes ten bytes of a line and is full; then somebody makes room."""
    path = tmp_path / "log"
    journal = Journal(str(path))
    journal.write("stdout", b"before\n")
    write, room = os.write, [10, 0]

    def full(fd: int, data: bytes) -> int:
        left = room.pop(0)
        if not left:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(fd, data[:left])

    monkeypatch.setattr(os, "write", full)
    journal.write("stdout", b"lost\n")
    assert journal.lost > 0
    monkeypatch.setattr(os, "write", write)
    journal.write("stdout", b"aft")
    journal.write("stdout", b"er\n")
    journal.close()
    first, torn, last = path.read_text().splitlines()
    assert (json.loads(first)["log"], json.loads(last)["log"]) == ("before\n", "after\n")
    assert len(torn) == 10
