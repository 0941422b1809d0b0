"""The files of a container: never those of whoever has its process number next."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from labcontainer import errors
from labcontainer.engine import container as states
from labcontainer.engine import view


@pytest.mark.parametrize("alone", [True, False])
def test_the_number_of_a_process_of_the_host_is_not_the_containers(alone: bool) -> None:
    """Else `docker cp` would write into the host's root."""
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(errors.StateError, match="ended"):
        view._running(os.getpid(), alone)
    assert len(os.listdir("/proc/self/fd")) == before


def test_who_has_just_ended_is_looked_at_as_one_that_does_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`docker cp`, after the process has gone and before its monitor has told so."""
    for name in ("before", "root"):
        (tmp_path / name).mkdir()
    (tmp_path / "root" / "f").touch()
    ended = subprocess.Popen(["true"])
    ended.wait()
    box = states.Container(str(tmp_path), id="1" * 64, name="box")
    box.state = states.State(status=states.RUNNING, pid=ended.pid)

    def is_told(_seconds: float) -> None:
        box.state = states.State(status=states.EXITED)

    monkeypatch.setattr(time, "sleep", is_told)
    with view.patiently(lambda: view.View(box)) as root:
        assert os.listdir(root.path) == ["f"]
