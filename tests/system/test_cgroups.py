"""Control groups in the kernel: what the files say, and what becomes of the processes.

The same tests run on version 1 and, inside the user-mode kernel, on version 2.
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from labcontainer import cgroups, limits
from labcontainer.cgroups import Cgroup, Limits, from_oci
from labcontainer.errors import ExistsError, SpecError, StateError, UnsupportedError
from labcontainer.kernel import files
from labcontainer.limits import DEFAULT_DEVICE_RULES, DeviceRule

pytestmark = pytest.mark.requires("root", "cgroup-write")

MIB = 1 << 20


@pytest.fixture(name="make")
def make_group() -> Iterator[Callable[[str], Cgroup]]:
    """Makes groups that are gone, with all in them, after the test."""
    made: list[Cgroup] = []

    def make(name: str = "one") -> Cgroup:
        group = Cgroup(f"/labcontainer/test-{os.getpid()}-{name}", cgroups.detect())
        group.create()
        made.append(group)
        return group

    yield make
    for group in reversed(made):
        if group.created:
            group.thaw()
            group.kill()
            group.delete()


@pytest.fixture(name="group")
def one_group(make: Callable[[str], Cgroup]) -> Cgroup:
    return make("one")


def run_in(group: Cgroup, code: str) -> subprocess.Popen[str]:
    """Python that runs in a group from its first line on."""
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", "input()\n" + code],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    group.add(process.pid)
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return process


def answer(group: Cgroup, code: str) -> str:
    """What such a program printed."""
    with run_in(group, code) as process:
        return process.communicate(timeout=60)[0].strip()


def read(group: Cgroup, v1: str, v2: str, controller: str) -> str:
    name = v1 if group._is_v1(controller) else v2
    return Path(group.directory(controller), name).read_text().strip()


def field(pid: int, name: str) -> str:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return line.split(":", 1)[1].strip()
    return ""


# --- create, delete ------------------------------------------------------------------------------


def test_process_is_in_every_hierarchy(group: Cgroup) -> None:
    with run_in(group, "input()") as process:
        lines = Path(f"/proc/{process.pid}/cgroup").read_text().splitlines()
        assert {
            line.split(":", 2)[2] for line in lines if line.split(":")[1] or group.layout.v2
        } == {group.path}
        assert group.procs() == (process.pid,)
        process.communicate("\n", timeout=60)
    assert group.procs() == ()


def test_delete_leaves_nothing(make: Callable[[str], Cgroup]) -> None:
    group = make("gone")
    directories = list(group.directories.values())
    assert all(map(os.path.isdir, directories))
    os.mkdir(f"{directories[0]}/below")  # a container may make groups in its own
    os.mkdir(f"{directories[0]}/below/that")
    group.delete()
    assert not any(map(os.path.exists, directories))
    group.delete()  # twice is no failure


def test_nested_processes_are_found_and_killed(make: Callable[[str], Cgroup]) -> None:
    above = make("above")
    below = Cgroup(f"{above.path}/below", above.layout)
    below.create()
    process = run_in(below, "input()")
    assert above.procs() == (process.pid,)
    above.kill()
    assert process.wait(timeout=60) == -signal.SIGKILL
    process.communicate()
    below.delete()


def test_group_of_somebody_is_refused_and_untouched(make: Callable[[str], Cgroup]) -> None:
    theirs = make("theirs")
    with run_in(theirs, "input()") as process:
        ours = Cgroup(theirs.path, theirs.layout)
        with pytest.raises(ExistsError, match="holds 1 processes"):
            ours.create()
        assert theirs.procs() == (process.pid,)
        process.communicate("\n", timeout=60)


def test_empty_group_is_used_and_not_removed(make: Callable[[str], Cgroup]) -> None:
    theirs = make("empty")
    ours = Cgroup(theirs.path, theirs.layout)
    ours.create()
    ours.delete()
    assert all(map(os.path.isdir, theirs.directories.values()))


def test_delete_with_processes_is_refused(group: Cgroup, monkeypatch: pytest.MonkeyPatch) -> None:
    import functools

    from labcontainer import hierarchy

    monkeypatch.setattr(hierarchy, "remove", functools.partial(hierarchy.remove, patience=0.05))
    process = run_in(group, "input()")
    with pytest.raises(StateError, match="still holds 1 processes"):
        group.delete()
    group.kill()
    process.communicate()


def test_the_top_of_the_tree_is_never_a_container(tmp_path: Path) -> None:
    for path in ("/", "/x/..", "/../..", "."):
        with pytest.raises(SpecError, match="top of the tree"):
            cgroups.for_container(path, "", Limits())


def test_another_process_can_go_on(group: Cgroup) -> None:
    process = run_in(group, "input()")
    again = cgroups.reopen(json.loads(json.dumps(group.record())))
    assert again is not None
    again.freeze()
    assert group.frozen()
    again.thaw()
    again.kill()
    process.communicate()
    again.delete()
    assert not any(map(os.path.exists, group.directories.values()))
    group.created.clear()


def test_failed_create_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    layout = cgroups.detect()
    directories = dict(layout.v1)
    broken = cgroups.Layout("v1", {**directories, "lost": "/proc/sys"}, layout.v2)
    group = Cgroup(f"/labcontainer/test-{os.getpid()}-broken", broken)
    with pytest.raises((UnsupportedError, StateError)):
        group.create()
    assert not any(map(os.path.exists, group.directories.values()))


# --- limits --------------------------------------------------------------------------------------


def test_files_hold_the_limits(group: Cgroup) -> None:
    wished = Limits(
        memory=64 * MIB, memory_reservation=32 * MIB, cpu_shares=512, cpu_quota=20_000,
        cpu_period=100_000, pids=32,
    )  # fmt: skip
    group.apply(wished)
    assert read(group, "memory.limit_in_bytes", "memory.max", "memory") == str(64 * MIB)
    assert read(group, "memory.soft_limit_in_bytes", "memory.low", "memory") == str(32 * MIB)
    assert read(group, "cpu.shares", "cpu.weight", "cpu") in ("512", "59")
    assert read(group, "cpu.cfs_quota_us", "cpu.max", "cpu").split()[0] == "20000"
    assert read(group, "pids.max", "pids.max", "pids") == "32"
    group.apply(Limits(cpu_period=50_000))  # an update of one leaves the other
    assert read(group, "cpu.cfs_quota_us", "cpu.max", "cpu").split()[0] == "20000"
    group.apply(Limits(pids=-1, memory=-1, cpu_quota=-1))
    assert read(group, "pids.max", "pids.max", "pids") == "max"
    assert read(group, "cpu.cfs_quota_us", "cpu.max", "cpu").split()[0] in ("-1", "max")
    assert group.stats()["memory"]["usage"]["limit"] > 2**62


def test_memory_and_swap_go_up_and_down(group: Cgroup) -> None:
    for memory in (64, 256, 32):
        group.apply(Limits(memory=memory * MIB, memory_swap=2 * memory * MIB))
        assert read(group, "memory.limit_in_bytes", "memory.max", "memory") == str(memory * MIB)


def test_memory_hog_is_killed_and_told(group: Cgroup) -> None:
    group.apply(Limits(memory=32 * MIB, memory_swap=32 * MIB))
    with group.watch_oom() as watch:
        assert watch.wait(0) == 0
        poll = select.poll()
        poll.register(watch.fileno(), watch.mask)
        assert poll.poll(0) == []
        with run_in(group, "bytearray(200 << 20)") as hog:
            assert poll.poll(30_000) != []
            assert watch.wait(30) == 1
            assert hog.wait(timeout=30) == -signal.SIGKILL
    assert group.oom_kills() == 1
    assert group.stats()["memory"]["usage"]["max"] <= 32 * MIB


def test_plain_kill_is_no_oom(group: Cgroup) -> None:
    with group.watch_oom() as watch, run_in(group, "input()") as process:
        process.kill()
        process.communicate()
        assert watch.wait(0.05) == 0
    assert group.oom_kills() == 0


def test_fork_past_the_limit_is_eagain(group: Cgroup) -> None:
    group.apply(Limits(pids=4))
    bomb = """
