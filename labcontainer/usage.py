"""What a group uses and has used, from the files of either version, in the shape of runc's stats.

The result is the `data` of `runc events --stats`; memory in bytes, processor time in nanoseconds.
A file that this kernel lacks leaves its numbers out, or 0 where the shape has them always.

Sources: runc types/events.go; the kernel's admin-guide/cgroup-v2.rst and cgroup-v1/*.rst.
"""

from __future__ import annotations

import os
import select
import time

from labcontainer.kernel import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

TICK = 10_000_000  # nanoseconds of one USER_HZ tick, the unit of cpuacct.stat
UNLIMITED = 2**64 - 1  # how runc says "no limit"


def pairs(text: str) -> dict[str, int]:
    """Lines of `name number`, as memory.stat has them; other lines are passed over."""
    found = {}
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if value.isdigit():
            found[name] = int(value)
    return found


def read(directory: Callable[[str], str], is_v1: Callable[[str], bool]) -> dict[str, Any]:
    """All numbers of a group; `directory` says where the files of a controller are."""
    parts: dict[str, tuple[str, Callable[[str], dict[str, Any]], Callable[[str], dict[str, Any]]]]
    parts = {
        "cpu": ("cpu", _cpu_v1, _cpu_v2),
        "memory": ("memory", _memory_v1, _memory_v2),
        "pids": ("pids", _pids, _pids),
        "blkio": ("blkio", _io_v1, _io_v2),
    }
    found: dict[str, Any] = {}
    for name, (controller, first, second) in parts.items():
        found[name] = (first if is_v1(controller) else second)(directory(controller))
    if is_v1("cpuacct"):
        found["cpu"]["usage"] = _cpuacct(directory("cpuacct"))
    return found


def _text(path: str) -> str:
    try:
        return files.read(path)
    except OSError:
        return ""


def _number(path: str) -> int:
    """0 without the file, runc's word for no limit where it says max."""
    text = _text(path)
    return UNLIMITED if text == "max" else int(text) if text.lstrip("-").isdigit() else 0


def _throttling(numbers: dict[str, int], unit: int) -> dict[str, int]:
    return {
        "periods": numbers.get("nr_periods", 0),
        "throttledPeriods": numbers.get("nr_throttled", 0),
        "throttledTime": numbers.get("throttled_time", numbers.get("throttled_usec", 0)) * unit,
    }


def _cpu_v1(directory: str) -> dict[str, Any]:
    return {"throttling": _throttling(pairs(_text(f"{directory}/cpu.stat")), 1)}


def _cpuacct(directory: str) -> dict[str, Any]:
    ticks = pairs(_text(f"{directory}/cpuacct.stat"))
    return {
        "total": _number(f"{directory}/cpuacct.usage"),
        "percpu": [int(word) for word in _text(f"{directory}/cpuacct.usage_percpu").split()],
        "kernel": ticks.get("system", 0) * TICK,
        "user": ticks.get("user", 0) * TICK,
    }


def _cpu_v2(directory: str) -> dict[str, Any]:
    numbers = pairs(_text(f"{directory}/cpu.stat"))
    return {
        "usage": {
            "total": numbers.get("usage_usec", 0) * 1000,
            "kernel": numbers.get("system_usec", 0) * 1000,
            "user": numbers.get("user_usec", 0) * 1000,
        },
        "throttling": _throttling(numbers, 1000),
    }


def _memory_v1(directory: str) -> dict[str, Any]:
    raw = pairs(_text(f"{directory}/memory.stat"))
    found: dict[str, Any] = {
        name: {
            "limit": _number(f"{directory}/memory{infix}.limit_in_bytes"),
            "usage": _number(f"{directory}/memory{infix}.usage_in_bytes"),
            "max": _number(f"{directory}/memory{infix}.max_usage_in_bytes"),
            "failcnt": _number(f"{directory}/memory{infix}.failcnt"),
        }
        for name, infix in (("usage", ""), ("swap", ".memsw"), ("kernel", ".kmem"))
    }
    return {"cache": raw.get("cache", 0), **found, "raw": raw}


