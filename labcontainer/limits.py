"""What a group of processes may use, and the one table of how to tell the kernel, v1 or v2.

`Limits` is the wish, `TABLE` says for each wish which file of which controller takes it in either
version of cgroups and in which form, and `plan` makes the list of writes, in an order that the
kernel accepts. All here is pure: no file is touched, no kernel is asked.

Sources: cgroups(7); the kernel's admin-guide/cgroup-v2.rst and cgroup-v1/*.rst; runtime-spec
config-linux.md "Control groups"; the conversions are runc's and crun's of today.
"""

from __future__ import annotations

from labcontainer.errors import SpecError, UnsupportedError
from labcontainer.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    Format = Callable[["Value", "Limits"], tuple[str, ...]]
    Value = object  # a row's format knows which field it is for

UNLIMITED = -1
DEFAULT_PERIOD = 100_000  # microseconds; the kernel's own, sched-bwc.rst


class DeviceRule(Record):
    """Allow or deny a kind of access to devices. -1 stands for every number."""

    allow: bool
    kind: str = "a"  # "c" character, "b" block, "a" every device
    major: int = -1
    minor: int = -1
    access: str = "rwm"  # read, write, mknod

    def __str__(self) -> str:
        major, minor = ("*" if number < 0 else number for number in (self.major, self.minor))
        return f"{self.kind} {major}:{minor} {self.access}"


class Limits(Record):
    """What a group may use. None, and an empty tuple, leave a thing as it is; -1 is no limit."""

    memory: int | None = None  # bytes
    memory_swap: int | None = None  # bytes, memory and swap together
    memory_reservation: int | None = None  # bytes that are left to it when memory is short
    swappiness: int | None = None  # 0 to 100
    oom_kill_disable: bool | None = None
    check_before_update: bool = False  # refuse a memory limit below what is used
    cpu_shares: int | None = None  # 2 to 262144, 1024 is everybody's
    cpu_quota: int | None = None  # microseconds of processor time in each period
    cpu_period: int | None = None  # microseconds
    cpu_burst: int | None = None  # microseconds
    cpu_idle: int | None = None
    realtime_runtime: int | None = None
    realtime_period: int | None = None
    cpuset_cpus: str | None = None  # "0-2,7"
    cpuset_mems: str | None = None
    pids: int | None = None
    io_weight: int | None = None  # 10 to 1000, as blkio has it
    io_weight_device: tuple[tuple[int, int, int], ...] = ()  # (major, minor, weight)
    read_bps: tuple[tuple[int, int, int], ...] = ()  # (major, minor, bytes a second)
    write_bps: tuple[tuple[int, int, int], ...] = ()
    read_iops: tuple[tuple[int, int, int], ...] = ()  # (major, minor, operations a second)
    write_iops: tuple[tuple[int, int, int], ...] = ()
    hugetlb: tuple[tuple[str, int], ...] = ()  # ("2MB", bytes)
    rdma: tuple[tuple[str, int | str, int | str], ...] = ()  # (device, handles, objects)
    network_class: int | None = None
    network_priorities: tuple[tuple[str, int], ...] = ()  # (interface, priority)
    unified: tuple[tuple[str, str], ...] = ()  # version 2 files, given by name
    devices: tuple[DeviceRule, ...] | None = None

    def asked(self) -> tuple[str, ...]:
        """The names of the limits that are set."""
        unset = (None, (), False)
        return tuple(name for name in self._fields if getattr(self, name) not in unset)


# What every container may use whatever its configuration says, as runc has it: making any node
# (the cgroup then decides on opening it), and the devices of runtime-spec's default list.
DEFAULT_DEVICE_RULES = (
    DeviceRule(True, "c", access="m"),
    DeviceRule(True, "b", access="m"),
    # null, zero, full, random, urandom
    *(DeviceRule(True, "c", 1, minor) for minor in (3, 5, 7, 8, 9)),
    DeviceRule(True, "c", 5, 0),  # tty
    DeviceRule(True, "c", 5, 2),  # ptmx
    DeviceRule(True, "c", 10, 200),  # net/tun
    DeviceRule(True, "c", 136),  # pts/*
)


# --- forms of a value ----------------------------------------------------------------------------


def shares_to_weight(shares: int) -> int:
    """cpu.shares (2 to 262144, usual 1024) as cpu.weight (1 to 10000, usual 100).

    A quadratic in log2 that meets all three points, as runc and crun have it since 2025. The line
    through the two ends, which came first, made 39 of 1024: less than half of an equal part.
    """
    import math

    if shares <= 2:
        return 1
    if shares >= 262144:
        return 10000
    log = math.log2(shares)
    return math.ceil(10 ** ((log * log + 125 * log) / 612.0 - 7.0 / 34.0))


