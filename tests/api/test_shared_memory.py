"""/dev/shm that containers share: its size, its contents, its end."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.api.world import Daemon, wait_for

pytestmark = pytest.mark.requires("root", "docker", "busybox")

FILL = "head -c 20000000 /dev/zero > /dev/shm/big; stat -c %s /dev/shm/big; rm /dev/shm/big"


def donor(daemon: Daemon, *flags: str) -> None:
    daemon.docker("run", "-d", "--name", "donor", "--ipc", "shareable", "--shm-size", "8m", *flags,
                  "busybox", "sh", "-c", "echo given > /dev/shm/x; sleep 1000")  # fmt: skip
    wait_for(lambda: daemon.call("docker", "exec", "donor", "test", "-s", "/dev/shm/x").returncode
             == 0)  # fmt: skip


def beside(daemon: Daemon, script: str) -> str:
    """What a container that shares the donor's IPC says."""
    return daemon.docker("run", "--rm", "--ipc", "container:donor", "busybox", "sh", "-c", script)


def test_it_is_memory_of_that_size_and_both_see_it(daemon: Daemon) -> None:
    donor(daemon)
    assert daemon.docker("inspect", "-f", "{{.HostConfig.ShmSize}}", "donor") == "8388608"
    assert beside(daemon, "cat /dev/shm/x; echo back > /dev/shm/y") == "given"
    assert daemon.docker("exec", "donor", "cat", "/dev/shm/y") == "back"
    for line in (beside(daemon, "grep /dev/shm /proc/mounts"),
                 daemon.docker("exec", "donor", "grep", "/dev/shm", "/proc/mounts")):  # fmt: skip
        assert line.startswith("shm /dev/shm tmpfs rw,nosuid,nodev,noexec,")
        assert "size=8192k" in line
    filled = beside(daemon, FILL).split()[-1]
    assert 8_000_000 < int(filled) <= 8_388_608


def test_it_begins_anew_with_its_container(daemon: Daemon) -> None:
    donor(daemon)
    daemon.docker("exec", "donor", "touch", "/dev/shm/old")
    daemon.docker("restart", "-t", "0", "donor")
    assert daemon.docker("exec", "donor", "ls", "/dev/shm") in ("", "x")


def test_who_does_not_share_is_not_joined(daemon: Daemon) -> None:
    daemon.docker("run", "-d", "--name", "donor", "busybox", "sleep", "1000")
    said = daemon.fails("run", "--ipc", "container:donor", "busybox", "true")[1]
    assert "non-shareable IPC" in said


def test_it_outlives_the_daemon_and_not_its_containers(daemon: Daemon) -> None:
    donor(daemon)
    home = Path(daemon.docker("inspect", "-f", "{{.LogPath}}", "donor")).parent
    daemon.kill()
    mounted = [line for line in Path("/proc/mounts").read_text().splitlines() if str(home) in line]
    assert mounted == []  # so nothing of it can stay on the machine
    daemon.start()
    assert beside(daemon, "cat /dev/shm/x") == "given"
    daemon.docker("rm", "-f", "donor")
    assert not home.exists()