def _memory_v2(directory: str) -> dict[str, Any]:
    raw = pairs(_text(f"{directory}/memory.stat"))
    events = pairs(_text(f"{directory}/memory.events"))
    usage = {
        "limit": _number(f"{directory}/memory.max"),
        "usage": _number(f"{directory}/memory.current"),
        "max": _number(f"{directory}/memory.peak"),
        "failcnt": events.get("max", 0),
    }
    # Version 2 counts swap alone; the shape, and Docker's, has memory and swap together.
    swap = {
        "limit": min(_number(f"{directory}/memory.swap.max") + usage["limit"], UNLIMITED),
        "usage": _number(f"{directory}/memory.swap.current") + usage["usage"],
        "failcnt": 0,
    }
    return {"cache": raw.get("file", 0), "usage": usage, "swap": swap, "raw": raw}


def _pids(directory: str) -> dict[str, Any]:
    limit = _number(f"{directory}/pids.max")
    return {
        "current": _number(f"{directory}/pids.current"),
        "limit": 0 if limit == UNLIMITED else limit,
    }


def _io_v1(directory: str) -> dict[str, Any]:
    return {
        name: _entries(_text(f"{directory}/blkio.throttle.{file}"))
        for name, file in (
            ("ioServiceBytesRecursive", "io_service_bytes_recursive"),
            ("ioServicedRecursive", "io_serviced_recursive"),
        )
    }


def _entries(text: str) -> list[dict[str, Any]]:
    """Lines of `254:0 Read 4096`."""
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) == 3:
            major, minor = map(int, words[0].split(":"))
            found.append({"major": major, "minor": minor, "op": words[1], "value": int(words[2])})
    return found


def _io_v2(directory: str) -> dict[str, Any]:
    """Lines of `254:0 rbytes=4096 wbytes=0 rios=1 wios=0 …`, as version 1's two lists."""
    found: dict[str, list[dict[str, Any]]] = {
        "ioServiceBytesRecursive": [],
        "ioServicedRecursive": [],
    }
    for line in _text(f"{directory}/io.stat").splitlines():
        device, *words = line.split()
        major, minor = map(int, device.split(":"))
        numbers = dict(word.split("=", 1) for word in words)
        for name, unit in (("ioServiceBytesRecursive", "bytes"), ("ioServicedRecursive", "ios")):
            for letter, op in (("r", "Read"), ("w", "Write")):
                value = int(numbers.get(letter + unit, 0))
                found[name].append({"major": major, "minor": minor, "op": op, "value": value})
    return found


def machine_has_swap() -> bool:
    """Whether there is any swap that a group could use (proc(5), /proc/swaps)."""
    return len(_text("/proc/swaps").splitlines()) > 1  # the first line is the head


# --- the OOM killer ------------------------------------------------------------------------------


def oom_kills(file: str) -> int:
    """How many processes the OOM killer has ended, by memory.events or memory.oom_control."""
    return pairs(_text(file)).get("oom_kill", 0)


class OomWatch:
    """Wait for the OOM killer: `fileno` and `mask` are for poll(2), `wait` does it.

    Version 1 has an eventfd that is told (`control` is its cgroup.event_control); version 2's
    memory.events is itself ready, with POLLPRI.
    """

    def __init__(self, file: str, control: str = "") -> None:
        self._path = file
        self._seen = oom_kills(file)
        self._file = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        self._event = -1
        if control:
            self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            files.write(control, f"{self._event} {self._file}")
        self.mask = select.POLLIN if control else select.POLLPRI
        self._rearm()

    def fileno(self) -> int:
        """The descriptor to wait on, for `mask`."""
        return self._event if self._event >= 0 else self._file

    def wait(self, seconds: float) -> int:
        """How many processes were killed since the last call; waits for one at most so long."""
        deadline = time.monotonic() + seconds
        poll = select.poll()
        poll.register(self.fileno(), self.mask)
        pause = seconds
        while (total := oom_kills(self._path)) == self._seen:
            left = deadline - time.monotonic()
            if left <= 0:
                break
            if poll.poll(min(left, pause) * 1000):
                self._rearm()
                pause = 0.01  # version 1 tells of the shortage, and kills a moment later
        new, self._seen = total - self._seen, total
        return new

    def _rearm(self) -> None:
        if self._event < 0:
            os.pread(self._file, 4096, 0)
            return
        try:
            os.eventfd_read(self._event)
        except BlockingIOError:
            pass

    def close(self) -> None:
        """Stop watching."""
        for fd in (self._file, self._event):
            if fd >= 0:
                os.close(fd)
        self._file = self._event = -1

    def __enter__(self) -> OomWatch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