def blkio_to_io_weight(weight: int) -> int:
    """blkio.weight (10 to 1000) as io.weight (1 to 10000): the line through the two ends."""
    return 1 + (weight - 10) * 9999 // 990


def swap_alone(memory_swap: int, memory: int | None) -> str:
    """Version 1 counts memory and swap together, version 2 swap alone.

    Raises:
        SpecError: swap is limited and memory is not, or to more than both together.
    """
    if memory_swap < 0:
        return "max"
    if memory is None or memory < 0:
        raise SpecError("memory.swap", "can't be set without memory.limit")
    if memory_swap < memory:
        raise SpecError("memory.swap", f"{memory_swap} is less than memory.limit {memory}")
    return str(memory_swap - memory)


def cpu_max(quota: int | None, period: int | None) -> str:
    """Quota and period, two files of version 1, as the one line of version 2."""
    amount = "max" if quota is None or quota <= 0 else str(quota)
    return f"{amount} {period or DEFAULT_PERIOD}"


def _plain(value: Value, _: Limits) -> tuple[str, ...]:
    return (str(int(value) if isinstance(value, bool) else value),)


def _or_max(value: Value, _: Limits) -> tuple[str, ...]:
    return ("max" if isinstance(value, int) and value < 0 else str(value),)


def _not_negative(value: Value, _: Limits) -> tuple[str, ...]:
    """No limit is the lowest reservation: "max" would reserve the machine."""
    return ("0" if isinstance(value, int) and value < 0 else str(value),)


def _swap(_: Value, limits: Limits) -> tuple[str, ...]:
    assert limits.memory_swap is not None
    return (swap_alone(limits.memory_swap, limits.memory),)


def _weight(value: Value, _: Limits) -> tuple[str, ...]:
    assert isinstance(value, int)
    return (str(shares_to_weight(value)),)


def _cpu_max(_: Value, limits: Limits) -> tuple[str, ...]:
    return (cpu_max(limits.cpu_quota, limits.cpu_period),)


def _io_weight(value: Value, _: Limits) -> tuple[str, ...]:
    assert isinstance(value, int)
    return (f"default {blkio_to_io_weight(value)}",)


def _bfq_weight(value: Value, _: Limits) -> tuple[str, ...]:
    return (f"default {value}",)


def _each(form: str, v2_zero: str = "0", convert: Callable[[int], int] = int) -> Format:
    """One line for each (name or numbers …, value)."""

    def lines(value: Value, _: Limits) -> tuple[str, ...]:
        assert isinstance(value, tuple)
        return tuple(
            form.format(*entry[:-1], convert(entry[-1]) if entry[-1] else v2_zero)
            for entry in value
        )

    return lines


# --- the table -----------------------------------------------------------------------------------


class Place(Record):
    """Where a limit goes in one version: a file of a controller, and the form of the value.

    `absent` values need no file: a kernel without swap accounting has no swap limit anyway.
    """

    controller: str
    file: str
    form: Format
    absent: tuple[str, ...] = ()
    fallback: tuple[str, Format] | None = None  # file and form of another I/O scheduler


class Row(Record):
    """One limit in both versions; `why` says why one of them has no such file."""

    limit: str
    v1: Place | None
    v2: Place | None
    why: str = ""


def _row(limit: str, v1: tuple[Any, ...], v2: tuple[Any, ...] | str) -> Row:
    first = Place(*v1) if v1 else None
    return Row(limit, first, None, v2) if isinstance(v2, str) else Row(limit, first, Place(*v2))


