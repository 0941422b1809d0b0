"""The system tests once more, under a kernel of their own: cgroup v2, and no privilege on the host.

The kernel runs as uid 1000 where the tests run as root, else as whoever runs them.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from labcontainer.vm import uml

ROOT = Path(__file__).resolve().parents[2]
HOST_UID = 1000 if os.geteuid() == 0 else None
BUSY_SECONDS = 600
pytestmark = pytest.mark.requires("uml")


@pytest.fixture(scope="module")
def guest() -> Iterator[uml.Guest]:
    with uml.Guest(uml.Machine(memory="1G", uid=HOST_UID)) as running:
        yield running


class Heard:
    """A program's output."""

    def __init__(self) -> None:
        self.stdout = b""
        self.stderr = b""

    def out(self, data: bytes) -> None:
        self.stdout += data

    def err(self, data: bytes) -> None:
        self.stderr += data


def ran(
    guest: uml.Guest, *argv: str, uid: int = 0, stdin: bytes = b"", timeout: float = 60
) -> tuple[int, Heard]:
    heard = Heard()
    program = uml.Program(argv, uid=uid, cwd=str(ROOT))
    return guest.wait(guest.exec(program, heard.out, heard.err, stdin), timeout), heard


# --- the machine


def test_it_is_another_kernel_with_control_groups_of_version_2(guest: uml.Guest) -> None:
    script = "uname -r; cat /sys/fs/cgroup/cgroup.subtree_control; id -u; echo told >&2; exit 7"
    status, heard = ran(guest, "sh", "-c", script)
    release, controllers, uid = heard.stdout.decode().splitlines()
    assert release != os.uname().release
    assert {"cpu", "io", "memory", "pids"} <= set(controllers.split())
    assert (uid, heard.stderr, status) == ("0", b"told\n", 7)


def test_an_ordinary_user_has_a_control_group_to_divide(guest: uml.Guest) -> None:
    group = "/sys/fs/cgroup$(sed s/^0::// /proc/self/cgroup)"
    status, heard = ran(guest, "sh", "-c", f"id -u; mkdir {group}/x && rmdir {group}/x", uid=1000)
    assert (status, heard.stdout) == (0, b"1000\n"), heard.stderr


def test_bytes_pass_unchanged_both_ways(guest: uml.Guest) -> None:
    data = os.urandom(200_000)
    assert ran(guest, "cat", stdin=data)[1].stdout == data


def test_the_host_is_not_written_to(guest: uml.Guest) -> None:
    name = f"/etc/labcontainer-{os.getpid()}"
    assert ran(guest, "touch", name)[0] == 0
    assert ran(guest, "test", "-e", name)[0] == 0
    assert not os.path.exists(name)


def test_a_program_is_killed_by_a_signal(guest: uml.Guest) -> None:
    number = guest.exec(uml.Program(("sleep", "60")))
    guest.kill(number, signal.SIGKILL)
    assert guest.wait(number, 20) == 128 + 9


def test_a_program_that_is_missing_is_127(guest: uml.Guest) -> None:
    status, heard = ran(guest, "no-such-program")
    assert status == 127
    assert b"no-such-program" in heard.stderr


def test_a_shared_directory_is_written_to(tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents[:3]):
        if folder.stat().st_uid == os.geteuid() and folder != Path("/tmp"):
            folder.chmod(0o755)
    tmp_path.chmod(0o777)
    status = uml.run(
        ["sh", "-c", f"echo here > {tmp_path}/file"], share_rw=[str(tmp_path)], host_uid=HOST_UID
    )
    assert status == 0
    assert (tmp_path / "file").read_text() == "here\n"


def test_the_command_passes_flags_output_and_status_on() -> None:
    words = [sys.executable, "-m", "labcontainer.cli.main", "vm", "run", "--user", "1000"]
    words += ["--memory", "256M", "--workdir", "/usr", "--", "sh", "-c", "pwd; id -u; exit 5"]
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, cwd=ROOT, user=HOST_UID
    )
    assert (done.returncode, done.stdout, done.stderr) == (5, "/usr\n1000\n", "")


