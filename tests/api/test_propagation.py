"""Mounts that come and go between the host and a container, by the machine's mount table."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.world import Daemon

pytestmark = pytest.mark.requires("root", "docker", "busybox")

MOUNT = "mkdir -p /b/m; mount -t tmpfs inside /b/m; touch /b/m/{}"


@pytest.fixture
def shared(daemon: Daemon, tmp_path: Path) -> Iterator[Path]:
    """A directory that is a shared mount of the host's."""
    subprocess.run(["mount", "-t", "tmpfs", "host", tmp_path], check=True)
    subprocess.run(["mount", "--make-shared", tmp_path], check=True)
    yield tmp_path
    daemon.clean()
    subprocess.run(["umount", "-R", tmp_path], check=True)


def privileged(daemon: Daemon, script: str, *flags: str) -> str:
    return daemon.docker("run", "--rm", "--privileged", *flags, "busybox", "sh", "-c", script)


@pytest.mark.parametrize("word", ["shared", "rshared"])
def test_a_mount_goes_out_and_another_comes_in(daemon: Daemon, shared: Path, word: str) -> None:
    daemon.docker("run", "-d", "--name", "one", "--privileged", "-v", f"{shared}:/b:{word}",
                  "busybox", "sleep", "1000")  # fmt: skip
    daemon.docker("exec", "one", "sh", "-c", MOUNT.format("seen"))
    assert (shared / "m" / "seen").exists()
    (shared / "n").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "later", shared / "n"], check=True)
    (shared / "n" / "too").touch()
    assert daemon.docker("exec", "one", "ls", "/b/n") == "too"
    subprocess.run(["umount", shared / "m"], check=True)
    assert daemon.docker("exec", "one", "ls", "/b/m") == ""


@pytest.mark.parametrize("word", ["slave", "rslave", "private", "rprivate"])
def test_no_mount_goes_out(daemon: Daemon, shared: Path, word: str) -> None:
    privileged(daemon, MOUNT.format("hidden"), "-v", f"{shared}:/b:{word}")
    assert list((shared / "m").iterdir()) == []


@pytest.mark.parametrize(
    ("word", "kind"),
    [("shared", "shared mount"), ("rshared", "shared mount"),
     ("slave", "shared or slave mount"), ("rslave", "shared or slave mount")],
)  # fmt: skip
def test_a_source_without_peers(daemon: Daemon, shared: Path, word: str, kind: str) -> None:
    subprocess.run(["mount", "--make-private", shared], check=True)
    flags = ("--mount", f"type=bind,src={shared},dst=/b,bind-propagation={word}")
    said = daemon.fails("run", "--rm", *flags, "busybox", "true")[1]
    assert f"path {shared} is mounted on {shared} but it is not a {kind}" in said


class OnSharedMounts(Daemon):
    """A daemon on a machine whose mounts are all shared, as systemd makes them."""

    def start(self) -> Daemon:
        """Start it in a mount namespace of its own."""
        super().start()
        self.pid = self.process.pid if self.process else 0
        return self

    @staticmethod
    def command(*words: str) -> list[str]:
        before = ["unshare", "--mount", "--propagation", "shared"] if words[0] == "daemon" else []
        return [*before, *Daemon.command(*words)]

    def mounts(self) -> set[str]:
        """The mount points that the daemon, and all others there, see."""
        table = Path(f"/proc/{self.pid}/mountinfo").read_text().splitlines()
        return {line.split()[4] for line in table}


def test_nothing_else_goes_out_where_all_mounts_are_shared(place: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="api-") as short:
        own = Path(short)
        subprocess.run(["cp", "-a", place / "home", own / "home"], check=True)
        machine = OnSharedMounts(own)
        machine.start()
        try:
            (own / "dir").mkdir()
            before = machine.mounts()
            machine.docker("run", "-d", "--name", "one", "--privileged", "--ipc", "shareable", "-v",
                           f"{own}/dir:/b:rshared", "busybox", "sh", "-c",
                           MOUNT.format("x") + "; sleep 1000")  # fmt: skip
            machine.docker("run", "-d", "--name", "two", "busybox", "sleep", "1000")
            machine.docker("exec", "one", "sh", "-c", "until test -e /b/m/x; do sleep 0.1; done")
            assert machine.mounts() - before == {f"{own}/dir/m"}
        finally:
            machine.clean()
            assert machine.stop() == 0
