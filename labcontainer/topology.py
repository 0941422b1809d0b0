"""Network namespaces as they are now, and the cables between them: what a drawing is made from."""

from __future__ import annotations

from labcontainer.kernel import netlink
from labcontainer.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from labcontainer.kernel.netlink import Address, Link, Route


class Place(Record):
    """A network namespace as it is now."""

    name: str
    links: tuple[Link, ...]
    addresses: tuple[Address, ...]
    routes: tuple[Route, ...]


class Topology(Record):
    """Namespaces and the cables between their links, for a drawing."""

    places: tuple[Place, ...]
    cables: tuple[tuple[tuple[str, str], tuple[str, str]], ...]  # (place, link) at both ends


def topology(namespaces: Mapping[str, int]) -> Topology:
    """What the kernel tells of some network namespaces: names with descriptors."""
    places, numbers = [], {}
    for name, fd in namespaces.items():
        with netlink.connect_in(fd) as socket:
            links = socket.links()  # gives a number to each namespace that a cable leads to
            place = Place(name, tuple(links), tuple(socket.addresses()), tuple(socket.routes()))
            places.append(place)
            numbers[name] = {socket.namespace_number(fd): n for n, fd in namespaces.items()}
    cables = set()
    for place in places:
        for link in place.links:
            other = _other_end(link, numbers[place.name], place, places)
            if link.kind == "veth" and other is not None:
                ends = sorted([(place.name, link.name), other])
                cables.add((ends[0], ends[1]))
    return Topology(tuple(places), tuple(sorted(cables)))


def _other_end(
    link: Link, numbers: dict[int, str], place: Place, places: list[Place]
) -> tuple[str, str] | None:
    name = place.name if link.peer_netns < 0 else numbers.get(link.peer_netns)
    for other in places:
        if other.name == name:
            for end in other.links:
                if end.index == link.peer and end.kind == "veth":
                    return name, end.name
    return None