def test_a_kernel_that_panics_is_told() -> None:
    with uml.Guest(uml.Machine(uid=HOST_UID)) as running:
        trigger = "echo 1 > /proc/sys/kernel/sysrq; echo c > /proc/sysrq-trigger; kill -9 1"
        number = running.exec(uml.Program(("sh", "-c", f"{trigger}; busybox poweroff -f")))
        with pytest.raises(uml.BootError, match="the guest's kernel ended under its programs"):
            running.wait(number, 30)


def test_too_little_memory_is_told() -> None:
    with pytest.raises(uml.BootError, match="the guest"):
        uml.Guest(uml.Machine(memory="8M", uid=HOST_UID)).start(20)


def test_a_killed_caller_leaves_no_kernel_and_no_file(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    code = (
        "import time\nfrom labcontainer.vm import uml\n"
        f"g = uml.Guest(uml.Machine(memory='96M', uid={HOST_UID}, tmpdir={str(tmp_path)!r}))\n"
        "g.start(); print('up', flush=True); time.sleep(60)"
    )
    caller = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=ROOT)
    assert caller.stdout and caller.stdout.readline() == b"up\n"
    family = _session_of(caller.pid)
    assert family
    caller.kill()
    caller.wait()
    caller.stdout.close()
    ends = time.monotonic() + 5
    while any(_alive(pid) for pid in family) and time.monotonic() < ends:
        time.sleep(0.05)
    assert not any(_alive(pid) for pid in family)
    assert list(tmp_path.iterdir()) == []


def _session_of(caller: int) -> list[int]:
    """The processes below one."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True)
    above = {int(pid): int(ppid) for pid, ppid in map(str.split, listed.stdout.splitlines())}
    found: set[int] = {caller}
    while more := {pid for pid, ppid in above.items() if ppid in found} - found:
        found |= more
    return sorted(found - {caller})


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# --- the system tests inside

# The files that ask the kernel, and whose answers may differ between kernels: on one processor
# with slow system calls, more than these would take many minutes.
INSIDE = ("capabilities", "cgroups", "mounts", "namespaces", "oci", "rootfs", "users")


class Inner:
    """One run of the system tests in a guest of its own."""

    def __init__(self, uid: int) -> None:
        self.uid = uid
        self.status = -1
        self.heard = Heard()
        self.problem: Exception | None = None

    def run(self) -> None:
        python = str(ROOT / ".venv/bin/python") if (ROOT / ".venv").exists() else sys.executable
        words = "-B -m pytest -p no:cacheprovider -q --tb=short -rfE --color=no"
        files = [f"tests/system/test_{name}.py" for name in INSIDE]
        argv = (python, *words.split(), *files)
        program = uml.Program(argv, uid=self.uid, cwd=str(ROOT))
        try:
            with uml.Guest(uml.Machine(memory="1G", uid=HOST_UID)) as guest:
                number = guest.exec(program, self.heard.out, self.heard.err)
                self.status = guest.wait(number, BUSY_SECONDS)
        except Exception as error:
            self.problem = error


@pytest.fixture(scope="module")
def inner_runs() -> dict[int, Inner]:
    """Both runs, at once: a guest has one processor."""
    runs = {uid: Inner(uid) for uid in (0, 1000)}
    threads = [threading.Thread(target=one.run) for one in runs.values()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return runs


@pytest.mark.timeout(BUSY_SECONDS + 120)
@pytest.mark.parametrize("uid", [0, 1000], ids=["as-root", "as-an-ordinary-user"])
def test_the_system_tests_pass_inside(inner_runs: dict[int, Inner], uid: int) -> None:
    """They run as root of one guest, and as an ordinary user of another."""
    run = inner_runs[uid]
    inner = run.heard.stdout.decode(errors="replace")
    assert run.problem is None, f"{run.problem}\n{inner[-12000:]}"
    summary = inner.rstrip().rpartition("\n")[2]
    print(f"inside as uid {uid}: {summary}")
    passed = re.search(r"(\d+) passed", summary)
    assert passed and int(passed[1]) > 0, f"no test ran inside:\n{inner[-4000:]}"
    assert run.status == 0, f"{summary}\n{inner[-12000:]}{run.heard.stderr.decode()}"