import os, errno, signal
made = []
try:
    while len(made) < 50:
        pid = os.fork()
        if not pid: signal.pause()
        made.append(pid)
except OSError as error:
    print(len(made), errno.errorcode[error.errno])
for pid in made: os.kill(pid, 9); os.waitpid(pid, 0)
"""
    assert answer(group, bomb) == "3 EAGAIN"
    assert group.stats()["pids"]["limit"] == 4


def test_quota_is_counted(group: Cgroup) -> None:
    # Two in a hundred: a busy machine must not give less, or nothing is ever throttled.
    group.apply(Limits(cpu_quota=2_000, cpu_period=100_000))
    # From here on: what Python took to start, it may have taken outside of the group.
    spin = "import time\nends = time.process_time() + 0.05\nwhile time.process_time() < ends: pass"
    assert answer(group, spin) == ""
    throttling = group.stats()["cpu"]["throttling"]
    assert throttling["throttledPeriods"] >= 1
    assert throttling["periods"] >= throttling["throttledPeriods"]
    assert throttling["throttledTime"] > 0
    assert group.stats()["cpu"]["usage"]["total"] >= 50_000_000


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one processor: nothing to choose")
def test_cpuset_is_what_the_process_gets(group: Cgroup) -> None:
    if not os.path.exists(f"{group.directory('cpuset')}/cpuset.cpus"):
        pytest.skip("this kernel has no cpuset controller")
    group.apply(Limits(cpuset_cpus="1"))
    assert answer(group, "import os; print(os.sched_getaffinity(0))") == "{1}"


# --- devices -------------------------------------------------------------------------------------

OPEN = """
import errno, os
def attempt(call, *args):
    try: call(*args); return "ok"
    except OSError as error: return errno.errorcode[error.errno]