# In the order of the writes. cpuset comes first: in version 1 no process can enter a group without
# processors and memory nodes. memory before memsw: a new group's are unlimited, and the kernel
# holds memory <= memsw at all times (`_in_order` turns them round where an update raises both).
# The period before the quota: a quota is checked against the period that stands.
TABLE: tuple[Row, ...] = (
    _row("cpuset_cpus", ("cpuset", "cpuset.cpus", _plain), ("cpuset", "cpuset.cpus", _plain)),
    _row("cpuset_mems", ("cpuset", "cpuset.mems", _plain), ("cpuset", "cpuset.mems", _plain)),
    _row("memory",
         ("memory", "memory.limit_in_bytes", _plain), ("memory", "memory.max", _or_max)),
    _row("memory_swap",
         ("memory", "memory.memsw.limit_in_bytes", _plain, ("-1",)),
         ("memory", "memory.swap.max", _swap, ("0", "max"))),
    _row("memory_reservation",
         ("memory", "memory.soft_limit_in_bytes", _plain), ("memory", "memory.low", _not_negative)),
    _row("oom_kill_disable",
         ("memory", "memory.oom_control", _plain, ("0",)),
         "version 2 has no switch for the OOM killer"),
    _row("swappiness",
         ("memory", "memory.swappiness", _plain), "version 2 has no swappiness of a group"),
    _row("cpu_shares", ("cpu", "cpu.shares", _plain), ("cpu", "cpu.weight", _weight)),
    _row("cpu_period", ("cpu", "cpu.cfs_period_us", _plain), ("cpu", "cpu.max", _cpu_max)),
    _row("cpu_quota", ("cpu", "cpu.cfs_quota_us", _plain), ("cpu", "cpu.max", _cpu_max)),
    _row("cpu_burst", ("cpu", "cpu.cfs_burst_us", _plain), ("cpu", "cpu.max.burst", _plain)),
    _row("cpu_idle", ("cpu", "cpu.idle", _plain), ("cpu", "cpu.idle", _plain)),
    _row("realtime_period", ("cpu", "cpu.rt_period_us", _plain),
         "version 2 has no real-time budget of a group"),
    _row("realtime_runtime", ("cpu", "cpu.rt_runtime_us", _plain),
         "version 2 has no real-time budget of a group"),
    _row("pids", ("pids", "pids.max", _or_max), ("pids", "pids.max", _or_max)),
    _row("io_weight",
         ("blkio", "blkio.weight", _plain, (), ("blkio.bfq.weight", _plain)),
         ("io", "io.weight", _io_weight, (), ("io.bfq.weight", _bfq_weight))),
    _row("io_weight_device",
         ("blkio", "blkio.weight_device", _each("{}:{} {}"), (),
          ("blkio.bfq.weight_device", _each("{}:{} {}"))),
         ("io", "io.weight", _each("{}:{} {}", "default", blkio_to_io_weight), (),
          ("io.bfq.weight", _each("{}:{} {}")))),
    _row("read_bps",
         ("blkio", "blkio.throttle.read_bps_device", _each("{}:{} {}")),
         ("io", "io.max", _each("{}:{} rbps={}", "max"))),
    _row("write_bps",
         ("blkio", "blkio.throttle.write_bps_device", _each("{}:{} {}")),
         ("io", "io.max", _each("{}:{} wbps={}", "max"))),
    _row("read_iops",
         ("blkio", "blkio.throttle.read_iops_device", _each("{}:{} {}")),
         ("io", "io.max", _each("{}:{} riops={}", "max"))),
    _row("write_iops",
         ("blkio", "blkio.throttle.write_iops_device", _each("{}:{} {}")),
         ("io", "io.max", _each("{}:{} wiops={}", "max"))),
    _row("rdma",
         ("rdma", "rdma.max", _each("{} hca_handle={} hca_object={}")),
         ("rdma", "rdma.max", _each("{} hca_handle={} hca_object={}"))),
    _row("network_class", ("net_cls", "net_cls.classid", _plain),
         "version 2 leaves traffic classes to eBPF and nftables"),
    _row("network_priorities", ("net_prio", "net_prio.ifpriomap", _each("{} {}")),
         "version 2 leaves priorities to eBPF and nftables"),
)  # fmt: skip


# --- the plan ------------------------------------------------------------------------------------


class Write(Record):
    """One write into one file of the group."""

    version: str  # "v1" or "v2"
    controller: str
    file: str
    value: str
    limit: str = ""  # the field of Limits that asks for it
    optional: bool = False  # a missing file means the same
    fallback: Write | None = None  # what to write where this file is missing

    def __str__(self) -> str:
        return f"{self.version} {self.controller}: write {self.value!r} to {self.file}"


class Program(Record):
    """Version 2's device list: a program that the kernel asks at each mknod and open."""

    rules: tuple[DeviceRule, ...]

    def __str__(self) -> str:
        rules = ", ".join(f"{'allow' if rule.allow else 'deny'} {rule}" for rule in self.rules)
        return f"v2 devices: attach an eBPF program: {rules}"


def plan(
    limits: Limits, v1: Iterable[str] = (), memsw_now: int | None = None
) -> tuple[Write | Program, ...]:
    """All writes, in order. Limits that a version does not know are left out (`left_out`).

    `v1` holds the controllers that are mounted as version 1: none on a machine with version 2.
    `memsw_now` is the memory-and-swap limit that stands, for an update on version 1.
    """
    old = tuple(v1)
    limits = _completed(limits)
    steps: list[Write | Program] = []
    for row in TABLE:
        value = getattr(limits, row.limit)
        place = row.v1 if row.v1 is not None and row.v1.controller in old else row.v2
        if value is None or value == () or place is None:
            continue
        for write in _writes(row.limit, place, "v1" if place is row.v1 else "v2", limits):
            if write.replace(limit="cpu_period") not in steps:  # cpu.max: two limits, one line
                steps.append(write)
    steps = _in_order(steps, memsw_now)
    steps += _huge_pages(limits, old)
    steps += [Write("v2", name.split(".")[0], name, text, "unified")
              for name, text in limits.unified]  # fmt: skip
    if limits.devices is not None:
        steps += device_writes(limits.devices) if "devices" in old else [Program(limits.devices)]
    return tuple(steps)


