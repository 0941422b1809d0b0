"""Control groups without a kernel: the table, plans, the device program, config.json, layouts."""

from __future__ import annotations

import errno
import os
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labcontainer import cgroups, hierarchy, limits, refusals, usage
from labcontainer.cgroups import Limits, from_oci
from labcontainer.errors import SpecError, UnsupportedError
from labcontainer.kernel import bpf, files
from labcontainer.limits import DeviceRule, Write

V1 = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids")


def lines(wished: Limits, v1: tuple[str, ...] = (), now: int | None = None) -> list[str]:
    """The plan as `file=value`."""
    steps = limits.plan(wished, v1, now)
    return [f"{step.file}={step.value}" for step in steps if isinstance(step, Write)]


# --- the table -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wished", "v1", "v2"),
    [
        (Limits(memory=1 << 20), ["memory.limit_in_bytes=1048576"], ["memory.max=1048576"]),
        (
            Limits(memory=100, memory_swap=300),
            ["memory.limit_in_bytes=100", "memory.memsw.limit_in_bytes=300"],
            ["memory.max=100", "memory.swap.max=200"],
        ),
        (
            Limits(memory=-1),
            ["memory.limit_in_bytes=-1", "memory.memsw.limit_in_bytes=-1"],
            ["memory.max=max", "memory.swap.max=max"],
        ),
        (Limits(memory_reservation=5), ["memory.soft_limit_in_bytes=5"], ["memory.low=5"]),
        (Limits(memory_reservation=-1), ["memory.soft_limit_in_bytes=-1"], ["memory.low=0"]),
        (Limits(oom_kill_disable=True), ["memory.oom_control=1"], []),
        (Limits(cpu_shares=1024), ["cpu.shares=1024"], ["cpu.weight=100"]),
        (
            Limits(cpu_quota=50_000, cpu_period=200_000),
            ["cpu.cfs_period_us=200000", "cpu.cfs_quota_us=50000"],
            ["cpu.max=50000 200000"],
        ),
        (Limits(cpu_quota=-1), ["cpu.cfs_quota_us=-1"], ["cpu.max=max 100000"]),
        (Limits(pids=64), ["pids.max=64"], ["pids.max=64"]),
        (Limits(pids=0), ["pids.max=0"], ["pids.max=0"]),
        (Limits(pids=-1), ["pids.max=max"], ["pids.max=max"]),
        (Limits(io_weight=500), ["blkio.weight=500"], ["io.weight=default 4950"]),
        (
            Limits(read_bps=((8, 0, 1000), (8, 16, 0))),
            [f"blkio.throttle.read_bps_device={text}" for text in ("8:0 1000", "8:16 0")],
            ["io.max=8:0 rbps=1000", "io.max=8:16 rbps=max"],
        ),
        (Limits(hugetlb=(("2MB", 4),)), ["hugetlb.2MB.max=4"], ["hugetlb.2MB.max=4"]),
        (Limits(unified=(("cpu.idle", "1"),)), ["cpu.idle=1"], ["cpu.idle=1"]),
        (Limits(cpuset_cpus="0-1"), ["cpuset.cpus=0-1"], ["cpuset.cpus=0-1"]),
        (Limits(), [], []),
    ],
)
def test_same_limit_in_both_versions(wished: Limits, v1: list[str], v2: list[str]) -> None:
    assert lines(wished, V1) == v1
    assert lines(wished) == v2


def test_every_limit_has_its_row() -> None:
    told_apart = {"check_before_update", "hugetlb", "unified", "devices"}
    assert {row.limit for row in limits.TABLE} | told_apart == set(Limits._fields)


def test_every_row_without_a_file_says_why() -> None:
    for row in limits.TABLE:
        assert (row.v2 is None) == bool(row.why)


def test_what_version_2_lacks_is_told() -> None:
    assert limits.left_out(Limits(swappiness=10, memory=5)) == (
        "swappiness: version 2 has no swappiness of a group",
    )
    assert limits.left_out(Limits(swappiness=10), V1) == ()


def test_hybrid_takes_each_controller_where_it_is() -> None:
    wished = Limits(memory=4, pids=5)
    assert lines(wished, ("memory",)) == ["memory.limit_in_bytes=4", "pids.max=5"]
    assert [
        step.version for step in limits.plan(wished, ("memory",)) if isinstance(step, Write)
    ] == [
        "v1",
        "v2",
    ]


@pytest.mark.parametrize(
    ("shares", "weight"),
    [(0, 1), (2, 1), (1024, 100), (512, 59), (2048, 174), (262144, 10000), (1 << 40, 10000)],
)
def test_shares_to_weight_as_runc_has_it(shares: int, weight: int) -> None:
    assert limits.shares_to_weight(shares) == weight


