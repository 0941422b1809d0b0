"""When a container's process gets the CPU and the disk: its scheduling policy, its I/O priority.

A child inherits both, but for a policy with SCHED_FLAG_RESET_ON_FORK. Sources: sched(7),
sched_setattr(2), ioprio_set(2), runtime-spec config.md "Linux Process".
"""

from __future__ import annotations

import struct

from labcontainer.errors import SpecError
from labcontainer.kernel import syscalls
from labcontainer.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from labcontainer.runtime.reader import Reader

POLICIES = {  # linux/sched.h
    "SCHED_OTHER": 0,
    "SCHED_FIFO": 1,
    "SCHED_RR": 2,
    "SCHED_BATCH": 3,
    "SCHED_ISO": 4,
    "SCHED_IDLE": 5,
    "SCHED_DEADLINE": 6,
}
FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 1,
    "SCHED_FLAG_RECLAIM": 2,
    "SCHED_FLAG_DL_OVERRUN": 4,
    "SCHED_FLAG_KEEP_POLICY": 8,
    "SCHED_FLAG_KEEP_PARAMS": 0x10,
    "SCHED_FLAG_UTIL_CLAMP_MIN": 0x20,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 0x40,
}
CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}  # linux/ioprio.h
_CLASS_SHIFT = 13
_ATTR_SIZE = 48  # struct sched_attr, in its first version


class Scheduler(Record):
    """`process.scheduler`: struct sched_attr's fields, times in nanoseconds."""

    policy: int
    nice: int = 0
    priority: int = 0
    flags: int = 0
    runtime: int = 0
    deadline: int = 0
    period: int = 0


def read_scheduler(entry: Reader) -> Scheduler:
    """The scheduler of a process document.

    Raises:
        SpecError: a word that no kernel knows, or a number out of bounds.
    """
    flags = 0
    for index, word in enumerate(entry.strings("flags")):
        flags |= _known(FLAGS, word, f"{entry.at('flags')}[{index}]")
    return Scheduler(
        policy=_known(POLICIES, entry.string("policy"), entry.at("policy")),
        nice=entry.integer("nice", low=-20, high=19),
        priority=entry.integer("priority", high=99),
        flags=flags,
        **{name: entry.integer(name, high=2**63) for name in ("runtime", "deadline", "period")},
    )


def read_io_priority(entry: Reader) -> int:
    """The I/O priority of a process document, as ioprio_set(2) takes it.

    Raises:
        SpecError: a class that no kernel knows, or a number that is not from 0 to 7.
    """
    kind = _known(CLASSES, entry.string("class"), entry.at("class"))
    return kind << _CLASS_SHIFT | entry.integer("priority", high=7)


def _known(words: dict[str, int], word: str, where: str) -> int:
    if word not in words:
        raise SpecError(where, f"{word!r} is not one of {', '.join(words)}")
    return words[word]


def apply(scheduler: Scheduler | None, io_priority: int | None) -> None:
    """Set both for this process, while it has the rights to: CAP_SYS_NICE, CAP_SYS_ADMIN.

    Raises:
        OSError: the kernel refused.
    """
    if scheduler is not None:
        one = scheduler
        times = (one.runtime, one.deadline, one.period)
        head = (_ATTR_SIZE, one.policy, one.flags, one.nice, one.priority)
        syscalls.sched_setattr(struct.pack("IIQiI3Q", *head, *times))
    if io_priority is not None:
        syscalls.ioprio_set(io_priority)
