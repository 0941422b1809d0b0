"""containerd's `ctr` runs containers with our runtime, by way of its runc shim."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines.world import World, wait_for

pytestmark = pytest.mark.requires("root", "containerd", "ctr", "busybox")


class Containerd:
    """A containerd of our own, and its command."""

    def __init__(self, world: World, rootfs: Path) -> None:
        self.world, self.rootfs = world, rootfs
        self.address = f"{world.place}/containerd.sock"
        folders = [f"--root={world.place}/root", f"--state={world.place}/state"]
        self.daemon = world.start(
            "containerd", f"--address={self.address}", *folders, log=world.place / "log"
        )
        log = world.place / "log"
        world.answers(self.daemon, log, lambda: self.call("version").returncode == 0)

    def call(self, *words: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        argv = ("ctr", f"--address={self.address}", "--namespace=lab", *words)
        return self.world.call(*argv, stdin=stdin)

    def __call__(self, *words: str) -> str:
        done = self.call(*words)
        assert done.returncode == 0, f"ctr {words}: {done.returncode}: {done.stderr}"
        return done.stdout.strip()

    def run(
        self, name: str, *command: str, options: tuple[str, ...] = ()
    ) -> subprocess.CompletedProcess[str]:
        """`ctr run` from a directory, so that no image is needed."""
        runtime = ("--runc-binary", str(self.world.runtime), "--cgroup")
        group = f"/{self.world.cgroup}/{name}"
        where = ("--env=PATH=/bin", "--rootfs", str(self.rootfs), name)
        return self.call("run", *runtime, group, *options, *where, *command)


@pytest.fixture(scope="module")
def ctr(rootfs: Path) -> Iterator[Containerd]:
    world = World(Path(tempfile.mkdtemp(prefix="lc-ctr-")))
    engine: Containerd | None = None
    try:
        copy = world.place / "box"
        subprocess.run(["cp", "-a", rootfs, copy], check=True)
        engine = Containerd(world, copy)
        yield engine
    finally:
        world.close([engine.daemon] if engine else [])


@pytest.fixture
def name() -> str:
    return f"c{time.monotonic_ns()}"


@pytest.fixture
def sleeper(ctr: Containerd, name: str) -> Iterator[str]:
    done = ctr.run(name, "sleep", "1000", options=("--detach",))
    assert done.returncode == 0, done.stderr
    yield name
    ctr.call("task", "kill", "--signal=SIGKILL", name)
    wait_for(lambda: ctr.call("task", "rm", "--force", name).returncode == 0 or not tasks(ctr))
    ctr("container", "rm", name)


def tasks(ctr: Containerd) -> dict[str, str]:
    """Name to status of what runs."""
    lines = ctr("task", "ls").splitlines()[1:]
    return {line.split()[0]: line.split()[2] for line in lines}


def test_run_passes_output_and_status_on(ctr: Containerd, name: str) -> None:
    done = ctr.run(name, "sh", "-c", "echo out; echo err >&2; exit 7", options=("--rm",))
    assert (done.stdout, done.returncode) == ("out\n", 7) and "err" in done.stderr


def test_a_missing_program_is_told(ctr: Containerd, name: str) -> None:
    done = ctr.run(name, "/no/such", options=("--rm",))
    assert done.returncode != 0 and "no such file or directory" in done.stderr
    ctr.call("container", "rm", name)


@pytest.mark.parametrize(
    ("options", "script", "expected"),
    [
        ((), "id -u; id -g", "0\n0\n"),
        (("--cwd=/tmp", "--env=A=b"), "pwd; echo $A", "/tmp\nb\n"),
        (("--read-only",), "touch /x 2>/dev/null || echo ro", "ro\n"),
        ((), "grep Seccomp: /proc/self/status | cut -f2; echo $$", "0\n1\n"),
        (("--seccomp",), "grep Seccomp: /proc/self/status | cut -f2", "2\n"),
        (("--privileged",), "mount -t tmpfs x /work && echo mounted", "mounted\n"),
        ((), "grep NoNewPrivs /proc/self/status", "NoNewPrivs:\t1\n"),
    ],
)
def test_run(
    ctr: Containerd, name: str, options: tuple[str, ...], script: str, expected: str
) -> None:
    script = script.replace("| cut -f2", "| sed 's/.*\\t//'")
    done = ctr.run(name, "sh", "-c", script, options=("--rm", *options))
    assert done.stdout == expected, done.stderr


def test_limits(ctr: Containerd, name: str) -> None:
    options = (f"--memory-limit={64 << 20}", "--cpu-quota=50000", "--cpu-period=100000")
    done = ctr.run(name, "sleep", "1", options=(*options, "--detach"))
    assert done.returncode == 0, done.stderr
    group = next(Path("/sys/fs/cgroup").glob(f"memory/{ctr.world.cgroup}/{name}"))
    assert (group / "memory.limit_in_bytes").read_text() == f"{64 << 20}\n"
    wait_for(lambda: tasks(ctr).get(name) == "STOPPED")
    ctr("task", "rm", name)
    ctr("container", "rm", name)


def test_exec(ctr: Containerd, sleeper: str) -> None:
    done = ctr.call("task", "exec", "--exec-id=e1", sleeper, "sh", "-c", "echo in; exit 3")
    assert (done.stdout, done.returncode) == ("in\n", 3)


def test_exec_of_a_missing_program(ctr: Containerd, sleeper: str) -> None:
    done = ctr.call("task", "exec", "--exec-id=e2", sleeper, "nosuch")
    assert done.returncode != 0 and "executable file not found in $PATH" in done.stderr


def test_pause_and_resume(ctr: Containerd, sleeper: str) -> None:
    ctr("task", "pause", sleeper)
    assert tasks(ctr)[sleeper] == "PAUSED"
    ctr("task", "resume", sleeper)
    assert tasks(ctr)[sleeper] == "RUNNING"


def test_ps(ctr: Containerd, sleeper: str) -> None:
    lines = ctr("task", "ps", sleeper).splitlines()
    assert len(lines) == 2 and lines[1].split()[0].isdigit()


def test_metrics(ctr: Containerd, sleeper: str) -> None:
    assert "memory.usage_in_bytes" in ctr("task", "metrics", sleeper)


def test_kill_tells_the_signal(ctr: Containerd, name: str) -> None:
    ctr.run(name, "sleep", "1000", options=("--detach",))
    ctr("task", "kill", "--signal=SIGKILL", name)
    wait_for(lambda: tasks(ctr).get(name) == "STOPPED")
    ctr("task", "rm", name)
    ctr("container", "rm", name)
