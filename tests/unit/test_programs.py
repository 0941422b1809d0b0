"""Programs that are noted in files, so that the next daemon can end them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from labcontainer.engine import leftovers, programs


@pytest.fixture
def program() -> Iterator[subprocess.Popen[bytes]]:
    started = subprocess.Popen(["sleep", "1000"])
    yield started
    started.kill()
    started.wait()


def test_what_is_noted_is_ended(program: subprocess.Popen[bytes], tmp_path: Path) -> None:
    path = tmp_path / "program"
    programs.note(str(path), program.pid)
    programs.end(str(path))
    assert program.wait(60) == -9
    assert not path.exists()
    programs.end(str(path))  # a second time there is nothing to do


def test_another_process_of_that_number_is_left_alone(
    program: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    path = tmp_path / "program"
    earlier = int(leftovers.start_time(program.pid)) - 1
    path.write_text(f"{program.pid} {earlier}")
    programs.end(str(path))
    assert program.poll() is None
    assert not path.exists()


def test_one_that_had_ended_when_it_was_noted(tmp_path: Path) -> None:
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    path = tmp_path / "program"
    programs.note(str(path), ended.pid)
    programs.end(str(path))
    assert not path.exists()
