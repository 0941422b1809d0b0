"""Networks of containers: a bridge, a cable for each container, NAT, published ports.

    container                          host
    +-----------------+            +---------------------------------------------------+
    | eth0 10.231.0.2 |=== veth ===| lc3f…  --- lcbr0 10.231.0.1 --- NAT --- eth0      | ---> out
    +-----------------+            +---------------------------------------------------+

`Bridge` and `Endpoint` say what is wanted, `plan_bridge` and `plan_endpoint` in which steps,
`ensure_bridge` and `attach` do it, `remove_bridge` and `detach` take it back. The ledger has all
that is there; the packet rules are made anew from it each time.

veth(4), bridge(8), and of the kernel's documentation networking/ip-sysctl.
"""

from __future__ import annotations

import binascii
import os

from labcontainer import addresses, keepers, nat, ports
from labcontainer.errors import ExistsError, LabError, NotFoundError, StateError, UnsupportedError
from labcontainer.kernel import files, firewall, netlink, rtnetlink
from labcontainer.ledger import Ledger
from labcontainer.record import Record
from labcontainer.undo import Undo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from typing import Any

    from labcontainer.kernel.netlink import Netlink, Request

TABLE = "labcontainer"
_IPV4 = "/proc/sys/net/ipv4"
_IPV6 = "/proc/sys/net/ipv6/conf"
_BRIDGE_RULES = "/proc/sys/net/bridge/bridge-nf-call-iptables"
_NO_DEVICE, _NO_ENTRY = 19, 2


class Bridge(Record):
    """A network: a switch in the kernel, with the containers' gateway on it."""

    name: str = "lcbr0"  # at most 15 letters, as every link
    subnet: str = ""  # "": the lowest of the pool that collides with nothing here
    gateway: str = ""  # "": the first address of the subnet
    ip_range: str = ""  # the part of the subnet that addresses are given from; "": all of it
    reserved: tuple[str, ...] = ()  # addresses that are never given
    subnet6: str = ""  # "": IPv4 only; "auto": one made from the IPv4 subnet
    gateway6: str = ""
    mtu: int = 0  # 0: that of the way out
    internal: bool = False  # no way out
    masquerade: bool = True  # who goes out has the host's address there
    icc: bool = True  # its containers reach one another, not only what is published
    isolated: bool = False  # without that by the bridge's ports, where no rule sees its frames
    keep: bool = False  # stays when its last container leaves


class Endpoint(Record):
    """A container's place in a network."""

    id: str
    bridge: str = "lcbr0"
    ip: str = ""  # "": the lowest free one
    ip6: str = ""
    mac: str = ""
    interface: str = "eth0"
    link: str = ""  # the host's end of the cable
    names: tuple[str, ...] = ()  # what the others on this network may call it
    ports: tuple[ports.Port, ...] = ()
    default_route: bool = True


class Step(Record):
    """One step of a plan; `str()` is the command that does the same."""

    on: str  # "host", "container" (a netlink request there), "value", "own", "rules" or "gates"
    text: str
    request: Request | None = None
    undo: Request | None = None
    path: str = ""
    value: str = ""

    def __str__(self) -> str:
        return f"in the container: {self.text}" if self.on == "container" else self.text


def _request(on: str, request: Request, undo: Request | None = None) -> Step:
    return Step(on, str(request), request, undo)


def _value(on: str, path: str, value: str) -> Step:
    name = path.removeprefix("/proc/sys/").replace("/", ".")
    return Step(on, f"sysctl -w {name}={value}", path=path, value=value)


# --- plans --------------------------------------------------------------------------------------


