"""Files of images and containers are nobody else's to run: CVE-2021-41091."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.system import lab_home
from tests.system.lab_home import LabHome

pytestmark = pytest.mark.requires("root", "mount", "busybox")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[LabHome]:
    for one in lab_home.home():
        one.env["LABCONTAINER_HOME"] = f"{one.home}/not-there-yet"
        yield one


Run = Callable[..., subprocess.CompletedProcess[str]]


def setuid_files(home: str) -> list[str]:
    """Programs of containers and images that would give another user root's rights."""
    found = [Path(folder, name) for folder, _, names in os.walk(home) for name in names]
    return [str(path) for path in found
            if not path.is_symlink() and path.stat().st_mode & 0o4000]  # fmt: skip


def test_no_other_user_runs_a_program_of_a_container(lab: LabHome, as_user: Run) -> None:
    assert lab.call("image", "from-host", "busybox").returncode == 0
    script = "mkdir /x; cp /bin/busybox /x; chmod 4755 /x/busybox; echo ready; sleep 1000"
    program = lab.start("--name", "one", "--network", "none", "busybox", "sh", "-c", script)
    found = setuid_files(lab.env["LABCONTAINER_HOME"])
    assert found, "the container has made none"
    for path in found:
        done = as_user(["sh", "-c", f"exec {path} id -u"])  # setpriv finds files as root
        assert done.returncode != 0 and "ermission denied" in done.stderr, f"{path}: {done}"
    program.kill()
    program.communicate(timeout=60)
    single = f"{lab.env['LABCONTAINER_HOME']}/single"
    assert lab_home.eventually(lambda: os.listdir(single) == [])


def test_an_older_home_is_closed_by_the_daemon(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o711)
    words = [*lab_home.MAIN, "daemon", "--data-root", str(home), "-H", f"unix://{tmp_path}/s"]
    daemon = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    try:
        assert lab_home.eventually(lambda: (tmp_path / "s").exists())
        assert home.stat().st_mode & 0o077 == 0
    finally:
        daemon.terminate()
        daemon.wait(60)
