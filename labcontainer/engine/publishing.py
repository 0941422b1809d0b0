"""Published ports of the engine's containers: the host's side of each, and how its packets go in.

As root packet rules turn them to the container (nat.py): the socket only holds the port. What they
can't turn is carried by a process (forwarding.py): what comes to an IPv6 address, for they change a
packet's destination, not its family; and everything where the host's rules are not ours.
"""

from __future__ import annotations

from labcontainer import errors, ports

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from labcontainer.engine.forwarding import Forwarding
    from labcontainer.ports import Held, Port


class Publishing:
    """The ports of one engine. With `carries_all` no packet rule can do it."""

    def __init__(self, forwarding: Forwarding, *, carries_all: bool) -> None:
        self._forwarding, self._carries_all = forwarding, carries_all

    def _is_carried(self, port: Port) -> bool:
        return self._carries_all or ":" in port.host_ip

    def hold(self, wanted: Iterable[Port], *, six: bool) -> list[Held]:
        """Take the host's side of each port, or of none: a clash is seen at once.

        `six`: a port without an address is one of every address of both kinds.

        Raises:
            ExistsError: one is taken. LabError: an address is not ours, or the port is root's.
        """
        held: list[Held] = []
        try:
            for port in wanted:
                first = self._hold(port, as_four=six)
                held.append(first)
                if six and not port.host_ip:
                    held.append(self._hold(first.port.replace(host_ip="::")))
        except errors.LabError:
            self.release(held)
            raise
        return held

    def _hold(self, port: Port, *, as_four: bool = False) -> Held:
        held = ports.hold(port, listen=self._is_carried(port))
        if as_four and not port.host_ip:
            held = held.replace(port=held.port.replace(host_ip="0.0.0.0"))
        return held

    def hold_again(self, published: Iterable[Port]) -> list[Held]:
        """Take those of a container that ran on without us."""
        held = []
        for port in published:
            try:
                held.append(self._hold(port))
            except errors.LabError:
                continue  # somebody was quicker; packet rules go on to turn what comes there
        return held

    def lead(self, held: Iterable[Held], ip: str) -> None:
        """Let what comes to these ports go to a container's address, and to no other."""
        for one in held:
            if self._is_carried(one.port):
                self._forwarding.publish(one, ip)

    def release(self, held: list[Held]) -> None:
        """Give the host's ports back."""
        for one in held:
            self._forwarding.withdraw(one)
            one.release()
        held.clear()
