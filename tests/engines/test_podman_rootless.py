"""podman without root runs containers with our runtime: one id mapped, or a range of sub-ids."""

from __future__ import annotations

import os
import pwd
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines.world import World

pytestmark = pytest.mark.requires("root", "podman", "conmon", "busybox", "userns", "newuidmap")

UID = 1000
CONFIG = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
"""
STORAGE = """
[storage]
driver = "vfs"
runroot = "{home}/runroot"
graphroot = "{home}/graph"
[storage.options.vfs]
ignore_chown_errors = "true"
"""


class Rootless:
    """The podman command of an ordinary user, in a world of its own."""

    def __init__(self, world: World, ranges: str) -> None:
        self.world = world
        world.place.chmod(0o755)
        self.home = world.place / "home"
        for folder in (self.home, self.home / "run"):
            folder.mkdir(mode=0o700)
            os.chown(folder, UID, UID)
        self._write("containers.conf", CONFIG)
        self._write("storage.conf", STORAGE.format(home=self.home))
        for name in ("subuid", "subgid"):
            self._write(name, ranges).chmod(0o644)
            world.run("mount", "--bind", self.home / name, f"/etc/{name}")
        # newuidmap reads them as root through a directory that is closed to others.

    def _write(self, name: str, text: str) -> Path:
        path = self.home / name
        path.write_text(text)
        return path

    def call(
        self, *words: str, stdin: str | bytes | None = None
    ) -> subprocess.CompletedProcess[str]:
        user = ("setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "--")
        env = {
            "CONTAINERS_CONF": f"{self.home}/containers.conf",
            "CONTAINERS_STORAGE_CONF": f"{self.home}/storage.conf",
            "HOME": str(self.home),
            "XDG_RUNTIME_DIR": f"{self.home}/run",
        }
        options = ("--cgroup-manager=cgroupfs", f"--runtime={self.world.runtime}")
        return self.world.call(*user, "podman", *options, *words, env=env, stdin=stdin)

    def __call__(self, *words: str, stdin: str | bytes | None = None) -> str:
        done = self.call(*words, stdin=stdin)
        assert done.returncode == 0, f"podman {words}: {done.returncode}: {done.stderr}"
        return done.stdout.strip()


@pytest.fixture(scope="module", params=["one id", "a range"])
def podman(request: pytest.FixtureRequest, rootfs: Path) -> Iterator[Rootless]:
    try:
        user = pwd.getpwuid(UID).pw_name
    except KeyError:
        pytest.skip(f"there is no user {UID}")
    if not all(os.path.exists(f"/etc/{name}") for name in ("subuid", "subgid")):
        pytest.skip("there is no /etc/subuid to put another one over")
    world = World(Path(tempfile.mkdtemp(prefix="lc-rootless-")))
    try:
        ranges = f"{user}:200000:65536\n" if request.param == "a range" else ""
        engine = Rootless(world, ranges)
        tar = subprocess.run(["tar", "-C", rootfs, "-c", "."], capture_output=True, check=True)
        engine("import", "-", "box", stdin=tar.stdout)
        yield engine
        engine.call("rm", "--all", "--force", "--time=0")
    finally:
        world.close()


def test_run(podman: Rootless) -> None:
    out = podman(
        "run", "--rm", "--network=none", "box", "sh", "-c", "id -u; cat /proc/self/uid_map"
    )
    assert out.split()[:4] == ["0", "0", str(UID), "1"]


def test_status_input_and_output(podman: Rootless) -> None:
    run = ("run", "--rm", "--interactive", "--network=none", "box")
    done = podman.call(*run, "sh", "-c", "cat; exit 7", stdin="in")
    assert (done.stdout, done.returncode) == ("in", 7), done.stderr


def test_a_missing_program(podman: Rootless) -> None:
    done = podman.call("run", "--rm", "--network=none", "box", "nosuch")
    assert done.returncode == 127, done.stderr


def test_exec_stop_and_remove(podman: Rootless) -> None:
    podman("run", "--detach", "--name=one", "--network=none", "box", "sleep", "1000")
    done = podman.call("exec", "one", "sh", "-c", "id -u; exit 3")
    assert (done.stdout, done.returncode) == ("0\n", 3), done.stderr
    podman("stop", "--time=0", "one")
    podman("rm", "one")


def test_another_user_inside_needs_a_range(podman: Rootless) -> None:
    done = podman.call("run", "--rm", "--network=none", "--user=1000:1000", "box", "id", "-u")
    mapped = podman("unshare", "cat", "/proc/self/uid_map").count("\n")
    assert (done.stdout == "1000\n") == bool(mapped), done.stderr
