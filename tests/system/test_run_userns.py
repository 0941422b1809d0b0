"""`labcontainer run --userns private` as root: root inside is nobody of importance outside."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system import lab_home
from tests.system.lab_home import LabHome

pytestmark = pytest.mark.requires("root", "mount", "busybox", "idmapped-mounts")
FIRST, COUNT = 300000, 65536
# In a mount namespace of its own the machine's root has these subordinate ids, or none.
RANGES = """
for kind in uid gid; do
    printf '%s' "$LINE" > {home}/sub$kind
    mount --bind {home}/sub$kind /etc/sub$kind
done
exec "$@"
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[LabHome]:
    for kind in ("uid", "gid"):
        if not os.path.exists(f"/etc/sub{kind}"):
            pytest.skip(f"/etc/sub{kind} is not there to be covered")
    yield from lab_home.home()


def words(lab: LabHome, *given: str) -> list[str]:
    script = RANGES.format(home=lab.home)
    run = lab.words("run", "--network", "none", "--userns", "private", *given)
    return ["unshare", "-m", "sh", "-ec", script, "sh", *run]


def private(
    lab: LabHome, *given: str, line: str = f"root:{FIRST}:{COUNT}\n"
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words(lab, *given), env=lab.env | {"LINE": line}, cwd=lab.home,
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def test_root_inside_has_the_first_of_roots_ids_outside(lab: LabHome) -> None:
    script = "id -u; cat /proc/self/uid_map /proc/self/gid_map; stat -c %u:%g /bin/busybox /etc"
    done = private(lab, "busybox", "sh", "-c", script)
    assert (done.returncode, done.stderr) == (0, ""), done
    shown = done.stdout.split()
    assert shown[0] == "0"
    assert shown[1:7] == ["0", str(FIRST), str(COUNT)] * 2
    assert shown[7:] == ["0:0", "0:0"], "the image's files belong to root inside"


def in_another_user_namespace(mark: str) -> list[int]:
    own = os.readlink("/proc/self/ns/user")
    found = lab_home.processes_with(mark)
    return [pid for pid in found if os.readlink(f"/proc/{pid}/ns/user") != own]


def test_outside_its_process_is_an_ordinary_users(lab: LabHome) -> None:
    script = "echo ready; exec sleep 67891"
    program = subprocess.Popen(
        words(lab, "busybox", "sh", "-c", script),
        env=lab.env | {"LINE": f"root:{FIRST}:{COUNT}\n"}, cwd=lab.home,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert program.stdout is not None and program.stdout.readline() == "ready\n"
        assert lab_home.eventually(lambda: len(in_another_user_namespace("67891")) == 1)
        (pid,) = in_another_user_namespace("67891")
        status = Path(f"/proc/{pid}/status").read_text()
        assert f"\nUid:\t{FIRST}\t{FIRST}\t" in status
        assert f"\nGid:\t{FIRST}\t{FIRST}\t" in status
    finally:
        program.send_signal(signal.SIGKILL)
        program.communicate()
    assert lab_home.eventually(lambda: lab.running() == [])


def test_it_can_do_what_root_of_a_system_can_with_its_own_files(lab: LabHome) -> None:
    script = "touch /x; chown 33:44 /x; stat -c %u:%g /x; su nobody -s /bin/sh -c 'id -u'"
    done = private(lab, "busybox", "sh", "-c", script)
    assert (done.returncode, done.stdout) == (0, "33:44\n65534\n"), done


def test_a_volumes_files_keep_the_hosts_numbers(lab: LabHome) -> None:
    data = Path(lab.home, "data")
    data.mkdir()
    (data / "roots").write_text("secret\n")
    (data / "roots").chmod(0o600)
    data.chmod(0o777)
    script = "stat -c %u /data/roots; cat /data/roots; touch /data/made"
    done = private(lab, "-v", "./data:/data", "busybox", "sh", "-c", script)
    assert done.stdout == "65534\n", "an id without a map is nobody"
    assert "Permission denied" in done.stderr
    assert (data / "made").stat().st_uid == FIRST


def test_without_ranges_it_says_which_line_is_missing(lab: LabHome) -> None:
    done = private(lab, "busybox", "true", line="other:100000:65536\n")
    assert (done.returncode, done.stdout) == (125, "")
    assert done.stderr == (
        "labcontainer: --userns=private: root has no subordinate ids; "
        "add the line root:100000:65536 to /etc/subuid and /etc/subgid\n"
    )
