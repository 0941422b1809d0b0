"""Bridges that stay without containers, for as long as a process lives that wants it so.

A daemon would else make the bridge and its packet rules anew for each container, and take them away
after it: that costs more than the container does. A keeper is in the ledger with the time that it
started at, so that one that was killed keeps nothing: whoever looks next takes the bridge away.
"""

from __future__ import annotations

import os

from labcontainer.kernel import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from labcontainer.ledger import Ledger


def _identity(pid: int) -> str:
    """A process by its number and its start in clock ticks since boot, proc(5); "" if it ended."""
    try:
        fields = files.read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in ("Z", "X") else f"{pid} {fields[19]}"


def keep(ledger: Ledger, bridge: str) -> None:
    """Let a bridge stay as long as this process lives. The ledger is open, and not yet saved."""
    ledger.section("keepers").setdefault(bridge, {})[_identity(os.getpid())] = True


def is_kept(ledger: Ledger, bridge: str) -> bool:
    """Whether somebody who lives keeps a bridge."""
    found = ledger.section("keepers").get(bridge, {})
    return any(_identity(int(one.partition(" ")[0])) == one for one in found)


def let_go(ledger: Ledger) -> None:
    """Keep nothing any more."""
    for found in ledger.section("keepers").values():
        found.pop(_identity(os.getpid()), None)


def forget(ledger: Ledger, bridge: str) -> None:
    """A bridge is gone."""
    ledger.section("keepers").pop(bridge, None)