def plan_bridge(bridge: Bridge) -> tuple[Step, ...]:
    """The steps that make a bridge. Its subnet and gateway must be chosen: see `resolve_bridge`."""
    mac = addresses.mac(bridge.gateway)  # fixed: else it changes with the first cable
    steps = [] if bridge.internal else [_value("value", f"{_IPV4}/ip_forward", "1")]
    if bridge.subnet6 and not bridge.internal:
        steps.append(_value("value", f"{_IPV6}/all/forwarding", "1"))
    steps += [
        _request(
            "host",
            rtnetlink.add_link(bridge.name, "bridge", address=mac, mtu=bridge.mtu),
            rtnetlink.delete_link(bridge.name),
        ),
        _request("host", rtnetlink.add_address(bridge.name, _gateway(bridge))),
    ]
    if bridge.subnet6:
        address = addresses.with_prefix(gateway6(bridge), bridge.subnet6)
        steps.append(_request("host", rtnetlink.add_address(bridge.name, address)))
    # A port published on 127.0.0.1 sends packets from there out of the bridge, and back. The
    # setting is the bridge's own and goes with it; the rule in chain `raw` closes what it opens.
    if not bridge.icc and not bridge.isolated:
        steps.append(_request("host", rtnetlink.filter_bridge(bridge.name)))
    steps += [
        _value("own", f"{_IPV4}/conf/{bridge.name}/route_localnet", "1"),
        _request("host", rtnetlink.set_link(bridge.name, up=True)),
        Step("rules", f"nft: table {TABLE}, with the rules of {bridge.name}"),
        Step("gates", f"iptables: others' FORWARD chains accept {bridge.name}", value=bridge.name),
    ]
    return tuple(steps)


def _gateway(bridge: Bridge) -> str:
    return addresses.with_prefix(bridge.gateway, bridge.subnet)


def gateway6(bridge: Bridge) -> str:
    return bridge.gateway6 or addresses.gateway(bridge.subnet6)


def plan_endpoint(bridge: Bridge, endpoint: Endpoint, netns: int = -1) -> tuple[Step, ...]:
    """The steps that connect a container, whose network namespace is open as `netns`."""
    there, link = endpoint.interface, endpoint.link
    cable = rtnetlink.add_veth(link, there, netns=netns, peer_address=endpoint.mac, mtu=bridge.mtu)
    steps = [
        _request("host", cable, rtnetlink.delete_link(link)),
        _request("host", rtnetlink.set_link(link, master=bridge.name, up=True)),
    ]
    if bridge.isolated:
        steps.append(_request("host", rtnetlink.set_isolated(link)))
    if endpoint.ports:
        # With bridge-nf-call-iptables, a container that calls its own published port gets its
        # frame back by the port of the bridge it came from.
        steps.append(_request("host", rtnetlink.set_hairpin(link)))
    inside = [
        rtnetlink.set_link("lo", up=True),
        rtnetlink.add_address(there, addresses.with_prefix(endpoint.ip, bridge.subnet)),
        rtnetlink.set_link(there, up=True),
    ]
    if endpoint.ip6:
        address = addresses.with_prefix(endpoint.ip6, bridge.subnet6)
        inside.insert(2, rtnetlink.add_address(there, address))
    if endpoint.default_route:
        inside += _routes(bridge, endpoint)
    steps += [_request("container", request) for request in inside]
    shown = ", ".join(map(str, endpoint.ports))
    if shown:
        steps.append(Step("rules", f"nft: table {TABLE}, with {shown}"))
    return tuple(steps)


def _routes(bridge: Bridge, endpoint: Endpoint) -> list[Request]:
    """The container's ways out by this network."""
    if bridge.internal:
        return []
    gateways = [bridge.gateway, *([gateway6(bridge)] if endpoint.ip6 else [])]
    return [rtnetlink.add_route("default", via=via) for via in gateways]


# --- what is there ------------------------------------------------------------------------------


def bridges(ledger: Ledger) -> dict[str, Bridge]:
    """The bridges in an open ledger, by name."""
    return {name: _read_bridge(f) for name, f in ledger.section("bridges").items()}


def endpoints(ledger: Ledger) -> dict[str, Endpoint]:
    """The endpoints in an open ledger, by the name of their host's end."""
    return {link: _read_endpoint(f) for link, f in ledger.section("endpoints").items()}


def _read_bridge(fields: dict[str, Any]) -> Bridge:
    return Bridge(**{**fields, "reserved": tuple(fields.get("reserved", ()))})


