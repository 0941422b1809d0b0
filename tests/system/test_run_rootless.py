"""`labcontainer run` as an ordinary user: one id or ranges of ids, and nothing stays."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system import lab_home
from tests.system.lab_home import LabHome

pytestmark = pytest.mark.requires("userns", "overlay-userns", "busybox")


@pytest.fixture(scope="module")
def lab() -> Iterator[LabHome]:
    yield from lab_home.home(1000)


def test_root_inside_is_the_user_outside(lab: LabHome) -> None:
    script = "id -u; cat /proc/self/uid_map; touch /data/made; touch /written; exit 4"
    data = Path(lab.home, "data")
    done = lab.run("-v", "./data:/data", "busybox", "sh", "-c", script)
    assert (done.returncode, done.stderr) == (4, "")
    shown = done.stdout.split()
    assert shown[:4] == ["0", "0", "1000", "1"]
    assert (data / "made").stat().st_uid == (1000 if os.geteuid() == 0 else os.geteuid())


@pytest.mark.parametrize(
    ("command", "status"), [("true", 0), ("no-such-program", 127), ("/etc/passwd", 126)]
)
def test_exit_statuses(lab: LabHome, command: str, status: int) -> None:
    assert lab.run("busybox", command).returncode == status


def test_isolation_is_that_of_root(lab: LabHome) -> None:
    script = "ps -o pid | wc -l; ls /sys/class/net; grep Seccomp: /proc/self/status; hostname"
    lines = lab.run("--hostname", "mine", "busybox", "sh", "-c", script).stdout.split()
    assert int(lines[0]) <= 4
    assert lines[1:] == ["lo", "Seccomp:", "2", "mine"]


def test_another_user_needs_ranges(lab: LabHome) -> None:
    done = lab.run("--user", "1000", "busybox", "true")
    if done.returncode:
        assert done.returncode == 125
        assert done.stderr.startswith("labcontainer: --user=1000: this user has one id")
        assert done.stderr.count("\n") == 1


RANGES = """
for kind in uid gid; do
    printf '%s:200000:65536\\n' 1000 > {home}/sub$kind
    mount --bind {home}/sub$kind /etc/sub$kind
done
exec "$@"
"""


def with_ranges(lab: LabHome, *given: str) -> subprocess.CompletedProcess[str]:
    """Run it in a mount namespace in which the user has subordinate ids."""
    words = ["unshare", "-m", "sh", "-ec", RANGES.format(home=lab.home), "sh"]
    words += lab.words("run", "--network", "none", *given)
    for kind in ("uid", "gid"):
        if not os.path.exists(f"/etc/sub{kind}"):
            pytest.skip(f"/etc/sub{kind} is not there to be covered")
    return subprocess.run(
        words, env=lab.env, cwd=lab.home, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.requires("root", "newuidmap")
def test_ranges_give_a_whole_systems_ids(lab: LabHome) -> None:
    script = "touch /x; chown 33:44 /x; stat -c %u:%g /x; su nobody -s /bin/sh -c 'id -u'"
    done = with_ranges(lab, "busybox", "sh", "-c", script)
    assert (done.returncode, done.stdout) == (0, "33:44\n65534\n"), done


@pytest.mark.requires("root", "newuidmap")
def test_keep_id(lab: LabHome) -> None:
    done = with_ranges(lab, "--userns", "keep-id", "busybox", "sh", "-c", "id -u; touch /tmp/x")
    assert (done.returncode, done.stdout) == (0, "1000\n"), done


def test_default_network_that_cannot_be_had_is_told(lab: LabHome) -> None:
    done = lab.call("run", "busybox", "ls", "/sys/class/net")
    assert done.returncode == 0
    if "eth0" not in done.stdout.split():
        assert done.stderr.startswith("labcontainer: no network in this container: ")
        asked = lab.call("run", "-p", "8080", "busybox", "true")
        assert asked.returncode == 125
        assert asked.stderr.count("\n") == 1


def test_nothing_stays_after_kill_9(lab: LabHome) -> None:
    script = "echo ready; exec sleep 56789"
    program = lab.start("--network", "none", "busybox", "sh", "-c", script)
    program.send_signal(signal.SIGKILL)
    program.communicate()
    assert lab_home.eventually(
        lambda: lab.running() == [] and lab_home.processes_with("56789") == []
    )