@given(st.integers(2, 262144), st.integers(2, 262144))
def test_more_shares_never_weigh_less(one: int, other: int) -> None:
    low, high = sorted((one, other))
    assert 1 <= limits.shares_to_weight(low) <= limits.shares_to_weight(high) <= 10000


@pytest.mark.parametrize(("blkio", "io"), [(10, 1), (1000, 10000), (500, 4950)])
def test_io_weight(blkio: int, io: int) -> None:
    assert limits.blkio_to_io_weight(blkio) == io


@pytest.mark.parametrize(("both", "memory"), [(100, None), (100, -1), (100, 200)])
def test_swap_that_makes_no_sense(both: int, memory: int | None) -> None:
    with pytest.raises(SpecError, match=r"memory\.swap"):
        limits.plan(Limits(memory=memory, memory_swap=both))


# --- the order of writes -------------------------------------------------------------------------


def test_memory_and_swap_in_an_order_that_the_kernel_takes() -> None:
    wished = Limits(memory=200, memory_swap=400)
    names = ["memory.limit_in_bytes=200", "memory.memsw.limit_in_bytes=400"]
    assert lines(wished, V1) == names  # a new group: unlimited
    assert lines(wished, V1, now=1 << 62) == names  # lowered: memory first
    assert lines(wished, V1, now=100) == names[::-1]  # raised: the sum first
    assert lines(Limits(memory=-1, memory_swap=-1), V1, now=100)[0].startswith("memory.memsw")


@given(*[st.integers(1, 50) for _ in range(4)])
def test_memory_never_above_memsw_on_the_way(now: int, extra: int, memory: int, more: int) -> None:
    have = {"memory.limit_in_bytes": now, "memory.memsw.limit_in_bytes": now + extra}
    wished = Limits(memory=memory, memory_swap=memory + more)
    for step in limits.plan(wished, V1, have["memory.memsw.limit_in_bytes"]):
        assert isinstance(step, Write)
        have[step.file] = int(step.value)
        assert have["memory.limit_in_bytes"] <= have["memory.memsw.limit_in_bytes"]


def test_cpuset_is_first_and_the_period_before_the_quota() -> None:
    wished = Limits(cpu_quota=1, cpu_period=2, memory=3, cpuset_cpus="0", cpuset_mems="0")
    assert [line.split("=")[0] for line in lines(wished, V1)] == [
        "cpuset.cpus", "cpuset.mems", "memory.limit_in_bytes", "cpu.cfs_period_us",
        "cpu.cfs_quota_us",
    ]  # fmt: skip


def test_a_plan_can_be_read() -> None:
    step = limits.plan(Limits(memory=64))[0]
    assert str(step) == "v2 memory: write '64' to memory.max"
    program = limits.plan(Limits(devices=(DeviceRule(False), DeviceRule(True, "c", 1, 3, "r"))))[0]
    assert str(program) == ("v2 devices: attach an eBPF program: deny a *:* rwm, allow c 1:3 r")


# --- devices -------------------------------------------------------------------------------------


def test_device_list_of_version_1() -> None:
    rules = (
        DeviceRule(True, "c", 9, 9),
        DeviceRule(False),
        DeviceRule(True, "c", 1, 3, "r"),
        DeviceRule(True, "c", 1, 3, "w"),
        DeviceRule(True, "b", 8, 0),
        DeviceRule(False, "b", 8, -1, "wm"),
    )
    assert lines(Limits(devices=rules), V1) == [
        "devices.deny=a", "devices.allow=c 1:3 rw", "devices.allow=b 8:0 r",
    ]  # fmt: skip
    allowed = (DeviceRule(True), DeviceRule(False, "c", 1, 11))
    assert lines(Limits(devices=allowed), V1) == ["devices.allow=a", "devices.deny=c 1:11 rwm"]


def test_hole_in_a_wider_rule_is_refused_on_version_1() -> None:
    rules = (DeviceRule(True, "c", 1), DeviceRule(False, "c", 1, 3))
    with pytest.raises(UnsupportedError, match=r"device rule c 1:3 rwm.*wider rule c 1:\* rwm"):
        limits.plan(Limits(devices=rules), V1)


