"""A host that refuses a step in the middle of a container's life: what the daemon then does."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.world import Daemon, wait_for

pytestmark = pytest.mark.requires("root", "bridge", "docker")
ALONE = 'ip link set lo up && mount -t tmpfs alone /run/labcontainer && exec "$@"'


class Alone(Daemon):
    """A daemon with a network and a ledger of its own, which may be broken."""

    @staticmethod
    def command(*words: str) -> list[str]:
        argv = Daemon.command(*words)
        return ["unshare", "-mn", "sh", "-c", ALONE, "sh", *argv] if words[0] == "daemon" else argv

    @property
    def ledger(self) -> Path:
        assert self.process is not None
        return Path(f"/proc/{self.process.pid}/root/run/labcontainer/network.json")


@pytest.fixture
def alone(place: Path) -> Iterator[Alone]:
    Path("/run/labcontainer").mkdir(exist_ok=True)
    started = Alone(place)
    started.start()
    yield started
    started.clean()
    assert started.stop() == 0


def test_an_end_is_told_though_it_cannot_be_remembered(alone: Alone) -> None:
    """As on a full disk; here somebody else holds the file."""
    alone.docker("run", "-d", "--name", "one", "--network", "none", "busybox", "sleep", "60")
    with contextlib.closing(sqlite3.connect(alone.home / "engine/state.db")) as holder:
        holder.execute("BEGIN IMMEDIATE")
        alone.docker("kill", "one")
        assert alone.docker("wait", "one", seconds=60) == "137"
        assert alone.docker("ps", "-q") == ""
    wait_for(lambda: "database is locked" in alone.said())
    assert "Traceback" not in alone.said()


def test_an_end_is_told_though_the_network_cannot_be_taken_back(alone: Alone) -> None:
    alone.docker("run", "-d", "--name", "one", "busybox", "sleep", "60")
    kept = alone.ledger.rename(alone.ledger.with_suffix(".kept"))
    alone.ledger.mkdir()  # what was done to the host can't be read
    alone.docker("kill", "one")
    assert alone.docker("wait", "one", seconds=60) == "137"
    assert alone.docker("ps", "-q") == ""
    wait_for(lambda: "Is a directory" in alone.said())
    alone.ledger.rmdir()
    kept.rename(alone.ledger)
