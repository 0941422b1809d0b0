"""What can be asked of rtnetlink: requests that add, change and delete links, addresses, routes.

Each function builds a `netlink.Request` and asks nothing yet: it prints as the `ip` command with
the same effect, and `Netlink.do` sends it. rtnetlink(7), ip-link(8), ip-address(8), ip-route(8).
"""

from __future__ import annotations

import _socket
import os
import struct

from labcontainer.kernel.netlink import IFLA, NLM, RTM, Request, attribute, c_string, ifinfomsg, u32

TYPE_CHECKING = False
if TYPE_CHECKING:
    from labcontainer.kernel.netlink import IndexOf

_INFO_KIND, _INFO_DATA, _VETH_INFO_PEER = 1, 2, 1
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS, _IFA_F_NODAD = 1, 2, 8, 2
_RTA_DST, _RTA_OIF, _RTA_GATEWAY = 1, 4, 5
_IFF_UP, _AF_BRIDGE, _NLA_F_NESTED = 1, 7, 0x8000
_BRPORT_MODE, _BRPORT_ISOLATED = 4, 33
_BR_NF_CALL = (36, 37)  # IFLA_BR_NF_CALL_IPTABLES, …_IP6TABLES
_NEW = NLM.REQUEST | NLM.ACK | NLM.CREATE | NLM.EXCL
_CHANGE = NLM.REQUEST | NLM.ACK


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def _address(text: str) -> tuple[int, bytes, int]:
    """`10.0.0.1/24` as (address family, its bytes, prefix length)."""
    host, _, length = text.partition("/")
    family = _socket.AF_INET6 if ":" in host else _socket.AF_INET
    packed = _socket.inet_pton(family, host)
    return family, packed, int(length) if length else 8 * len(packed)


def _words(*pairs: tuple[str, object]) -> str:
    return "".join(f" {word} {value}".rstrip() for word, value in pairs if value)


def add_link(name: str, kind: str, *, address: str = "", mtu: int = 0) -> Request:
    """A new link of a kind (`dummy`, `bridge`, …), with a hardware address and an MTU if given."""
    shown = f"ip link add {name}{_words(('address', address), ('mtu', mtu))} type {kind}"
    body = ifinfomsg() + _link_attributes(name, address, mtu)
    body += attribute(IFLA.LINKINFO, attribute(_INFO_KIND, kind.encode()))
    return Request(shown, RTM.NEWLINK, _NEW, lambda _index: body)


def add_veth(
    name: str,
    peer: str,
    *,
    netns: int = -1,
    address: str = "",
    peer_address: str = "",
    mtu: int = 0,
) -> Request:
    """A pair of links, a cable; with `netns` (a descriptor) the peer is born in that namespace.

    Born there, not moved there: the peer's name can be one that this namespace has already (eth0).
    """
    ours, theirs = (_words(("address", mac), ("mtu", mtu)) for mac in (address, peer_address))
    where = f" netns /proc/{os.getpid()}/fd/{netns}" if netns >= 0 else ""
    peer_body = ifinfomsg() + _link_attributes(peer, peer_address, mtu)
    if netns >= 0:
        peer_body += attribute(IFLA.NET_NS_FD, u32(netns))
    data = attribute(_INFO_DATA, attribute(_VETH_INFO_PEER, peer_body))
    body = ifinfomsg() + _link_attributes(name, address, mtu)
    body += attribute(IFLA.LINKINFO, attribute(_INFO_KIND, b"veth") + data)
    shown = f"ip link add {name}{ours} type veth peer name {peer}{theirs}{where}"
    return Request(shown, RTM.NEWLINK, _NEW, lambda _index: body)


def _link_attributes(name: str, address: str, mtu: int) -> bytes:
    attributes = attribute(IFLA.IFNAME, c_string(name))
    if address:
        attributes += attribute(IFLA.ADDRESS, _mac(address))
    if mtu:
        attributes += attribute(IFLA.MTU, u32(mtu))
    return attributes


def delete_link(name: str) -> Request:
    """Remove a link; the other end of a veth pair goes with it."""
    body = ifinfomsg() + attribute(IFLA.IFNAME, c_string(name))
    return Request(f"ip link del {name}", RTM.DELLINK, _CHANGE, lambda _index: body)


