"""A user-mode kernel with the verbs of a container: programs, bytes, signals, errors, its end.

The kernel runs as uid 1000 where the tests run as root, else as whoever runs them.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from labcontainer.errors import NotFoundError, UnsupportedError
from labcontainer.vm import boot, uml

ROOT = Path(__file__).resolve().parents[2]
HOST_UID = 1000 if os.geteuid() == 0 else None
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


def test_its_boot_does_nothing_that_nobody_needs(guest: uml.Guest) -> None:
    _, heard = ran(guest, "dmesg")
    assert b"Run " in heard.stdout
    assert b"raid6: using" not in heard.stdout
    assert b"Calibrating delay loop (skipped)" in heard.stdout
    assert ran(guest, "sh", "-c", "ls /dev | grep -c '^tty[p-za-e]'")[1].stdout == b"0\n"


def processors(pid: int) -> str:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(line.split()[1] for line in status.splitlines() if "Cpus_allowed_list" in line)


@pytest.fixture
def all_processors() -> Iterator[set[int]]:
    """The step's workers stay on one each (tests/run.py)."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    yield os.sched_getaffinity(0)
    os.sched_setaffinity(0, before)


def test_its_processes_share_one_processor_and_who_starts_it_keeps_all(
    all_processors: set[int],
) -> None:
    with uml.Guest(uml.Machine(memory="96M", uid=HOST_UID)) as guest:
        begun = [guest.pid]
        for pid in begun:
            begun += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        assert len(begun) > 2
        assert {processors(pid) for pid in begun} == {processors(guest.pid)}
        assert processors(guest.pid).isdecimal()
    assert os.sched_getaffinity(0) == all_processors


def test_all_modules_are_there(guest: uml.Guest) -> None:
    loaded = {line.split()[0] for line in ran(guest, "cat", "/proc/modules")[1].stdout.splitlines()}
    assert {name.replace("-", "_").encode() for name in boot.MODULES} <= loaded


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


@pytest.fixture
def open_folder(tmp_path: Path) -> Path:
    """Every user may reach it and write to it: the kernel may be another user's process."""
    for folder in tmp_path.parents[:3]:
        if folder.stat().st_uid == os.geteuid() and folder != Path("/tmp"):
            folder.chmod(0o755)
    tmp_path.chmod(0o777)
    return tmp_path


def test_a_shared_directory_is_written_to(open_folder: Path) -> None:
    words = ["sh", "-c", f"echo here > {open_folder}/file"]
    assert uml.run(words, share_rw=[str(open_folder)], host_uid=HOST_UID) == 0
    assert (open_folder / "file").read_text() == "here\n"


def test_a_shared_directory_that_is_missing_is_told_before_the_boot(tmp_path: Path) -> None:
    spec = uml.Machine(share_rw=(f"{tmp_path}/none",))
    with pytest.raises(NotFoundError, match=f"{tmp_path}/none, to be shared with the guest, is no"):
        uml.Guest(spec).start()


def test_a_package_below_tmp_is_told_before_the_boot(monkeypatch: pytest.MonkeyPatch) -> None:
    """The guest has a /tmp of its own: its agent would not be there."""
    monkeypatch.setattr(boot, "AGENT", "/tmp/elsewhere/labcontainer/vm/agent.py")
    with pytest.raises(UnsupportedError, match="the guest has a /tmp of its own"):
        uml.Guest(uml.Machine()).start()


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


@pytest.mark.requires("root", "mount")
def test_no_room_for_its_memory_is_told_before_it_boots(tmp_path: Path) -> None:
    code = (
        "from labcontainer.vm import uml\n"
        f"uml.Guest(uml.Machine(memory='96M', tmpdir={str(tmp_path)!r})).start()"
    )
    script = 'mount -t tmpfs -o size=8m small "$1" && exec "$2" -c "$3"'
    words = ["unshare", "-m", "sh", "-c", script, "sh", str(tmp_path), sys.executable, code]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT)
    said = done.stderr.splitlines()[-1]
    assert said.endswith(
        f"the guest's memory of 96M does not fit into {tmp_path}, where 8 MB are free; make room, "
        "take less, or set TMPDIR"
    )


def test_too_little_memory_is_told() -> None:
    with pytest.raises(uml.BootError, match="the guest"):
        uml.Guest(uml.Machine(memory="8M", uid=HOST_UID)).start(20)


def test_a_killed_caller_leaves_no_kernel_and_no_file(open_folder: Path) -> None:
    code = (
        "import time\nfrom labcontainer.vm import uml\n"
        f"g = uml.Guest(uml.Machine(memory='96M', uid={HOST_UID}, tmpdir={str(open_folder)!r}))\n"
        "g.start(); print('up', flush=True); time.sleep(60)"
    )
    caller = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=ROOT)
    assert caller.stdout and caller.stdout.readline() == b"up\n"
    family = _session_of(caller.pid)
    assert family
    caller.kill()
    caller.wait()
    caller.stdout.close()
    ends = time.monotonic() + 60
    while any(_alive(pid) for pid in family) and time.monotonic() < ends:
        time.sleep(0.05)
    assert not any(_alive(pid) for pid in family)
    assert list(open_folder.iterdir()) == []


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
