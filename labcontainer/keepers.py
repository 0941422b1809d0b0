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


def _lives(keeper: str) -> bool:
    return _identity(int(keeper.partition(" ")[0])) == keeper


def keep(ledger: Ledger, bridge: str) -> None:
    """Let a bridge stay as long as this process lives. The ledger is open, and not yet saved."""
    found = ledger.section("keepers").get(bridge, {})
    own = _identity(os.getpid())
    if own not in found:
        alive = {one: True for one in found if _lives(one)}
        ledger.section("keepers")[bridge] = {**alive, own: True}


def is_kept(ledger: Ledger, bridge: str) -> bool:
    """Whether somebody who lives keeps a bridge."""
    return any(_lives(one) for one in ledger.section("keepers").get(bridge, {}))


def let_go(ledger: Ledger) -> None:
    """Keep nothing any more; the dead are forgotten too."""
    own, section = _identity(os.getpid()), ledger.section("keepers")
    for bridge, found in list(section.items()):
        section[bridge] = {one: True for one in found if one != own and _lives(one)}
        if not section[bridge]:
            del section[bridge]


def forget(ledger: Ledger, bridge: str) -> None:
    """A bridge is gone."""
    ledger.section("keepers").pop(bridge, None)
