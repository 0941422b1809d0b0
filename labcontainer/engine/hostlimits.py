"""The limits that a HostConfig asks for, as fields of a Request, checked as Docker checks them."""

from __future__ import annotations

import os

from labcontainer import errors
from labcontainer.kernel import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Document = dict[str, Any]

LEAST_MEMORY = 6 << 20  # bytes; less does not hold what runs before the program (Docker's number)
PERIOD = 100_000  # microseconds


def of(host: Document) -> dict[str, Any]:
    """The fields of a Request that are limits.

    Raises:
        UsageError: Docker's checks of them.
    """
    memory, swap, reservation = host["Memory"], host["MemorySwap"], host["MemoryReservation"]
    if memory and memory < LEAST_MEMORY:
        raise errors.UsageError("Minimum memory limit allowed is 6MB")
    if swap > 0 and not memory:
        raise errors.UsageError(
            "You should always set the Memory limit when using Memoryswap limit, see usage"
        )
    if 0 < swap < memory:
        raise errors.UsageError(
            "Minimum memoryswap limit should be larger than memory limit, see usage"
        )
    if memory and reservation > memory:
        raise errors.UsageError(
            "Minimum memory limit can not be less than memory reservation limit, see usage"
        )
    for field, kind, place in _CPUSETS:
        _check_cpuset(host[field], kind, place)
    found: dict[str, Any] = {
        "memory": memory or None,
        "memory_swap": swap or (2 * memory if memory else None),
        "memory_reservation": reservation or None,
        "cpu_shares": host["CpuShares"] or None,
        "cpuset_cpus": host["CpusetCpus"],
        "cpuset_mems": host["CpusetMems"],
        "pids": host["PidsLimit"] or None,
        "limits": _more_limits(host),
    }
    return found | _processor(host)


_CPUSETS = (
    ("CpusetCpus", ("CPUs", "cpus"), "/sys/devices/system/cpu/online"),
    ("CpusetMems", ("memory nodes", "mems"), "/sys/devices/system/node/online"),
)


def _check_cpuset(word: str, kind: tuple[str, str], place: str) -> None:
    """A list such as `0-2,4` of what this machine has.

    Raises:
        UsageError: it is none, or it has not all of them.
    """
    if not word:
        return
    asked = _numbers_of(word, f"Invalid value {word} for cpuset {kind[1]}: invalid format: ")
    if not files.exists(place):
        return
    have = files.read(place)
    if asked - _numbers_of(have, ""):
        raise errors.UsageError(
            f"Requested {kind[0]} are not available - requested {word}, available: {have}"
        )


def _numbers_of(word: str, off: str) -> set[int]:
    found: set[int] = set()
    for part in word.split(","):
        first, dash, last = part.partition("-")
        ends = (first, last if dash else first)
        if not all(one.isascii() and one.isdecimal() and len(one) < 5 for one in ends):
            raise errors.UsageError(f"{off}{part}")
        found |= set(range(int(ends[0]), int(ends[1]) + 1))
    return found


def _processor(host: Document) -> dict[str, int | None]:
    nano, quota, period = host["NanoCpus"], host["CpuQuota"], host["CpuPeriod"]
    if nano and (quota or period):
        name = "CPU Quota" if quota else "CPU Period"
        raise errors.UsageError(f"Conflicting options: Nano CPUs and {name} cannot both be set.")
    if nano:
        have = os.cpu_count() or 1
        if not 10**7 <= nano <= have * 10**9:
            raise errors.UsageError(
                f"Range of CPUs is from 0.01 to {have}.00, as there are only {have} CPUs available"
            )
        return {"cpu_quota": nano * PERIOD // 10**9, "cpu_period": PERIOD}
    if period and not 1000 <= period <= 1_000_000:
        raise errors.UsageError(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"
        )
    if 0 < quota < 1000:
        raise errors.UsageError("CPU cfs quota can not be less than 1ms (i.e. 1000)")
    return {"cpu_quota": quota or None, "cpu_period": period or (PERIOD if quota > 0 else None)}


def _more_limits(host: Document) -> Document:
    """What the OCI configuration has words for, and a Request has none."""
    found: Document = {}
    if host["MemorySwappiness"] is not None and host["MemorySwappiness"] != -1:
        if not 0 <= host["MemorySwappiness"] <= 100:
            raise errors.UsageError(
                f"invalid value: {host['MemorySwappiness']}, valid memory swappiness range is 0-100"
            )
        found.setdefault("memory", {})["swappiness"] = host["MemorySwappiness"]
    if host["OomKillDisable"]:
        found.setdefault("memory", {})["disableOOMKiller"] = True
    for field, name in (("CpuRealtimePeriod", "realtimePeriod"),
                        ("CpuRealtimeRuntime", "realtimeRuntime")):  # fmt: skip
        if host[field]:
            found.setdefault("cpu", {})[name] = host[field]
    block = _block_io(host)
    return {**found, "blockIO": block} if block else found


_THROTTLES = {
    "BlkioDeviceReadBps": "throttleReadBpsDevice",
    "BlkioDeviceWriteBps": "throttleWriteBpsDevice",
    "BlkioDeviceReadIOps": "throttleReadIOPSDevice",
    "BlkioDeviceWriteIOps": "throttleWriteIOPSDevice",
}


def _block_io(host: Document) -> Document:
    found: Document = {}
    if host["BlkioWeight"]:
        if not 10 <= host["BlkioWeight"] <= 1000:
            raise errors.UsageError("Range of blkio weight is from 10 to 1000")
        found["weight"] = host["BlkioWeight"]
    for field, name in _THROTTLES.items():
        if host[field]:
            found[name] = [{**_numbers(one), "rate": int(one["Rate"])} for one in host[field]]
    if host["BlkioWeightDevice"]:
        found["weightDevice"] = [
            {**_numbers(one), "weight": int(one["Weight"])} for one in host["BlkioWeightDevice"]
        ]
    return found


def _numbers(one: Document) -> dict[str, int]:
    try:
        device = os.stat(one["Path"]).st_rdev
    except (KeyError, OSError):
        raise errors.UsageError(f"no such device: {one.get('Path', '')}") from None
    return {"major": os.major(device), "minor": os.minor(device)}