def run(program: bytes, kind: str, major: int, minor: int, access: str) -> bool:
    """A small eBPF machine: the seven instructions that the assembler uses."""
    code = [struct.unpack_from("<BBhi", program, at) for at in range(0, len(program), 8)]
    wanted = sum(bpf.ACCESS[word] for word in access)
    memory = {0: wanted << 16 | bpf.KINDS[kind], 4: major, 8: minor}
    registers, at = dict.fromkeys(range(11), 0), 0
    while True:
        op, regs, offset, constant = code[at]
        dst, src, at = regs & 15, regs >> 4, at + 1
        if op == bpf.LOAD_WORD:
            registers[dst] = memory[offset]
        elif op == bpf.MOVE:
            registers[dst] = constant
        elif op == bpf.MOVE_REGISTER:
            registers[dst] = registers[src]
        elif op == bpf.AND:
            registers[dst] &= constant & 0xFFFFFFFF
        elif op == bpf.SHIFT_RIGHT:
            registers[dst] >>= constant
        elif op == bpf.JUMP_EQUAL:
            at += offset if registers[dst] == constant else 0
        elif op == bpf.JUMP_NOT_EQUAL:
            at += offset if registers[dst] != constant else 0
        else:
            assert op == bpf.EXIT
            return bool(registers[0])


def decide(rules: list[DeviceRule], kind: str, major: int, minor: int, access: str) -> bool:
    """What the rules mean: for each kind of access, the last that fits decides."""

    def one(word: str) -> bool:
        for rule in reversed(rules):
            if rule.kind == "a":
                return rule.allow
            same = rule.kind == kind and rule.major in (-1, major) and rule.minor in (-1, minor)
            if same and word in rule.access:
                return rule.allow
        return False

    return all(map(one, access))


NUMBERS = st.sampled_from([-1, 1, 2])
ACCESSES = st.sampled_from(["r", "w", "m", "rw", "rwm", "wm"])
RULES = st.lists(
    st.builds(DeviceRule, st.booleans(), st.sampled_from(["a", "b", "c", "c"]), NUMBERS, NUMBERS,
              ACCESSES), max_size=8,
)  # fmt: skip
ONE = st.sampled_from([1, 2, 3])


@given(RULES, st.sampled_from("bc"), ONE, ONE, ACCESSES)
def test_program_decides_as_the_rules_say(
    rules: list[DeviceRule], kind: str, major: int, minor: int, access: str
) -> None:
    program = bpf.assemble([rule.as_tuple() for rule in rules])
    assert run(program, kind, major, minor, access) == decide(rules, kind, major, minor, access)


@given(RULES, st.sampled_from("bc"), ONE, ONE, st.sampled_from("rwm"))
def test_version_1_list_decides_as_the_rules_say(
    rules: list[DeviceRule], kind: str, major: int, minor: int, access: str
) -> None:
    try:
        allowed, exceptions = limits._default_and_exceptions(rules)
    except UnsupportedError:
        return
    met = any(
        k == kind and a in (-1, major) and b in (-1, minor) and access in words
        for (k, a, b), words in exceptions.items()
    )
    assert (allowed != met) == decide(rules, kind, major, minor, access)


# --- config.json ---------------------------------------------------------------------------------


def test_zero_is_leave_alone_where_docker_sends_it() -> None:
    sent = {
        "memory": {"limit": 83886080, "reservation": 0, "swap": 167772160, "kernel": 0},
        "cpu": {"shares": 0, "quota": 0, "period": 0},
        "blockIO": {"weight": 0},
        "pids": {"limit": 0},
    }
    assert from_oci(sent, update=True) == Limits(memory=83886080, memory_swap=167772160)


