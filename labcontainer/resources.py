"""`linux.resources` of a config.json, or of an update, as limits; every value is looked at.

Source: runtime-spec config-linux.md, "Control groups" and what follows it.
"""

from __future__ import annotations

from labcontainer.errors import SpecError
from labcontainer.limits import DEFAULT_DEVICE_RULES, UNLIMITED, DeviceRule, Limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

# Field of Limits: where it stands in `linux.resources`, and whether 0 says "leave alone", which is
# what Docker sends for everything that it was not asked for.
_FIELDS = (
    ("memory", "memory.limit", True),
    ("memory_swap", "memory.swap", True),
    ("memory_reservation", "memory.reservation", True),
    ("swappiness", "memory.swappiness", False),
    ("cpu_shares", "cpu.shares", True),
    ("cpu_quota", "cpu.quota", True),
    ("cpu_period", "cpu.period", True),
    ("cpu_burst", "cpu.burst", False),
    ("cpu_idle", "cpu.idle", False),
    ("realtime_runtime", "cpu.realtimeRuntime", True),
    ("realtime_period", "cpu.realtimePeriod", True),
    ("pids", "pids.limit", True),
    ("io_weight", "blockIO.weight", True),
    ("network_class", "network.classID", True),
)
_PER_DEVICE = (
    ("read_bps", "throttleReadBpsDevice"),
    ("write_bps", "throttleWriteBpsDevice"),
    ("read_iops", "throttleReadIOPSDevice"),
    ("write_iops", "throttleWriteIOPSDevice"),
)


def from_oci(resources: dict[str, Any], *, update: bool = False) -> Limits:
    """The `linux.resources` of a config.json, or of an `update`, as limits.

    An update leaves the device list as it is, as runc does; a new container always gets one.

    Raises:
        SpecError: a value is not of its kind, or out of bounds.
    """
    found: dict[str, Any] = {}
    for field, place, zero_is_none in _FIELDS:
        value = _number(resources, place)
        found[field] = None if value == 0 and zero_is_none else value
    for field, place in (("cpuset_cpus", "cpu.cpus"), ("cpuset_mems", "cpu.mems")):
        found[field] = _typed(_dig(resources, place), str, place, "a string") or None
    for field, name in (
        ("oom_kill_disable", "disableOOMKiller"),
        ("check_before_update", "checkBeforeUpdate"),
    ):
        found[field] = bool(_typed(_dig(resources, f"memory.{name}"), bool, name, "true or false"))
    found["oom_kill_disable"] = found["oom_kill_disable"] or None
    found["io_weight_device"] = _entries(
        resources, "blockIO.weightDevice", "major", "minor", "weight"
    )
    for field, name in _PER_DEVICE:
        found[field] = _entries(resources, f"blockIO.{name}", "major", "minor", "rate")
    found["hugetlb"] = _entries(resources, "hugepageLimits", "pageSize", "limit")
    found["network_priorities"] = _entries(resources, "network.priorities", "name", "priority")
    found["rdma"] = tuple(
        (device, _number(entry, "hcaHandles") or "max", _number(entry, "hcaObjects") or "max")
        for device, entry in _dictionary(resources, "rdma").items()
        if isinstance(entry, dict)
    )
    found["unified"] = tuple(_unified(resources))
    found["devices"] = None if update else (*_rules(resources), *DEFAULT_DEVICE_RULES)
    return Limits(**found)


def _dig(resources: dict[str, Any], place: str) -> Any:
    value: Any = resources
    for name in place.split("."):
        if value is None:
            return None
        if not isinstance(value, dict):
            raise SpecError(f"linux.resources.{place}", f"is below {value!r:.40}, not an object")
        value = value.get(name)
    return value


def _typed(value: Any, kind: type, place: str, words: str) -> Any:
    """The value if it is of that type, or None; Python's bools are ints, JSON's are not."""
    is_boolean = value is True or value is False
    if value is None or (isinstance(value, kind) and is_boolean == (kind is bool)):
        return value
    raise SpecError(f"linux.resources.{place}", f"must be {words}, not {value!r:.40}")


def _number(resources: dict[str, Any], place: str) -> int | None:
    value = _typed(_dig(resources, place), int, place, "a number")
    if isinstance(value, int) and not -1 <= value < 2**63:
        if value < 2**64 - 1:  # an unsigned -1 is no limit too
            raise SpecError(f"linux.resources.{place}", f"{value} is out of bounds")
        return UNLIMITED
    return value if isinstance(value, int) else None


def _dictionary(resources: dict[str, Any], place: str) -> dict[str, Any]:
    value = _typed(_dig(resources, place), dict, place, "an object")
    return value if isinstance(value, dict) else {}


def _list(resources: dict[str, Any], place: str) -> list[dict[str, Any]]:
    value = _typed(_dig(resources, place), list, place, "a list")
    entries: list[dict[str, Any]] = value if isinstance(value, list) else []
    for index, entry in enumerate(entries):
        _typed(entry, dict, f"{place}[{index}]", "an object")
    return [entry for entry in entries if entry is not None]


def _entries(resources: dict[str, Any], place: str, *names: str) -> tuple[Any, ...]:
    """The named fields of each object of a list; an object without the last one says nothing."""
    found = []
    for index, entry in enumerate(_list(resources, place)):
        if entry.get(names[-1]) is None:
            continue
        for name in names:
            kind, words = (str, "a string") if name in ("pageSize", "name") else (int, "a number")
            if entry.get(name) is None:
                raise SpecError(f"linux.resources.{place}[{index}].{name}", "is missing")
            _typed(entry[name], kind, f"{place}[{index}].{name}", words)
        found.append(tuple(entry[name] for name in names))
    return tuple(found)


def _unified(resources: dict[str, Any]) -> Iterable[tuple[str, str]]:
    for name, value in _dictionary(resources, "unified").items():
        if "/" in name or "." not in name:
            raise SpecError(f"linux.resources.unified.{name}", "is not a file of a controller")
        yield name, str(_typed(value, str, f"unified.{name}", "a string"))


def _rules(resources: dict[str, Any]) -> Iterable[DeviceRule]:
    for index, entry in enumerate(_list(resources, "devices")):
        place = f"devices[{index}]"
        allow = _typed(entry.get("allow"), bool, f"{place}.allow", "true or false")
        kind = entry.get("type") or "a"
        access = _typed(entry.get("access"), str, f"{place}.access", "a string") or "rwm"
        if kind not in ("a", "b", "c", "u") or not set(str(access)) <= set("rwm"):
            raise SpecError(f"linux.resources.{place}", f"{kind} {access} is no device rule")
        numbers = [_number(entry, name) for name in ("major", "minor")]
        major, minor = (-1 if number is None else number for number in numbers)
        kind = "c" if kind == "u" else str(kind)
        yield DeviceRule(bool(allow), kind, major, minor, str(access))