os.chdir({directory!r})
print(attempt(os.open, "null", os.O_RDWR), attempt(os.open, "kmsg", os.O_RDONLY),
      attempt(os.open, "kmsg", os.O_WRONLY),
      attempt(os.mknod, "made", 0o600 | 0o20000, os.makedev(1, 11)))
"""


def nodes(directory: Path) -> str:
    for name, minor in (("null", 3), ("kmsg", 11)):
        os.mknod(directory / name, 0o666 | 0o20000, os.makedev(1, minor))
    return OPEN.format(directory=str(directory))


@pytest.fixture(name="nodes_allowed")
def node_directory(tmp_path: Path) -> str:
    try:
        return nodes(tmp_path)
    except PermissionError:
        pytest.fail("root without CAP_MKNOD can't test device lists")


def test_device_list_of_a_container(group: Cgroup, nodes_allowed: str) -> None:
    assert answer(group, nodes_allowed) == "ok ok ok ok"
    group.apply(from_oci({"devices": [{"allow": False, "access": "rwm"}]}))
    os.unlink(nodes_allowed.split("chdir('")[1].split("'")[0] + "/made")
    assert answer(group, nodes_allowed) == "ok EPERM EPERM ok"  # a node may be made, not opened


def test_device_rules_hold_for_each_access(group: Cgroup, nodes_allowed: str) -> None:
    group.apply(
        Limits(devices=(DeviceRule(False), DeviceRule(True, "c", 1, 11, "r"),
                        DeviceRule(True, "c", 1, 3, "r"), DeviceRule(True, "c", 1, 3, "w")))
    )  # fmt: skip
    assert answer(group, nodes_allowed) == "ok ok EPERM EPERM"


def test_device_rules_are_replaced_and_lifted(group: Cgroup, nodes_allowed: str) -> None:
    group.apply(Limits(devices=(DeviceRule(False),)))
    assert answer(group, nodes_allowed) == "EPERM EPERM EPERM EPERM"
    group.apply(Limits(devices=(DeviceRule(True), DeviceRule(False, "c", 1, 11, "w"))))
    assert answer(group, nodes_allowed) == "ok ok EPERM ok"


def test_update_leaves_devices_alone(group: Cgroup, nodes_allowed: str) -> None:
    group.apply(Limits(devices=DEFAULT_DEVICE_RULES))
    group.apply(from_oci({"devices": [{"allow": True}], "pids": {"limit": 50}}, update=True))
    assert answer(group, nodes_allowed).startswith("ok EPERM EPERM")


# --- freeze, kill --------------------------------------------------------------------------------


def test_frozen_processes_stand_still(group: Cgroup) -> None:
    with run_in(group, "import time\nwhile True: time.sleep(0.001)") as process:
        group.freeze()
        assert group.frozen()
        before = field(process.pid, "voluntary_ctxt_switches")
        time.sleep(0.1)
        assert field(process.pid, "voluntary_ctxt_switches") == before
        group.thaw()
        assert not group.frozen()
        deadline = time.monotonic() + 60
        while field(process.pid, "voluntary_ctxt_switches") == before:
            assert time.monotonic() < deadline
        process.kill()
        process.communicate()


FORKING = (
    "import os, signal\nfor _ in range(20):\n  if not os.fork(): signal.pause()\nsignal.pause()"
)


@pytest.mark.parametrize("frozen", [False, True])
def test_kill_ends_all(group: Cgroup, frozen: bool) -> None:
    process = run_in(group, FORKING)
    if frozen:
        group.freeze()
    group.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert group.procs() == ()


def test_kill_without_the_kill_file(group: Cgroup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "exists", lambda _: False)
    process = run_in(group, FORKING)
    group.kill()
    process.communicate()
    assert group.procs() == ()


def test_version_1_alone() -> None:
    layout = cgroups.detect()
    if not layout.v1:
        pytest.skip("no version 1 hierarchy is mounted")
    alone = layout.replace(kind="v1", v2="")
    with Cgroup(f"/labcontainer/test-{os.getpid()}-alone", alone) as group:
        assert group.descriptor() == -1
        process = run_in(group, FORKING)
        group.freeze()
        group.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert group.procs() == ()
    assert not any(map(os.path.exists, group.directories.values()))


def test_born_in_the_group(group: Cgroup) -> None:
    if group.descriptor() < 0:
        pytest.skip("no version 2 hierarchy to be born in")
    from labcontainer.kernel import syscalls

    pid, pidfd = syscalls.clone3(0, cgroup=group.descriptor(), want_pidfd=True)
    if pid == 0:
        signal.pause()
        os._exit(1)
    try:
        assert group.procs() == (pid,)
        group.add(pid)
        assert f":{group.path}\n" in Path(f"/proc/{pid}/cgroup").read_text()
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(pidfd)


def test_goes_in_by_itself(group: Cgroup) -> None:
    from labcontainer.kernel import syscalls

    doors, told = group.doors(), os.pipe()
    pid, pidfd = syscalls.clone3(0, cgroup=group.descriptor(), want_pidfd=True)
    if pid == 0:
        cgroups.enter(doors)
        os.write(told[1], b"in")
        signal.pause()
        os._exit(1)
    try:
        assert os.read(told[0], 2) == b"in"
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
        assert {line.split(":", 2)[2] for line in lines} == {group.path}
        assert group.procs() == (pid,)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        for fd in (*doors, *told, pidfd):
            os.close(fd)


# --- what the kernel refuses ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "wished",
    [
        Limits(cpuset_cpus="999"),
        Limits(cpuset_cpus="nonsense"),
        Limits(cpu_quota=1, cpu_period=100_000),
        Limits(cpu_quota=10_000, cpu_period=7),
        Limits(read_bps=((4095, 7, 1000),)),
        Limits(unified=(("memory.nothing", "1"),)),
        Limits(hugetlb=(("3MB", 1),)),
    ],
)
def test_refusal_is_one_clear_line(group: Cgroup, wished: Limits) -> None:
    with pytest.raises(UnsupportedError) as refused:
        group.apply(wished)
    words = str(refused.value)
    assert "\n" not in words
    assert group.path in words or "kernel has no" in words or "is of cgroup v2" in words


def test_limit_below_what_is_used(group: Cgroup) -> None:
    with run_in(group, "x = bytearray(60 << 20)\nprint('full', flush=True)\ninput()") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "full\n"
        with pytest.raises(UnsupportedError, match="uses"):
            group.apply(Limits(memory=8 * MIB, check_before_update=True))
        process.communicate("\n", timeout=60)
        assert process.returncode == 0


def test_ended_process_is_told(group: Cgroup) -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    with pytest.raises(ProcessLookupError, match=f"process {process.pid} has ended"):
        group.add(process.pid)


def test_watchers_and_events_leave_no_descriptor(group: Cgroup) -> None:
    before = os.listdir("/proc/self/fd")
    with group.watch_oom():
        pass
    assert os.listdir("/proc/self/fd") == before


# --- an ordinary user, neighbours ----------------------------------------------------------------

DELEGATED = """
import os, sys
sys.path.insert(0, sys.argv[1])
os.setgroups([]); os.setresgid(1000, 1000, 1000); os.setresuid(1000, 1000, 1000)
from labcontainer import cgroups, limits
from labcontainer.cgroups import Limits
group = cgroups.for_container("", "mine", Limits(pids=7))
print(group.layout.kind, group.directories[""])
with group:
    group.apply(Limits(pids=7, memory=32 << 20))
    print(open(group.directories[""] + "/pids.max").read().strip())
    print(open("/proc/self/cgroup").read().rpartition("/")[2].strip())
