"""QEMU's microvm without KVM, with the verbs of a container. One guest of each kind is booted.

QEMU runs as uid 1000 where the tests run as root, else as whoever runs them.
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
from labcontainer.image import hostbase, hostimage
from labcontainer.image.store import Store
from labcontainer.vm import disk, guest, kernels, qemu

ROOT = Path(__file__).resolve().parents[2]
HOST_UID = 1000 if os.geteuid() == 0 else None
pytestmark = pytest.mark.requires("qemu", "vm-kernel", "busybox")


@pytest.fixture(scope="module")
def running() -> Iterator[qemu.Guest]:
    with qemu.Guest(qemu.Machine(memory="128M", uid=HOST_UID)) as machine:
        yield machine


def ran(machine: guest.Guest, *argv: str, uid: int = 0, stdin: bytes = b"") -> tuple[int, str, str]:
    program = guest.Program(argv, uid=uid)
    status, out, err = guest.run_in(machine, program, 60, stdin)
    return status, out.decode(), err.decode()


def test_it_is_another_kernel_that_thinks_it_has_a_machine(running: qemu.Guest) -> None:
    status, said, _ = ran(running, "sh", "-c", "uname -r; nproc; free -m | sed -n 2p; exit 7")
    release, processors, memory = said.splitlines()
    assert release != os.uname().release and release.endswith("cloud-amd64")
    assert processors == "1"
    assert 64 < int(memory.split()[1]) < 128
    assert status == 7


def test_its_processes_are_not_the_hosts(running: qemu.Guest) -> None:
    assert ran(running, "cat", "/proc/1/comm")[1] == "python3\n"
    assert ran(running, "sh", "-c", "exec cat /proc/self/stat")[1].split()[1] == "(cat)"


def test_an_ordinary_user_of_the_guest(running: qemu.Guest) -> None:
    status, said, words = ran(running, "sh", "-c", "id -u; touch /etc/mine", uid=1000)
    assert (status, said) == (1, "1000\n") and "Permission denied" in words


def test_python_runs_in_it(running: qemu.Guest) -> None:
    code = "import socket, os; print(os.uname().nodename)"
    assert ran(running, "python3", "-I", "-S", "-c", code) == (0, "vm\n", "")


def test_bytes_pass_unchanged_both_ways(running: qemu.Guest) -> None:
    data = os.urandom(100_000)
    assert guest.run_in(running, guest.Program(("cat",)), 60, data)[1] == data


def test_a_program_is_killed_by_a_signal(running: qemu.Guest) -> None:
    number = running.exec(guest.Program(("sleep", "60")))
    running.kill(number, signal.SIGTERM)
    assert running.wait(number, 20) == 128 + 15


def test_control_groups_of_version_2_hold_a_program_back(running: qemu.Guest) -> None:
    script = (
        "mkdir /sys/fs/cgroup/x && echo 3 > /sys/fs/cgroup/x/pids.max && "
        "echo $$ > /sys/fs/cgroup/x/cgroup.procs; sleep 1 & sleep 1 & sleep 1 & wait"
    )
    _, _, words = ran(running, "sh", "-c", script)
    assert "can't fork" in words


def test_an_image_of_ours_is_its_disk_beside_one_to_write_to(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path.parent):  # QEMU may be another user's process
        folder.chmod(0o755)
    store = Store(str(tmp_path / "images"))
    image, _ = hostimage.make(store, hostbase.recipe("busybox"))
    store.tag("busybox", image.descriptor)
    root = str(tmp_path / "disk")
    disk.of_image(store, "busybox", root)
    disk.empty(f"{root}-scratch", 8)
    os.chmod(f"{root}-scratch", 0o666)
    before = Path(root).read_bytes()
    spec = qemu.Machine(root=root, scratch=f"{root}-scratch", uid=HOST_UID)
    with qemu.Guest(spec) as machine:
        status, said, words = ran(
            machine, "sh", "-c", "ls -d /agent; echo changed > /etc/hostname && cat /etc/hostname"
        )
        assert (status, said) == (0, "changed\n") and "/agent: No such file" in words
        assert ran(machine, "sh", "-c", "echo kept > /scratch/word; sync")[0] == 0
    assert Path(root).read_bytes() == before, "what is written stays in the guest's memory"
    look = ["/usr/sbin/debugfs", "-R", "cat /word", f"{root}-scratch"]
    assert subprocess.run(look, capture_output=True, text=True, check=True).stdout == "kept\n"


@pytest.fixture
def general() -> None:
    """A kernel that has 9p."""
    try:
        kernels.find("9p")
    except UnsupportedError as error:
        pytest.skip(str(error))


@pytest.mark.usefixtures("general")
def test_the_hosts_own_tree_is_its_root_and_one_directory_is_written_to(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path.parent):  # QEMU may be another user's process
        folder.chmod(0o755)
    work = tmp_path / "the, work"
    work.mkdir()
    os.chmod(work, 0o777)
    spec = qemu.Machine(root="/", memory="512M", share_rw=(str(work),), uid=HOST_UID)
    mark = f"/etc/labcontainer-{os.getpid()}"
    with qemu.Guest(spec) as machine:
        code = "import labcontainer.record, os; print(os.getuid(), labcontainer.record.__file__)"
        said = ran(machine, sys.executable, "-B", "-c", code)
        assert said == (0, f"0 {ROOT}/labcontainer/record.py\n", "")
        assert ran(machine, "sh", "-c", f"echo x > {mark}; cat {mark}") == (0, "x\n", "")
        (work / "before").write_text("of the host\n")
        script = f"cd '{work}' && cat before && echo of the guest > after"
        assert ran(machine, "sh", "-c", script) == (0, "of the host\n", "")
        entered = "nsenter --mount=/proc/self/ns/mnt ls -d /etc/passwd /agent"
        _, there, missing = ran(machine, "sh", "-c", entered)
        assert there == "/etc/passwd\n" and "/agent" in missing, "it is the mount namespace's root"
        assert ran(machine, "cat", "/proc/sys/kernel/osrelease")[1] != f"{os.uname().release}\n"
    made = work / "after"
    assert (made.read_text(), made.stat().st_uid) == ("of the guest\n", HOST_UID or os.geteuid())
    assert not os.path.exists(mark), "what is written elsewhere stays in the guest's memory"


def test_a_shared_directory_that_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="none, to be shared with the guest, is no directory"):
        qemu.Guest(qemu.Machine(share_rw=(f"{tmp_path}/none",))).start()


def test_the_command_passes_output_and_status_on() -> None:
    words = [sys.executable, "-m", "labcontainer.cli.main", "vm", "run", "--machine", "qemu"]
    words += ["--memory", "128M", "--workdir", "/usr", "--", "sh", "-c", "pwd; exit 5"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (5, "/usr\n", "")


def test_a_killed_caller_leaves_no_machine() -> None:
    code = (
        "import time\nfrom labcontainer.vm import qemu\n"
        "g = qemu.Guest(qemu.Machine(memory='128M')); g.start(); print(g.pid, flush=True)\n"
        "time.sleep(60)"
    )
    caller = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=ROOT)
    assert caller.stdout
    guard = int(caller.stdout.readline())
    caller.kill()
    caller.wait()
    caller.stdout.close()
    ends = time.monotonic() + 60
    while _of_session(guard) and time.monotonic() < ends:
        time.sleep(0.05)
    assert _of_session(guard) == []


def _of_session(leader: int) -> list[str]:
    """What still runs of a machine's session."""
    words = ["ps", "-s", str(leader), "-o", "stat=,args="]
    listed = subprocess.run(words, capture_output=True, text=True, check=False).stdout
    return [line for line in listed.splitlines() if not line.startswith("Z")]


def test_too_little_memory_is_told_by_qemu_or_the_kernel() -> None:
    with pytest.raises(guest.BootError, match="the guest"):
        qemu.Guest(qemu.Machine(memory="24M", uid=HOST_UID)).start(20)