def _writes(limit: str, place: Place, version: str, limits: Limits) -> list[Write]:
    value = getattr(limits, limit)
    found = []
    for index, text in enumerate(place.form(value, limits)):
        write = Write(version, place.controller, place.file, text, limit, text in place.absent)
        if place.fallback is not None:
            file, form = place.fallback
            other = form(value, limits)[index]
            write = write.replace(fallback=write.replace(file=file, value=other))
        found.append(write)
    return found


def _completed(limits: Limits) -> Limits:
    """No limit of memory means none of swap either, unless it says otherwise (as in runc)."""
    if limits.memory == UNLIMITED and limits.memory_swap is None:
        return limits.replace(memory_swap=UNLIMITED)
    return limits


def _in_order(steps: list[Write | Program], memsw_now: int | None) -> list[Write | Program]:
    """Raising memory and swap on version 1, the sum goes first; lowering them, memory does."""
    files = [step.file for step in steps if isinstance(step, Write)]
    sum_file = "memory.memsw.limit_in_bytes"
    if memsw_now is None or sum_file not in files or "memory.limit_in_bytes" not in files:
        return steps
    index = files.index(sum_file)
    memory, both = steps[index - 1], steps[index]
    assert isinstance(both, Write)
    if both.value == "-1" or int(both.value) > memsw_now:
        steps[index - 1], steps[index] = both, memory
    return steps


def _huge_pages(limits: Limits, v1: tuple[str, ...]) -> list[Write]:
    """Here the size of the page is in the file's name."""
    version, ending = ("v1", "limit_in_bytes") if "hugetlb" in v1 else ("v2", "max")
    return [
        Write(version, "hugetlb", f"hugetlb.{size}.{ending}", str(limit), "hugetlb")
        for size, limit in limits.hugetlb
    ]


def left_out(limits: Limits, v1: Iterable[str] = ()) -> tuple[str, ...]:
    """What version 2 has no counterpart for: the limit and why, a line each."""
    old = tuple(v1)
    return tuple(
        f"{row.limit}: {row.why}"
        for row in TABLE
        if row.v2 is None
        and getattr(limits, row.limit) not in (None, (), False)
        and not (row.v1 is not None and row.v1.controller in old)
    )


# --- devices on version 1 ------------------------------------------------------------------------


def device_writes(rules: Iterable[DeviceRule]) -> list[Write | Program]:
    """A list of rules, of which the last that fits decides, as version 1's default and exceptions.

    The default is first: writing `a` forgets every exception (cgroup-v1/devices.rst).

    Raises:
        UnsupportedError: a rule takes a part out of an earlier, wider one. The kernel would ignore
            that without a word.
    """
    allowed, exceptions = _default_and_exceptions(rules)
    first, then = "devices.deny", "devices.allow"
    if allowed:
        first, then = then, first
    steps: list[Write | Program] = [Write("v1", "devices", first, "a", "devices")]
    for (kind, major, minor), access in exceptions.items():
        text = str(DeviceRule(not allowed, kind, major, minor, access))
        steps.append(Write("v1", "devices", then, text, "devices"))
    return steps


def _default_and_exceptions(
    rules: Iterable[DeviceRule],
) -> tuple[bool, dict[tuple[str, int, int], str]]:
    allowed = False
    exceptions: dict[tuple[str, int, int], str] = {}
    for rule in rules:
        key = (rule.kind, rule.major, rule.minor)
        if rule.kind == "a":
            allowed = rule.allow
            exceptions.clear()
        elif rule.allow != allowed:
            had = exceptions.get(key, "")
            exceptions[key] = "".join(word for word in "rwm" if word in had + rule.access)
        else:
            _take_out(exceptions, rule)
    return allowed, exceptions


def _take_out(exceptions: dict[tuple[str, int, int], str], rule: DeviceRule) -> None:
    for (kind, major, minor), access in list(exceptions.items()):
        overlaps = (
            kind == rule.kind
            and (-1 in (major, rule.major) or major == rule.major)
            and (-1 in (minor, rule.minor) or minor == rule.minor)
            and set(access) & set(rule.access)
        )
        if not overlaps:
            continue
        if (rule.major not in (-1, major)) or (rule.minor not in (-1, minor)):
            raise UnsupportedError(
                f"device rule {rule}",
                "cgroup v1 can't take a part out of the wider rule "
                f"{DeviceRule(True, kind, major, minor, access)}",
                "name the allowed devices one by one",
            )
        left = "".join(word for word in access if word not in rule.access)
        if left:
            exceptions[kind, major, minor] = left
        else:
            del exceptions[kind, major, minor]