def test_everything_of_a_config() -> None:
    sent = {
        "devices": [{"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"}],
        "memory": {"limit": 1, "swap": -1, "swappiness": 0, "disableOOMKiller": True,
                   "checkBeforeUpdate": True},
        "cpu": {"shares": 5, "cpus": "0-1", "mems": "", "idle": 1, "burst": 0},
        "pids": {"limit": -1},
        "blockIO": {"throttleReadIOPSDevice": [{"major": 8, "minor": 0, "rate": 7}],
                    "weightDevice": [{"major": 8, "minor": 0, "weight": 20},
                                     {"major": 8, "minor": 1, "leafWeight": 20}]},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 9}],
        "network": {"classID": 3, "priorities": [{"name": "eth0", "priority": 4}]},
        "rdma": {"mlx": {"hcaHandles": 3}},
        "unified": {"memory.high": "5"},
    }  # fmt: skip
    found = from_oci(sent)
    assert found.devices == (DeviceRule(True, "c", 10, 229, "rw"), *limits.DEFAULT_DEVICE_RULES)
    assert found.replace(devices=None) == Limits(
        memory=1, memory_swap=-1, swappiness=0, oom_kill_disable=True, check_before_update=True,
        cpu_shares=5, cpu_idle=1, cpu_burst=0, cpuset_cpus="0-1", pids=-1,
        read_iops=((8, 0, 7),), io_weight_device=((8, 0, 20),), hugetlb=(("2MB", 9),),
        network_class=3, network_priorities=(("eth0", 4),), rdma=(("mlx", 3, "max"),),
        unified=(("memory.high", "5"),),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ({"memory": {"limit": "64m"}}, "memory.limit: must be a number, not '64m'"),
        ({"memory": {"limit": True}}, "memory.limit: must be a number"),
        ({"memory": {"limit": -7}}, "memory.limit: -7 is out of bounds"),
        ({"memory": 5}, "memory.limit: is below 5, not an object"),
        ({"memory": {"disableOOMKiller": 1}}, "disableOOMKiller: must be true or false"),
        ({"cpu": {"cpus": 3}}, "cpu.cpus: must be a string"),
        ({"devices": {}}, "devices: must be a list"),
        ({"devices": [3]}, r"devices\[0\]: must be an object"),
        ({"devices": [{"allow": True, "access": "x"}]}, r"devices\[0\]: a x is no device rule"),
        ({"devices": [{"allow": True, "type": "q"}]}, r"devices\[0\]: q rwm is no device rule"),
        ({"blockIO": {"throttleReadBpsDevice": [{"rate": 3}]}}, r"\[0\].major: is missing"),
        ({"unified": {"../x": "1"}}, "is not a file of a controller"),
        ({"unified": {"memory.high": 1}}, "unified.memory.high: must be a string"),
    ],
)
def test_wrong_values_are_told(sent: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        from_oci(sent)


# --- layouts -------------------------------------------------------------------------------------


def mounts(*rows: tuple[str, str, str, str]) -> str:
    """(root, point, type, options) as mountinfo has it."""
    return "\n".join(
        f"31 23 0:28 {root} {point} rw,relatime - {kind} {kind} rw,{options}".rstrip(",")
        for root, point, kind, options in rows
    )


SYSTEMD_USER = "/user.slice/user-1000.slice/user@1000.service/app.slice/term.scope"


@pytest.mark.parametrize(
    ("mountinfo", "own", "writable", "layout"),
    [
        (
            mounts(("/", "/sys/fs/cgroup", "cgroup2", "nsdelegate")), "0::/init.scope", "/",
            cgroups.Layout("v2", {}, "/sys/fs/cgroup"),
        ),
        (
            mounts(("/", "/sys/fs/cgroup", "cgroup2", "")), f"0::{SYSTEMD_USER}", "user@1000",
            cgroups.Layout("v2", {}, f"/sys/fs/cgroup{SYSTEMD_USER.rpartition('/app')[0]}"),
        ),
        (
            mounts(("/", "/sys/fs/cgroup/cpu,cpuacct", "cgroup", "cpu,cpuacct"),
                   ("/", "/sys/fs/cgroup/systemd", "cgroup", "xattr,name=systemd"),
                   ("/", "/sys/fs/cgroup/unified", "cgroup2", "")),
            "2:cpu,cpuacct:/\n1:name=systemd:/\n0::/", "/",
            cgroups.Layout("hybrid", {"cpu,cpuacct": "/sys/fs/cgroup/cpu,cpuacct",
                                      "name=systemd": "/sys/fs/cgroup/systemd"},
                           "/sys/fs/cgroup/unified"),
        ),
        (
            mounts(("/docker/abc", "/sys/fs/cgroup/pids", "cgroup", "pids")), "5:pids:/docker/abc",
            "/", cgroups.Layout("v1", {"pids": "/sys/fs/cgroup/pids"}),
        ),
        (
            mounts(("/", "/sys/fs/cgroup", "cgroup2", "")), "0::/user.slice/session-2.scope",
            "nothing",
            cgroups.Layout("none", {}, why="no directory below /sys/fs/cgroup may be written by "
                           "this user"),
        ),
        ("", "", "/", cgroups.Layout("none", {}, why="no cgroup hierarchy is mounted below "
                                     "/sys/fs/cgroup")),
    ],
    ids=["v2", "delegated", "hybrid", "inside a container", "not delegated", "nothing mounted"],
)  # fmt: skip
def test_detect(
    monkeypatch: pytest.MonkeyPatch, mountinfo: str, own: str, writable: str, layout: cgroups.Layout
) -> None:
    texts = {"/proc/self/mountinfo": mountinfo, "/proc/self/cgroup": own}
    monkeypatch.setattr(files, "read", texts.__getitem__)
    monkeypatch.setattr(os, "access", lambda path, _: writable in path)
    assert hierarchy.HOST == "/sys/fs/cgroup"
    assert cgroups.detect() == layout


def test_no_group_and_no_limit_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    none = cgroups.Layout("none", {}, why="nothing is mounted")
    monkeypatch.setattr(cgroups, "detect", lambda: none)
    assert cgroups.for_container("", "one", from_oci({})) is None
    with pytest.raises(
        UnsupportedError, match=r"limits \(pids\): nothing is mounted; .*systemd-run"
    ):
        cgroups.for_container("", "one", Limits(pids=5))


def test_where_a_container_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "detect", lambda: cgroups.Layout("v2", {}, "/sys/fs/cgroup"))
    for path, place in (
        ("", "/labcontainer/id"), ("/docker/x", "/docker/x"), ("a/b", "/a/b"), ("/a/../../b", "/b"),
    ):  # fmt: skip
        group = cgroups.for_container(path, "id", Limits())
        assert group is not None
        assert group.directories == {"": f"/sys/fs/cgroup{place}"}