def _read_endpoint(fields: dict[str, Any]) -> Endpoint:
    published = tuple(ports.Port(**port) for port in fields["ports"])
    return Endpoint(**{**fields, "names": tuple(fields["names"]), "ports": published})


def _write_endpoint(ledger: Ledger, endpoint: Endpoint) -> None:
    shown = {**endpoint.as_dict(), "ports": [port.as_dict() for port in endpoint.ports]}
    ledger.section("endpoints")[endpoint.link] = shown


def resolve_bridge(ledger: Ledger, host: Netlink, bridge: Bridge) -> Bridge:
    """The bridge with all that was left open chosen: subnet, gateway, MTU.

    Raises:
        ExistsError: its subnet overlaps that of another bridge.
    """
    routes, links = host.routes(), {link.index: link for link in host.links()}
    subnet = bridge.subnet
    if not subnet:
        taken = [each.subnet for each in bridges(ledger).values()]
        taken += [route.destination for route in routes]
        taken += [address.address for address in host.addresses()]
        subnet = addresses.free_subnet(taken)
    for each in bridges(ledger).values():
        if addresses.network(each.subnet).overlaps(addresses.network(subnet)):
            raise ExistsError(f"the subnet {subnet} overlaps {each.subnet} of bridge {each.name}")
    way_out = [links[r.index].mtu for r in routes if r.destination == "default" and r.index]
    return bridge.replace(
        subnet=subnet,
        subnet6=subnet6(subnet, bridge.subnet6),
        gateway=bridge.gateway or addresses.gateway(subnet),
        # Bigger packets than the way out takes would need path MTU discovery, which often fails.
        mtu=bridge.mtu or min([1500, *way_out]),
        # Two containers' frames pass rules only by br_netfilter. A bridge can be given to it alone.
        isolated=not bridge.icc and not files.exists(_BRIDGE_RULES),
    )


def subnet6(subnet: str, wanted: str = "auto") -> str:
    """The IPv6 subnet of a network, if one is wanted; "auto" is made from the IPv4 one.

    Raises:
        UnsupportedError: there is no IPv6 here.
    """
    if wanted and not files.exists(f"{_IPV6}/all/forwarding"):
        why = "this kernel has no IPv6, or it is off"
        raise UnsupportedError("an IPv6 subnet", why, "leave it out")
    if wanted != "auto":
        return wanted
    # A unique local prefix, RFC 4193: fd, "lab", and the IPv4 subnet's own number.
    number = int(addresses.network(subnet).network_address) >> 8 & 0xFFFF
    return f"fd6c:6162:0:{number:x}::/64"


# --- doing --------------------------------------------------------------------------------------


def _apply(
    steps: Sequence[Step], ledger: Ledger, undo: Undo, host: Netlink, container: Netlink | None
) -> None:
    """Do the steps; what each needs to be taken back goes onto `undo`."""
    for step in steps:
        if step.on in ("host", "container") and step.request is not None:
            where = container if step.on == "container" and container is not None else host
            where.do(step.request)
            if step.undo is not None:
                undo.push(where.do, step.undo)
        elif step.on == "value":
            ledger.set_value(step.path, step.value)
        elif step.on == "own":
            files.write(step.path, step.value)
        elif step.on == "rules":
            _write_rules(ledger)
        elif step.on == "gates":
            _open_gates(ledger, step.value)


def _write_rules(ledger: Ledger) -> None:
    firewall.replace(TABLE, nat.rules(bridges(ledger).values(), endpoints(ledger).values()))


def _open_gates(ledger: Ledger, link: str) -> None:
    gates = firewall.forwarding_gates()
    if gates:
        ledger.section("gates")[link] = {"chains": gates}
        ledger.save()
    for gate in gates:
        firewall.open_gate(gate, link)


def ensure_bridge(ledger: Ledger, wanted: Bridge) -> Bridge:
    """Make a bridge, or find it; what it is, with all that was left open chosen.

    Raises:
        ExistsError: a link of that name is there and is not ours, or ours with another subnet.
        OSError: the kernel refused a step; all that was done is taken back.
    """
    with ledger, netlink.Netlink() as host, Undo() as undo:
        bridge = _ensure_bridge(ledger, host, undo, wanted)
        undo.commit()
        return bridge