print(os.path.exists(group.directories[""]))
"""


def test_delegated_group_of_an_ordinary_user(make: Callable[[str], Cgroup]) -> None:
    if cgroups.detect().kind != "v2":
        pytest.skip("delegation is version 2's; the user-mode kernel's run of this has it")
    above = make("delegated")
    directory = above.directories[""]
    for name in ("", "/cgroup.procs", "/cgroup.subtree_control", "/cgroup.threads"):
        os.chown(directory + name, 1000, 1000)
    root = str(Path(cgroups.__file__).parents[1])
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", "input()\n" + DELEGATED, root],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as program:  # fmt: skip
        above.add(program.pid)
        said = program.communicate("\n", timeout=60)[0].splitlines()
    # It was in the way of its own controllers (no internal processes), and stepped aside.
    assert said == [f"v2 {directory}/labcontainer/mine", "7", "labcontainer-self", "False"]


NEIGHBOUR = """
import os, sys
sys.path.insert(0, sys.argv[1])
from labcontainer import cgroups
for number in range(15):
    name = f"/labcontainer-race-{sys.argv[3]}/{sys.argv[2]}"
    with cgroups.Cgroup(name, cgroups.detect()) as group:
        pid = os.fork()
        if not pid:
            import signal
            signal.pause()
        group.add(pid)
        assert group.procs() == (pid,)
        group.kill()
        os.waitpid(pid, 0)