def set_link(
    name: str,
    *,
    up: bool | None = None,
    address: str = "",
    mtu: int = 0,
    new_name: str = "",
    master: str | None = None,
    netns: int = -1,
) -> Request:
    """Change a link: up or down, address, MTU, name, bridge (`""`: none), namespace."""
    state = {None: "", True: " up", False: " down"}[up]
    bridge = "" if master is None else f" master {master}" if master else " nomaster"
    where = f"/proc/{os.getpid()}/fd/{netns}" if netns >= 0 else ""
    words = _words(("address", address), ("mtu", mtu), ("name", new_name), ("netns", where))
    attributes = _link_attributes(new_name, address, mtu) if new_name else b""
    if not new_name:
        attributes = _link_attributes(name, address, mtu)
    if netns >= 0:
        attributes += attribute(IFLA.NET_NS_FD, u32(netns))
    raised = (_IFF_UP if up else 0, 0 if up is None else _IFF_UP)

    def body(index_of: IndexOf) -> bytes:
        more = b""
        if master is not None:
            more = attribute(IFLA.MASTER, u32(index_of(master) if master else 0))
        # A rename says which link by its index, the others by the name in the attributes.
        return ifinfomsg(0, index_of(name) if new_name else 0, *raised) + attributes + more

    return Request(f"ip link set {name}{words}{bridge}{state}", RTM.SETLINK, _CHANGE, body)


def set_hairpin(name: str, on: bool = True) -> Request:
    """Let a bridge send a frame back by the port it came from."""
    return _set_port(name, "hairpin", _BRPORT_MODE, on)


def set_isolated(name: str, on: bool = True) -> Request:
    """Let a port of a bridge send to no other isolated one, but to the bridge itself."""
    return _set_port(name, "isolated", _BRPORT_ISOLATED, on)


def _set_port(name: str, word: str, kind: int, on: bool) -> Request:
    mode = attribute(IFLA.PROTINFO | _NLA_F_NESTED, attribute(kind, bytes([on])))
    shown = f"bridge link set dev {name} {word} {'on' if on else 'off'}"
    return Request(
        shown, RTM.SETLINK, _CHANGE, lambda index_of: ifinfomsg(_AF_BRIDGE, index_of(name)) + mode
    )


def filter_bridge(name: str) -> Request:
    """Let the frames between a bridge's ports pass the packet rules too, by br_netfilter."""
    data = b"".join(attribute(kind, b"\1") for kind in _BR_NF_CALL)
    info = attribute(_INFO_KIND, b"bridge") + attribute(_INFO_DATA, data)
    body = ifinfomsg() + _link_attributes(name, "", 0) + attribute(IFLA.LINKINFO, info)
    shown = f"ip link set {name} type bridge nf_call_iptables 1 nf_call_ip6tables 1"
    return Request(shown, RTM.NEWLINK, _CHANGE, lambda _index: body)


def _change_address(verb: str, kind: int, flags: int, name: str, address: str) -> Request:
    family, packed, length = _address(address)
    attributes = attribute(_IFA_LOCAL, packed) + attribute(_IFA_ADDRESS, packed)
    nodad = ""
    if family == _socket.AF_INET6:
        # Duplicate address detection would keep a new address unusable for a second.
        attributes, nodad = attributes + attribute(_IFA_FLAGS, u32(_IFA_F_NODAD)), " nodad"

    def body(index_of: IndexOf) -> bytes:
        return struct.pack("=BBBBI", family, length, 0, 0, index_of(name)) + attributes

    return Request(f"ip address {verb} {address} dev {name}{nodad}", kind, flags, body)


def add_address(name: str, address: str) -> Request:
    """Give a link an address, `10.0.0.1/24` or `fd00::1/64`."""
    return _change_address("add", RTM.NEWADDR, _NEW, name, address)


def delete_address(name: str, address: str) -> Request:
    """Take an address off a link."""
    return _change_address("del", RTM.DELADDR, _CHANGE, name, address)


def _change_route(
    verb: str, kind: int, flags: int, destination: str, via: str, dev: str
) -> Request:
    family, packed, length = _address(via or destination)
    attributes = b""
    if destination == "default":
        length = 0
    else:
        family, packed, length = _address(destination)
        attributes = attribute(_RTA_DST, packed)
    if via:
        attributes += attribute(_RTA_GATEWAY, _address(via)[1])
    table, protocol, kind_unicast = 254, 3, 1  # RT_TABLE_MAIN, RTPROT_BOOT, RTN_UNICAST
    scope = 0 if via or family == _socket.AF_INET6 else 253  # RT_SCOPE_UNIVERSE, RT_SCOPE_LINK
    header = struct.pack("=8BI", family, length, 0, 0, table, protocol, scope, kind_unicast, 0)

    def body(index_of: IndexOf) -> bytes:
        return header + attributes + (attribute(_RTA_OIF, u32(index_of(dev))) if dev else b"")

    shown = f"ip route {verb} {destination}{_words(('via', via), ('dev', dev))}"
    return Request(shown, kind, flags, body)


def add_route(destination: str, *, via: str = "", dev: str = "") -> Request:
    """A route to a subnet, or `default`, by a gateway or straight out of a link."""
    return _change_route("add", RTM.NEWROUTE, _NEW, destination, via, dev)


def delete_route(destination: str, *, via: str = "", dev: str = "") -> Request:
    """Take a route away."""
    return _change_route("del", RTM.DELROUTE, _CHANGE, destination, via, dev)