def _ensure_bridge(ledger: Ledger, host: Netlink, undo: Undo, wanted: Bridge) -> Bridge:
    there = _is_there(host, wanted.name)
    known = bridges(ledger).get(wanted.name)
    if known is not None and there:
        if wanted.subnet not in ("", known.subnet):
            raise ExistsError(f"network {wanted.name} has the subnet {known.subnet}")
        return known
    if there:
        raise ExistsError(f"a link {wanted.name} exists, and is not of labcontainer")
    bridge = resolve_bridge(ledger, host, wanted)
    undo.push(_forget_bridge, ledger, host, bridge.name)
    if not bridges(ledger):
        ledger.section("found")["bridges"] = {"names": _bridge_names(host)}
    ledger.section("bridges")[bridge.name] = bridge.as_dict()
    ledger.save()
    if bridge.subnet6 and not bridge.internal:
        _keep_advertisements(ledger, host)
    _apply(plan_bridge(bridge), ledger, undo, host, None)
    return bridge


def _is_there(host: Netlink, name: str) -> bool:
    try:
        return bool(host.link(name))
    except OSError as error:
        if error.errno != _NO_DEVICE:
            raise
        return False


def _bridge_names(host: Netlink) -> list[str]:
    return [link.name for link in host.links() if link.kind == "bridge"]


def _keep_advertisements(ledger: Ledger, host: Netlink) -> None:
    """A host that forwards IPv6 stops to hear its router, and loses its way out, unless told: 2."""
    for link in host.links():
        path = f"{_IPV6}/{link.name}/accept_ra"
        if files.exists(path) and files.read(path) == "1":
            ledger.set_value(path, "2")


def remove_bridge(ledger: Ledger, name: str) -> None:
    """Take a bridge away; with the last one, the packet rules and the host's settings too.

    Raises:
        NotFoundError: there is none. StateError: containers are on it.
    """
    with ledger, netlink.Netlink() as host:
        if name not in bridges(ledger):
            raise NotFoundError(f"network {name} does not exist")
        users = [each.id for each in endpoints(ledger).values() if each.bridge == name]
        if users:
            raise StateError(f"network {name} has active endpoints: {', '.join(sorted(users))}")
        _remove_bridge(ledger, host, name)


def _remove_bridge(ledger: Ledger, host: Netlink, name: str) -> None:
    _delete_link(host, name)
    _forget_bridge(ledger, host, name)


def _delete_link(host: Netlink, name: str) -> None:
    try:
        host.do(rtnetlink.delete_link(name))
    except OSError as error:
        if error.errno != _NO_DEVICE:  # the kernel removed it with the container's namespace
            raise


def _forget_bridge(ledger: Ledger, host: Netlink, name: str) -> None:
    """Give back what a bridge without a link still has of the host."""
    for gate in ledger.section("gates").pop(name, {}).get("chains", []):
        firewall.close_gate((gate[0], gate[1]), name)
    ledger.section("bridges").pop(name, None)
    keepers.forget(ledger, name)
    if bridges(ledger):
        _write_rules(ledger)
    else:
        firewall.delete(TABLE)
        before = ledger.section("found").pop("bridges", {"names": []})["names"]
        # An engine that began since found forwarding on, and needs it: then it stays.
        ledger.give_back(keep=any(other not in before for other in _bridge_names(host)))
    ledger.save()


def attach(ledger: Ledger, wanted: Endpoint, *, pid: int = 0, netns: int = -1) -> Endpoint:
    """Connect a container, by its process or by its network namespace; where it is now.

    Raises:
        NotFoundError: no such network. ExistsError: the address, the interface or a port is taken.
        OSError: the kernel refused a step; all that was done is taken back.
    """
    fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC) if netns < 0 else os.dup(netns)
    try:
        with (
            netlink.connect_in(fd) as container, ledger, netlink.Netlink() as host, Undo() as undo
        ):  # fmt: skip
            bridge = bridges(ledger).get(wanted.bridge)
            if bridge is None:
                raise NotFoundError(f"network {wanted.bridge} does not exist")
            endpoint = _attach(ledger, wanted, bridge, undo, host, container, fd)
            undo.commit()
            return endpoint
    finally:
        os.close(fd)