"""


def test_neighbours_make_and_remove_the_same_parent() -> None:
    root = str(Path(cgroups.__file__).parents[1])
    programs = [
        subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", NEIGHBOUR, root, str(number), str(os.getpid())],
            stderr=subprocess.PIPE, text=True,
        )
        for number in range(4)
    ]  # fmt: skip
    errors = [program.communicate(timeout=100)[1] for program in programs]
    for top in (*cgroups.detect().v1.values(), cgroups.detect().v2):
        left = f"{top}/labcontainer-race-{os.getpid()}"
        if os.path.isdir(left):  # made by one, still used by another when that one ended
            os.rmdir(left)
    assert [program.returncode for program in programs] == [0] * 4, errors


# --- runc as the oracle --------------------------------------------------------------------------


@pytest.mark.requires("runc", "strace")
def test_the_same_writes_as_runc(rootfs: Path, tmp_path: Path) -> None:
    resources = {
        "devices": [{"allow": False, "access": "rwm"},
                    {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rwm"}],
        "memory": {"limit": 67108864, "swap": 134217728, "reservation": 33554432},
        "cpu": {"shares": 512, "quota": 50000, "period": 100000},
        "pids": {"limit": 64},
    }  # fmt: skip
    place = f"/labcontainer-runc-{os.getpid()}"
    subprocess.run(["runc", "spec"], cwd=tmp_path, check=True)
    config = json.loads((tmp_path / "config.json").read_text())
    config["root"]["path"] = str(rootfs)
    config["process"].update(args=["true"], terminal=False)
    config["linux"].update(resources=resources, cgroupsPath=place)
    (tmp_path / "config.json").write_text(json.dumps(config))
    trace = tmp_path / "trace"
    subprocess.run(
        ["strace", "-f", "-y", "-o", trace, "-e", "trace=write",
         "runc", "--root", tmp_path / "state", "run", place[1:]],
        cwd=tmp_path, check=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    theirs = set(
        re.findall(
            rf'write\(\d+</sys/fs/cgroup[^>]*{place}/([^>]+)>, "([^"]*)"', trace.read_text()
        )
    )
    theirs = {(file, "a" if value == "a *:* rwm" else value) for file, value in theirs}
    layout = cgroups.detect()
    plan = limits.plan(from_oci(resources), layout.controllers())
    ours = {(step.file, step.value) for step in plan if isinstance(step, limits.Write)}
    if layout.kind == "v2":  # runc 1.1 has the older conversion of shares
        ours, theirs = ({w for w in writes if w[0] != "cpu.weight"} for writes in (ours, theirs))
    assert ours <= theirs
    assert {file for file, _ in theirs - ours} <= {
        "cgroup.procs", "cpuset.cpus", "cpuset.mems", "freezer.state", "cgroup.freeze",
    }  # fmt: skip
