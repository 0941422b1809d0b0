"""How long to wait: limits are written for a quiet machine of the usual speed, and grow elsewhere.

A check that a busy machine keeps from coming to its end must not say of a right answer that it
never came.
"""

from __future__ import annotations

import functools
import os

SLOWER = 8  # times as long as anywhere else a lesson's step may take in a machine that is played
LOAD = "/proc/loadavg"
BUSIEST = 6.0  # times: who waits for what never comes waits so much longer, too


def scaled(seconds: float, slow: bool = False) -> float:
    """What a limit is here and now; `slow`: for a machine in this one."""
    return seconds * (SLOWER if slow or is_slow() else 1) * busy()


def busy() -> float:
    """How many times as long a limit is: once for each two that want a processor, in the last
    minute or at this moment (proc_loadavg(5)). Limits leave room for one beside a step."""
    with open(LOAD) as file:
        minute, _, _, runnable, _ = file.read().split()
    wanting = max(float(minute), int(runnable.partition("/")[0]) - 1)  # without us
    return min(max(wanting / len(os.sched_getaffinity(0)) / 2, 1.0), BUSIEST)


@functools.cache
def is_slow() -> bool:
    """Whether this is a user-mode kernel already, or QEMU's own processor."""
    with open("/proc/cpuinfo") as file:
        text = file.read()
    return "User Mode Linux" in text or "QEMU TCG" in text
