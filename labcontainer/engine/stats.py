"""What a container uses, in the shape of Docker's stats: by its cgroup and its interfaces."""

from __future__ import annotations

import os

from labcontainer import errors
from labcontainer.engine import moments
from labcontainer.kernel import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from labcontainer.engine.container import Container
    from labcontainer.engine.engine import Engine

    Document = dict[str, Any]

PERIOD = 1.0  # seconds between two samples; Docker's
_FIELDS = ("rx_bytes", "rx_packets", "rx_errors", "rx_dropped",
           "tx_bytes", "tx_packets", "tx_errors", "tx_dropped")  # fmt: skip


class Sampler:
    """Samples of one container, each with the one before it."""

    def __init__(self, engine: Engine, container: Container) -> None:
        self._engine, self._container = engine, container
        self._before: Document = {}
        self._before_at = moments.NEVER

    def sample(self) -> Document:
        """One sample; of a container that does not run, its names and zeros."""
        container = self._container
        found: Document = {
            "name": f"/{container.name}",
            "id": container.id,
            "read": moments.now(),
            "preread": self._before_at,
            "num_procs": 0,
            "storage_stats": {},
            "pids_stats": {},
            "blkio_stats": dict.fromkeys(_BLKIO),
            "cpu_stats": {"cpu_usage": _no_cpu(), "throttling_data": _no_throttling()},
            "precpu_stats": self._before or {"cpu_usage": _no_cpu(),
                                             "throttling_data": _no_throttling()},
            "memory_stats": {},
        }  # fmt: skip
        try:
            raw = self._engine.containers.lives.group(container).stats()
        except (errors.LabError, OSError):
            return found | {"read": moments.NEVER}
        found |= _translated(raw)
        if container.host["NetworkMode"] != "host":
            found["networks"] = networks(container.state.pid)
        self._before, self._before_at = found["cpu_stats"], found["read"]
        return found


_BLKIO = ("io_service_bytes_recursive", "io_serviced_recursive", "io_queue_recursive",
          "io_service_time_recursive", "io_wait_time_recursive", "io_merged_recursive",
          "io_time_recursive", "sectors_recursive")  # fmt: skip


def _no_cpu() -> Document:
    return {"total_usage": 0, "usage_in_kernelmode": 0, "usage_in_usermode": 0}


def _no_throttling() -> Document:
    return {"periods": 0, "throttled_periods": 0, "throttled_time": 0}


def _translated(raw: Document) -> Document:
    """runc's words for the numbers of a cgroup -> Docker's."""
    cpu, throttling = raw["cpu"]["usage"], raw["cpu"].get("throttling", {})
    usage: Document = {"total_usage": cpu.get("total", 0),
                       "usage_in_kernelmode": cpu.get("kernel", 0),
                       "usage_in_usermode": cpu.get("user", 0)}  # fmt: skip
    if cpu.get("percpu"):
        usage["percpu_usage"] = cpu["percpu"]
    memory = raw["memory"]
    block = {name: None for name in _BLKIO}
    names = {"ioServiceBytesRecursive": "io_service_bytes_recursive",
             "ioServicedRecursive": "io_serviced_recursive"}  # fmt: skip
    block |= {name: raw["blkio"].get(key) for key, name in names.items()}
    found: Document = {"usage": memory["usage"].get("usage", 0), "stats": memory.get("raw", {}),
                       "limit": _limit(memory["usage"].get("limit", 0))}  # fmt: skip
    if "max" in memory["usage"]:
        found["max_usage"] = memory["usage"]["max"]
    if memory["usage"].get("failcnt"):
        found["failcnt"] = memory["usage"]["failcnt"]
    pids = raw["pids"]
    return {
        "pids_stats": {"current": pids.get("current", 0),
                       **({"limit": pids["limit"]} if pids.get("limit") else {})},
        "cpu_stats": {
            "cpu_usage": usage,
            "system_cpu_usage": machine_nanoseconds(),
            "online_cpus": len(os.sched_getaffinity(0)),
            "throttling_data": {
                "periods": throttling.get("periods", 0),
                "throttled_periods": throttling.get("throttledPeriods", 0),
                "throttled_time": throttling.get("throttledTime", 0),
            },
        },
        "memory_stats": found,
        "blkio_stats": block,
    }  # fmt: skip


def _limit(bytes_: int) -> int:
    """Without a limit of its own it may use the machine's memory."""
    machine = memory_of_machine()
    return bytes_ if 0 < bytes_ < machine else machine


def memory_of_machine() -> int:
    """Bytes of main memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def machine_nanoseconds() -> int:
    """Processor time of the whole machine, idle time too: proc(5), /proc/stat."""
    ticks = files.read("/proc/stat").split("\n", 1)[0].split()[1:9]
    return sum(map(int, ticks)) * (10**9 // os.sysconf("SC_CLK_TCK"))


def networks(pid: int) -> Document:
    """Counters of each interface of a process's network, but for lo: /proc/PID/net/dev."""
    found = {}
    try:
        lines = files.read(f"/proc/{pid}/net/dev").splitlines()[2:]
    except OSError:
        return {}
    for line in lines:
        name, _, numbers = line.partition(":")
        values = list(map(int, numbers.split()))
        if name.strip() != "lo":
            found[name.strip()] = dict(zip(_FIELDS, [*values[:4], *values[8:12]], strict=True))
    return found
