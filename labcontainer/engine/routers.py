"""A network for an ordinary user's containers: a program for each, that is its router (usernet.py).

The program ends with this process, or is ended by the next one: its number is in the container's
directory, in the file `router`, before it is needed.
"""

from __future__ import annotations

import os
import signal
import time

from labcontainer import errors, usernet
from labcontainer.engine import leftovers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from labcontainer.ports import Port

PATIENCE = 2  # seconds that a killed program may take to be gone
CONFIG = [{"Subnet": "10.0.2.0/24", "Gateway": usernet.SLIRP_GATEWAY}]


def start(
    home: str, pid: int, wanted: Sequence[Port]
) -> tuple[usernet.UserNetwork, usernet.Running] | None:
    """Give the network namespace of `pid` a router; None where there is no such program.

    Raises:
        UnsupportedError: there is none, and ports are to be published. ExistsError: one is taken.
        LabError: it gave no network; shows its own words.
    """
    try:
        tool = usernet.choose()
    except errors.UnsupportedError:
        if wanted:
            raise
        return None
    plan = usernet.plan(pid, usernet.settled(wanted), tool)
    return plan, usernet.start(plan, "", lambda number: _note(home, number))


def _note(home: str, number: int) -> None:
    with open(f"{home}/router.new", "w") as file:
        file.write(leftovers.identity(number))
    os.rename(f"{home}/router.new", f"{home}/router")


def end(home: str) -> None:
    """End the router that a process before this one started; may be called again."""
    try:
        with open(f"{home}/router") as file:
            pid, _, ticks = file.read().partition(" ")
    except FileNotFoundError:
        return
    if ticks and leftovers.start_time(int(pid)) == ticks:
        os.kill(int(pid), signal.SIGKILL)
        _await_end(int(pid), ticks)
    os.unlink(f"{home}/router")


def _await_end(pid: int, ticks: str) -> None:
    """Its ports and its device are free only then. Whoever started it may have died: no waitpid."""
    last = time.monotonic() + PATIENCE
    while leftovers.start_time(pid) == ticks and time.monotonic() < last:
        time.sleep(0.005)
