"""The docker command drives what a learner wrote: `labcontainer daemon --using mycontainer`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.world import Daemon

pytestmark = pytest.mark.requires("root", "docker", "busybox")

OWN = """
from labcontainer.rootfs import pivot_root

def pivot(*words, **more):
    pivot_root(*words, **more)
    open("/by-my-own-pivot", "w").close()
"""


@pytest.fixture
def mine(place: Path) -> Path:
    """A learner's package with one done exercise."""
    folder = place / "mycontainer"
    folder.mkdir(exist_ok=True)
    (folder / "__init__.py").touch()
    (folder / "chroot.py").write_text(OWN)
    table = {"labcontainer.rootfs.pivot_root": "chroot.pivot"}
    (folder / "replaces.json").write_text(json.dumps(table))
    return folder


@pytest.fixture
def using(place: Path, mine: Path) -> Iterator[Daemon]:
    started = Daemon(place, "--using", str(mine)).start()
    yield started
    started.clean()
    assert started.stop() == 0


def test_containers_are_made_by_the_learners_functions(using: Daemon) -> None:
    assert "by-my-own-pivot" in using.docker("run", "--rm", "busybox", "ls", "/")
    using.kill()
    using.start()
    assert "by-my-own-pivot" in using.docker("run", "--rm", "busybox", "ls", "/")


def test_a_fault_of_theirs_is_told_in_one_line(place: Path, mine: Path) -> None:
    (mine / "chroot.py").write_text("def pivot(\n")
    daemon = Daemon(place, "--using", str(mine))
    done = daemon.call(*daemon.command("daemon", "-H", f"unix://{daemon.socket}", *daemon.words))
    assert done.returncode == 1
    (line,) = done.stderr.decode().splitlines()
    assert "mycontainer/chroot.py: SyntaxError" in line
    assert not daemon.socket.exists()


def test_a_fault_while_it_runs_fails_that_start_alone(place: Path, mine: Path) -> None:
    (mine / "chroot.py").write_text("def pivot(*words, **more):\n    raise ValueError('mine')\n")
    daemon = Daemon(place, "--using", str(mine)).start()
    status, said = daemon.fails("run", "--rm", "busybox", "true")
    assert status in (125, 126, 127)
    assert "ValueError" in said or "mine" in said
    assert daemon.docker("ps", "-aq") == ""
    assert daemon.stop() == 0
