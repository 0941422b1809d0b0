"""The directory of a running container: whose it is, and that all of it goes."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from labcontainer import errors
from labcontainer.engine import connect, leftovers


def test_claim_is_ours_until_removed(tmp_path: Path) -> None:
    path = leftovers.claim(f"{tmp_path}/single", "one")
    assert leftovers.is_owned(path)
    assert list(leftovers.abandoned(f"{tmp_path}/single")) == []
    leftovers.remove(path)
    assert os.listdir(f"{tmp_path}/single") == []
    leftovers.remove(path)  # may be called again


def test_name_can_be_claimed_once(tmp_path: Path) -> None:
    leftovers.claim(str(tmp_path), "one")
    with pytest.raises(errors.ExistsError, match="a container of the name one is running"):
        leftovers.claim(str(tmp_path), "one")
    assert os.listdir(tmp_path) == ["one"]


def test_dead_owner_and_reused_pid_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "one"
    path.mkdir()
    child = subprocess.Popen(["sleep", "100"])
    try:
        leftovers.add_owner(str(path), child.pid)
        assert leftovers.is_owned(str(path))
    finally:
        child.kill()
        child.wait()
    assert list(leftovers.abandoned(str(tmp_path))) == [str(path)]
    (path / "owners").write_text(f"{os.getpid()} 1\n")  # a process of that pid, started later
    assert not leftovers.is_owned(str(path))


@pytest.mark.parametrize("text", ["", "\n", "x y\n", "1\n", "-1 5\n", "99999999999 5\n", "\0"])
def test_torn_owners_file_is_nobodys(tmp_path: Path, text: str) -> None:
    (tmp_path / "owners").write_text(text)
    assert not leftovers.is_owned(str(tmp_path))


def test_claim_that_was_never_finished_is_abandoned(tmp_path: Path) -> None:
    (tmp_path / ".new-4194304").mkdir()
    assert list(leftovers.abandoned(str(tmp_path))) == [f"{tmp_path}/.new-4194304"]


def test_remove_opens_closed_directories_and_follows_no_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").touch()
    path = tmp_path / "one"
    (path / "work/work").mkdir(parents=True)
    (path / "link").symlink_to(outside)
    (path / "work/deep").symlink_to(outside)
    (path / "work/work").chmod(0)
    leftovers.remove(str(path))
    assert not path.exists()
    assert (outside / "file").exists()


def test_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABCONTAINER_HOME", str(tmp_path))
    path = leftovers.claim(leftovers.folder(), "one")
    assert not leftovers.in_use("/some/root")
    os.symlink("/some/root", f"{path}/lower")
    assert leftovers.in_use("/some/root")
    leftovers.remove(path)
    assert not leftovers.in_use("/some/root")


def test_two_may_take_a_network_back_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As two starts do that both find an abandoned container."""
    (tmp_path / "network").write_text(f"router\n{tmp_path}/folder")

    def meanwhile(_path: str) -> None:
        monkeypatch.setattr(leftovers, "remove", lambda _path: None)
        connect.detach(str(tmp_path))

    monkeypatch.setattr(leftovers, "remove", meanwhile)
    connect.detach(str(tmp_path))
    assert not (tmp_path / "network").exists()


PROGRAM = """
import os, sys, time
from labcontainer.engine import leftovers
path = leftovers.claim(sys.argv[1], "one")
watcher = leftovers.watch(path, lambda: leftovers.remove(path))
if sys.argv[2] == "tell":
    os.write(watcher, b"x")
    os.close(watcher)
    os.waitpid(-1, 0)
else:
    print("ready", flush=True)
    time.sleep(100)
"""


def started(folder: Path, how: str) -> subprocess.Popen[str]:
    import sys

    words = [sys.executable, "-c", PROGRAM, str(folder), how]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


def test_watcher_cleans_up_after_a_kill(tmp_path: Path) -> None:
    program = started(tmp_path, "stay")
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    assert len((tmp_path / "one/owners").read_text().splitlines()) == 2
    program.kill()
    # The watcher has let go of the pipe: reading ends with the program, not with the watcher.
    assert program.stdout.read() == ""
    program.stdout.close()
    program.wait()
    ends = time.monotonic() + 60
    while os.listdir(tmp_path) and time.monotonic() < ends:
        time.sleep(0.02)
    assert os.listdir(tmp_path) == []


def test_watcher_that_is_told_leaves_all_alone(tmp_path: Path) -> None:
    program = started(tmp_path, "tell")
    program.communicate()
    assert program.returncode == 0
    assert os.listdir(tmp_path) == ["one"]
