"""When the kernel says no to a limit or a process: a line with file, value and advice."""

from __future__ import annotations

import errno

from labcontainer.errors import UnsupportedError
from labcontainer.hierarchy import DELEGATE
from labcontainer.limits import Write

# What to do about an error number of a file; the file names are those of both versions.
_ADVICE = {
    (errno.EBUSY, "memory.limit_in_bytes"): "the group uses more: free memory, or a higher limit",
    (errno.EBUSY, "memory.memsw.limit_in_bytes"): "the group uses more: free memory first",
    (errno.EINVAL, "memory.limit_in_bytes"):
        "a memory limit can't be above the one of memory and swap: raise both",
    (errno.EINVAL, "memory.memsw.limit_in_bytes"):
        "the limit of memory and swap can't be below the memory limit",
    (errno.EINVAL, "cpu.cfs_quota_us"): "at least 1000 (1 ms), no more than the group above",
    (errno.EINVAL, "cpu.cfs_period_us"): "from 1000 to 1000000 (1 ms to 1 s)",
    (errno.EINVAL, "cpu.max"): "at least 1000 (1 ms), and a period from 1000 to 1000000",
    (errno.EINVAL, "cpuset.cpus"): "a list such as 0-2,4 of processors that the group above has",
    (errno.EACCES, "cpuset.cpus"): "a list such as 0-2,4 of processors that the group above has",
    (errno.ERANGE, "cpuset.cpus"): "a list such as 0-2,4 of processors that this machine has",
    (errno.ERANGE, "cpuset.mems"): "a list such as 0-1 of memory nodes that this machine has",
    (errno.EINVAL, "cpuset.mems"): "a list such as 0-1 of memory nodes that the group above has",
    (errno.EACCES, "cpuset.mems"): "a list such as 0-1 of memory nodes that the group above has",
    (errno.EPERM, "devices.allow"): "the group above does not allow it",
    (errno.ENODEV, ""): "there is no such block device; lsblk shows the numbers",
    (errno.EACCES, ""): DELEGATE,
    (errno.EPERM, ""): DELEGATE,
    (errno.EROFS, ""): "/sys/fs/cgroup is mounted read-only here",
    (errno.EINVAL, ""): "the kernel takes no such value there",
    (errno.ERANGE, ""): "the value is out of bounds",
}  # fmt: skip


def of_write(error: OSError, write: Write) -> UnsupportedError:
    """What to say when a limit could not be written."""
    number = error.errno or 0
    if number == errno.ENOENT:
        swap = " without swap accounting (boot with swapaccount=1)" if "sw" in write.file else ""
        return UnsupportedError(
            f"{write.limit} = {write.value}",
            f"this kernel has no {write.file}{swap}",
            f"leave it out, or turn on the {write.controller} controller",
        )
    advice = _ADVICE.get((number, write.file)) or _ADVICE.get((number, ""), "")
    what, _, why = str(error).rpartition(": ")
    return UnsupportedError(what, why, advice)


def of_process(error: OSError, names: str, directory: str, pid: int) -> Exception:
    words = names.split(",")
    if error.errno == errno.ESRCH:
        return ProcessLookupError(errno.ESRCH, f"process {pid} has ended: {error}")
    advice = ""
    if error.errno == errno.EINVAL and "cpu" in words:
        advice = (
            "a real-time process can't enter a group without a budget: set cpu.realtimeRuntime, "
            f"or make it an ordinary one (chrt --other --pid 0 {pid})"
        )
    elif error.errno == errno.ENOSPC:
        advice = f"write cpuset.cpus and cpuset.mems in {directory} first"
    elif error.errno in (errno.EACCES, errno.EPERM):
        advice = DELEGATE
    what, _, why = str(error).rpartition(": ")
    return UnsupportedError(what, why, advice)