def join(
    ledger: Ledger, bridge: Bridge, wanted: Endpoint, *, pid: int, keep: bool = False
) -> tuple[Bridge, Endpoint]:
    """Connect a container to a bridge that is made for it, if need be; both as they are now.

    Nobody can take the bridge away in between, as its last container does that leaves it. With
    `keep` the bridge stays until this process ends, or calls `let_go`.

    Raises:
        ExistsError: a name, an address, the interface or a port is taken.
        OSError: the kernel refused a step; all that was done is taken back.
    """
    fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        with (
            netlink.connect_in(fd) as container, ledger, netlink.Netlink() as host, Undo() as undo
        ):  # fmt: skip
            made = _ensure_bridge(ledger, host, undo, bridge)
            if keep:
                keepers.keep(ledger, made.name)
            endpoint = _attach(ledger, wanted, made, undo, host, container, fd)
            undo.commit()
            return made, endpoint
    finally:
        os.close(fd)


def _attach(
    ledger: Ledger, wanted: Endpoint, bridge: Bridge, undo: Undo,
    host: Netlink, container: Netlink, netns: int,
) -> Endpoint:  # fmt: skip
    try:
        endpoint = resolve_endpoint(ledger, bridge, wanted)
    except LabError:  # taken, maybe by one that has ended without a word
        _forget_dead(ledger, host)
        endpoint = resolve_endpoint(ledger, bridge, wanted)
    if _is_there(host, endpoint.link):  # of the container's life before, on its way out
        _delete_link(host, endpoint.link)
    undo.push(_forget_endpoint, ledger, endpoint)
    _write_endpoint(ledger, endpoint)
    ledger.save()
    _apply(plan_endpoint(bridge, endpoint, netns), ledger, undo, host, container)
    return endpoint


def resolve_endpoint(ledger: Ledger, bridge: Bridge, wanted: Endpoint) -> Endpoint:
    """The endpoint with all that was left open chosen: addresses, the cable's name."""
    others = ledger.section("endpoints")
    # Derived from the names, so that it can be found again; a link's name has 15 letters at most.
    link = wanted.link or f"lc{binascii.crc32(f'{wanted.id} {bridge.name}'.encode()):08x}"
    if link in others:
        raise ExistsError(f"container {wanted.id} is in network {bridge.name} already")
    for port in wanted.ports:
        for other in endpoints(ledger).values():
            if any(_clash(port, held) for held in other.ports):
                raise ExistsError(f"Bind for {port} failed: port is already allocated")
    here = [each for each in others.values() if each["bridge"] == bridge.name]
    taken = {bridge.gateway, *bridge.reserved, *(each["ip"] for each in here)}
    ip = addresses.allocate(bridge.subnet, taken, wanted.ip, bridge.ip_range)
    ip6 = ""
    if bridge.subnet6:
        ip6 = wanted.ip6 or addresses.twin(ip, bridge.subnet, bridge.subnet6)
        taken = {gateway6(bridge), *bridge.reserved, *(each["ip6"] for each in here)}
        ip6 = addresses.allocate(bridge.subnet6, taken, ip6)
    mac = wanted.mac or addresses.mac(ip)
    return wanted.replace(ip=ip, ip6=ip6, mac=mac, link=link)


def _clash(one: ports.Port, other: ports.Port) -> bool:
    every = ("", "0.0.0.0", "::")
    if one.host_ip and other.host_ip and (":" in one.host_ip) != (":" in other.host_ip):
        return False
    same_ip = one.host_ip == other.host_ip or one.host_ip in every or other.host_ip in every
    return same_ip and (one.protocol, one.host_port) == (other.protocol, other.host_port)