def test_record_and_reopen() -> None:
    group = cgroups.Cgroup("/x", cgroups.Layout("hybrid", {"freezer": "/f"}, "/u"))
    assert group.record()["freezer"] == {"/f/x/freezer.state": "FROZEN"}
    again = cgroups.reopen(group.record())
    assert again is not None
    assert again.directories == group.directories
    assert cgroups.reopen({}) is None
    newer = cgroups.Cgroup("/x", cgroups.Layout("v2", {}, "/u"))
    assert newer.record()["freezer"] == {"/u/x/cgroup.freeze": "1"}


# --- refusals, numbers ---------------------------------------------------------------------------


def test_refusal_of_a_real_time_process() -> None:
    error = OSError(errno.EINVAL, "cannot write '7' to /x/cgroup.procs: Invalid argument")
    said = refusals.of_process(error, "cpu", "/x", 7)
    assert "real-time" in str(said) and "chrt --other" in str(said)
    assert "real-time" not in str(refusals.of_process(error, "memory", "/x", 7))


def test_missing_swap_accounting_is_named() -> None:
    write = Write("v1", "memory", "memory.memsw.limit_in_bytes", "5", "memory_swap")
    assert "swapaccount=1" in str(refusals.of_write(OSError(errno.ENOENT, "x"), write))


@pytest.mark.parametrize("swap", [False, True])
def test_swap_limit_without_swap_accounting(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, swap: bool
) -> None:
    """Docker limits swap whenever memory is limited; where there is no swap that says nothing."""
    (tmp_path / "x").mkdir()
    (tmp_path / "x/memory.max").touch()
    monkeypatch.setattr(usage, "machine_has_swap", lambda: swap)
    group = cgroups.Cgroup("/x", cgroups.Layout("v2", {}, str(tmp_path)))
    if swap:
        with pytest.raises(UnsupportedError, match=r"memory_swap = 5.*swapaccount=1"):
            group.apply(Limits(memory=5, memory_swap=10))
    else:
        assert group.apply(Limits(memory=5, memory_swap=10, swappiness=3)) == (
            "swappiness: version 2 has no swappiness of a group",
        )
    assert (tmp_path / "x/memory.max").read_text() == "5"


def test_numbers_of_both_versions(tmp_path: Any) -> None:
    for name, text in {
        "cpu.stat": "usage_usec 5\nuser_usec 3\nsystem_usec 2\nnr_periods 4\nnr_throttled 1\n"
                    "throttled_usec 9", "memory.max": "max", "memory.current": "7",
        "memory.stat": "file 3\nanon 4", "memory.events": "max 2\noom_kill 1", "pids.max": "max",
        "pids.current": "2", "io.stat": "8:0 rbytes=5 wbytes=6 rios=1 wios=2 dbytes=0 dios=0",
        "memory.swap.max": "0",
    }.items():  # fmt: skip
        (tmp_path / name).write_text(text + "\n")
    found = usage.read(lambda _: str(tmp_path), lambda _: False)
    assert found["cpu"]["usage"] == {"total": 5000, "kernel": 2000, "user": 3000}
    assert found["cpu"]["throttling"] == {
        "periods": 4, "throttledPeriods": 1, "throttledTime": 9000,
    }  # fmt: skip
    assert found["memory"]["usage"]["limit"] == usage.UNLIMITED
    assert found["memory"]["usage"]["failcnt"] == 2
    assert found["memory"]["cache"] == 3
    assert found["pids"] == {"current": 2, "limit": 0}
    assert {"major": 8, "minor": 0, "op": "Write", "value": 6} in (
        found["blkio"]["ioServiceBytesRecursive"]
    )
