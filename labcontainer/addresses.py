"""Which address a container gets: the lowest free one, so that a story told twice is the same.

Pure arithmetic on text such as `10.231.0.2` and `10.231.0.0/24`; who holds what is told by the
caller.
"""

from __future__ import annotations

import ipaddress
from _socket import AF_INET, AF_INET6, inet_ntop  # `socket` would be another import of 8 ms

from labcontainer.errors import ExistsError, LabError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Bridges get a /24 of this, RFC 1918. Docker takes from 172.17.0.0/16 on, podman 10.88.0.0/16.
POOL = "10.231.0.0/16"
POOL_PREFIX = 24


def network(subnet: str) -> Network:
    """A subnet's text as a number with a length; `UsageError` if it is none."""
    try:
        return ipaddress.ip_network(subnet)
    except ValueError as error:
        raise UsageError(f"subnet {subnet!r}: {error}") from None


def free_subnet(taken: Iterable[str], pool: str = POOL, prefix: int = POOL_PREFIX) -> str:
    """The lowest subnet of the pool that overlaps nothing in `taken` (subnets or addresses)."""
    held = [ipaddress.ip_network(each, strict=False) for each in taken if each != "default"]
    for candidate in network(pool).subnets(new_prefix=prefix):
        if not any(each.version == 4 and each.overlaps(candidate) for each in held):
            return str(candidate)
    raise LabError(f"no free /{prefix} is left in {pool}: remove a network, or name its subnet")


def gateway(subnet: str) -> str:
    """The bridge's own address: the first of the subnet."""
    return str(network(subnet)[1])


def allocate(subnet: str, taken: Collection[str], wanted: str = "", within: str = "") -> str:
    """`wanted` if it is free and in the subnet, else the lowest free address of (a part of) it.

    Raises:
        UsageError: `wanted` is no address of this subnet.
        ExistsError: `wanted` is held. LabError: all are.
    """
    net = network(subnet)
    first, last = (1, net.num_addresses - 2) if net.version == 4 else (1, net.num_addresses - 1)
    if wanted:
        return _check(net, taken, wanted)
    if within:
        part, start = network(within), int(net.network_address)
        first, last = max(first, int(part[0]) - start), min(last, int(part[-1]) - start)
    family, start = (AF_INET if net.version == 4 else AF_INET6), int(net.network_address)
    for number in range(start + first, start + last + 1):
        address = inet_ntop(family, number.to_bytes(net.max_prefixlen // 8, "big"))
        if address not in taken:
            return address
    raise LabError(f"no free address is left in {within or subnet} ({len(taken)} in use)")


def _check(net: Network, taken: Collection[str], wanted: str) -> str:
    try:
        address = ipaddress.ip_address(wanted)
    except ValueError:
        raise UsageError(f"invalid IP address: {wanted!r}") from None
    ends = (net.network_address, net.broadcast_address if net.version == 4 else None)
    if address not in net or address in ends:
        raise UsageError(f"{wanted} is no address for a container of the subnet {net}")
    if str(address) in taken:
        raise ExistsError(f"Address already in use: {wanted}")
    return str(address)


def twin(address: str, subnet: str, subnet6: str) -> str:
    """The IPv6 address with the same place in its subnet as an IPv4 address has in its own."""
    place = int(ipaddress.ip_address(address)) - int(network(subnet).network_address)
    return str(network(subnet6)[place])


def mac(address: str) -> str:
    """The hardware address that Docker gives to an IPv4 address: 02:42 and its four bytes.

    Derived, so that a container that comes back with its address finds the neighbours' ARP caches
    right. The 2 in the first byte says "locally administered", IEEE 802.
    """
    return "02:42:" + ipaddress.IPv4Address(address).packed.hex(":")


def with_prefix(address: str, subnet: str) -> str:
    """`10.231.0.2/24`, as a link takes it."""
    return f"{address}/{network(subnet).prefixlen}"