def lead_out(
    ledger: Ledger, container: str, bridge: str, published: tuple[ports.Port, ...], *, pid: int
) -> None:
    """Let a connected container go out by this network, and publish its ports there.

    Raises:
        NotFoundError: it is not in that network. OSError: the kernel refused; nothing is changed.
    """
    fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        with netlink.connect_in(fd) as there, ledger, netlink.Netlink() as host, Undo() as undo:
            here = endpoints(ledger).values()
            found = [one for one in here if (one.id, one.bridge) == (container, bridge)]
            if not found:
                raise NotFoundError(f"container {container} is not in network {bridge}")
            endpoint = found[0].replace(default_route=True, ports=published)
            undo.push(_write_endpoint, ledger, found[0])
            _write_endpoint(ledger, endpoint)
            ledger.save()
            for request in _routes(bridges(ledger)[bridge], endpoint):
                there.do(request)
            if published:
                host.do(rtnetlink.set_hairpin(endpoint.link))
                _write_rules(ledger)
            undo.commit()
    finally:
        os.close(fd)


def detach(ledger: Ledger, container: str, bridge: str = "", *, ended: bool = False) -> None:
    """Disconnect a container from one network, or from all; quiet if it is in none.

    A bridge that need not stay goes with its last container. With `ended` its namespace has: the
    kernel takes the cable away a moment later, and the 20 ms of it are nobody's to wait for.
    """
    with ledger, netlink.Netlink() as host:
        for fields in list(ledger.section("endpoints").values()):
            if fields["id"] == container and bridge in ("", fields["bridge"]):
                _detach(ledger, host, _read_endpoint(fields), ended=ended)
        _remove_unused(ledger, host)


def _detach(ledger: Ledger, host: Netlink, endpoint: Endpoint, *, ended: bool = False) -> None:
    if not ended:
        _delete_link(host, endpoint.link)
    _forget_endpoint(ledger, endpoint)


def _forget_endpoint(ledger: Ledger, endpoint: Endpoint) -> None:
    ledger.section("endpoints").pop(endpoint.link, None)
    if endpoint.ports:
        _write_rules(ledger)
    ledger.save()


def sweep(ledger: Ledger) -> None:
    """Forget containers that ended without a word, and bridges and settings that nobody needs."""
    with ledger, netlink.Netlink() as host:
        _forget_dead(ledger, host)
        _remove_unused(ledger, host)


def let_go(ledger: Ledger) -> None:
    """Keep no bridge any more; those that no container is on go."""
    with ledger, netlink.Netlink() as host:
        keepers.let_go(ledger)
        ledger.save()
        _remove_unused(ledger, host)


def _forget_dead(ledger: Ledger, host: Netlink) -> None:
    """A cable goes with the container's end of it: who has none here any more is gone."""
    links = {link.name for link in host.links()}
    for link, endpoint in endpoints(ledger).items():
        if link not in links:
            _forget_endpoint(ledger, endpoint)


def _remove_unused(ledger: Ledger, host: Netlink) -> None:
    free = [
        name for name, bridge in bridges(ledger).items()
        if not bridge.keep and not keepers.is_kept(ledger, name)
    ]  # fmt: skip
    if free:
        _forget_dead(ledger, host)
    used = {fields["bridge"] for fields in ledger.section("endpoints").values()}
    for name in free:
        if name not in used:
            _remove_bridge(ledger, host, name)


def cleanup(ledger: Ledger, alive: Collection[str]) -> list[str]:
    """After a crash: disconnect every container that is not in `alive`; which those were.

    Bridges that need not stay, and what the host's settings were, follow as in `detach`.
    """
    with ledger, netlink.Netlink() as host:
        gone = [each for each in endpoints(ledger).values() if each.id not in alive]
        for endpoint in gone:
            _detach(ledger, host, endpoint)
        _remove_unused(ledger, host)
        return [endpoint.id for endpoint in gone]


def names(ledger: Ledger, bridge: str) -> dict[str, list[str]]:
    """What the containers of a network are called, for `nameserver.Names`."""
    found: dict[str, list[str]] = {}
    with ledger:
        for endpoint in endpoints(ledger).values():
            if endpoint.bridge == bridge:
                for name in (*endpoint.names, endpoint.id[:12]):
                    found.setdefault(name, []).extend(filter(None, (endpoint.ip, endpoint.ip6)))
    return found
