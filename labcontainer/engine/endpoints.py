"""Containers on their networks: cables, addresses, published ports, names.

The ledger of `network` knows what is in the kernel, for all containers of this machine's root, also
those of `labcontainer run`. What lives in this process is here: the sockets that hold published
ports, and a name server for each container, inside its own network namespace at 127.0.0.11.
"""

from __future__ import annotations

import ipaddress
import os
import threading

from labcontainer import addresses, errors, nameserver, network, ports
from labcontainer.engine import launch, networkspec, resolving
from labcontainer.kernel import netlink
from labcontainer.ledger import Ledger

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from labcontainer.engine.container import Container
    from labcontainer.engine.networks import Networks

    Document = dict[str, Any]

FIELDS: Document = {"NetworkID": "", "EndpointID": "", "Gateway": "", "IPAddress": "",
                    "IPPrefixLen": 0, "IPv6Gateway": "", "GlobalIPv6Address": "",
                    "GlobalIPv6PrefixLen": 0, "MacAddress": ""}  # fmt: skip
TRIES = 3


def place(found: Document, asked: Document, identity: str) -> Document:
    """A container's place in a network, as Docker's EndpointSettings.

    Raises:
        UsageError: an address that the network does not have.
    """
    given = asked.get("IPAMConfig") or {}
    named = [given[key] for key in ("IPv4Address", "IPv6Address") if given.get(key)]
    if named and not found.get("_given"):
        raise errors.UsageError(
            "invalid config for network " + found["Name"] + ": invalid endpoint settings:\nuser "
            "specified IP address is supported only when connecting to networks with user "
            "configured subnets"
        )
    for address in named:
        _check_address(found, address)
    if asked.get("Aliases") and found["Name"] in ("bridge", "host", "none"):
        raise errors.UsageError(
            "invalid config for network " + found["Name"] + ": invalid endpoint settings:\n"
            "network-scoped aliases are only supported for user-defined networks"
        )
    return {
        **FIELDS,
        "IPAMConfig": given or None,
        "Links": asked.get("Links"),
        "Aliases": asked.get("Aliases"),
        "DriverOpts": asked.get("DriverOpts"),
        "MacAddress": asked.get("MacAddress") or "",
        "_mac": asked.get("MacAddress") or "",
        "NetworkID": found["Id"],
        "DNSNames": None,
        "_id": identity,
    }


def _check_address(found: Document, word: str) -> None:
    try:
        address = ipaddress.ip_address(word)
    except ValueError:
        raise errors.UsageError(f"invalid IP address: {word}") from None
    subnets = [ipaddress.ip_network(one["Subnet"]) for one in found["IPAM"]["Config"]]
    if not any(address in subnet for subnet in subnets):
        raise errors.UsageError(f"no configured subnet contains IP address {word}")


def settings(container: Container) -> Document:
    """Docker's NetworkSettings."""
    main = container.endpoints.get("bridge", FIELDS)
    running = container.state.running
    shown = {
        name: {key: value for key, value in one.items() if not key.startswith("_")}
        for name, one in container.endpoints.items()
    }
    return {
        "Bridge": "",
        "SandboxID": container.id if running else "",
        "SandboxKey": f"/proc/{container.state.pid}/ns/net" if running else "",
        "HairpinMode": False,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": None,
        "SecondaryIPv6Addresses": None,
        "Ports": _ports(container) if running else {},
        **{key: main[key] for key in FIELDS if key != "NetworkID"},
        "Networks": shown,
    }


def _ports(container: Container) -> Document:
    exposed = dict.fromkeys(container.config["ExposedPorts"] or ())
    return {**exposed, **container.ports}


def ports_list(container: Container) -> list[Document]:
    """`[{"IP", "PrivatePort", "PublicPort", "Type"}]`."""
    found: list[Document] = []
    if not container.state.running:
        return found
    for word, places in _ports(container).items():
        number, _, protocol = word.partition("/")
        own = {"PrivatePort": int(number), "Type": protocol}
        found += [{"IP": one["HostIp"], "PublicPort": int(one["HostPort"]), **own}
                  for one in places or ()] or [own]  # fmt: skip
    return found


def wanted_ports(container: Container) -> Iterator[ports.Port]:
    """What is to be published.

    Raises:
        UsageError: a port is none.
    """
    bindings = container.host["PortBindings"] or {}
    for word, places in bindings.items():
        for one in places or [{}]:
            ip, port = one.get("HostIp") or "", one.get("HostPort") or ""
            if ip == "::":  # every address is the IPv4 one's too
                continue
            ip = "" if ip == "0.0.0.0" else ip
            shown = f"[{ip}]" if ":" in ip else ip
            yield from ports.parse(
                f"{shown}:{port}:{word}" if ip else f"{port}:{word}" if port else word
            )
    if container.host["PublishAllPorts"]:
        for word in container.config["ExposedPorts"] or ():
            if word not in bindings:
                yield from ports.parse(word)


class Endpoints:
    """What the running containers of one engine have in the kernel and in this process."""

    def __init__(self, networks: Networks, ledger: str) -> None:
        self._networks = networks
        self._path = ledger
        self._lock = threading.RLock()
        self._held: dict[str, list[ports.Held]] = {}
        self._servers: dict[str, nameserver.Server] = {}

    def _ledger(self) -> Ledger:
        return Ledger(self._path)

    # --- bridges ----------------------------------------------------------------------------------

    def bridge_of(self, found: Document) -> network.Bridge | None:
        """A network's bridge, if it is there now."""
        if not os.path.exists(self._path):
            return None
        with self._ledger() as ledger:
            return network.bridges(ledger).get(networkspec.link_of(found))

    def subnets_of_host(self) -> list[str]:
        """Subnets that this machine reaches already."""
        with netlink.Netlink() as host:
            routes = [one.destination for one in host.routes() if one.destination != "default"]
            return routes + [one.address for one in host.addresses()]

    def remove_bridge(self, found: Document) -> None:
        """Take a network's bridge away, if it is there."""
        try:
            network.remove_bridge(self._ledger(), networkspec.link_of(found))
        except errors.NotFoundError:
            pass

    def _bridge(self, found: Document) -> network.Bridge:
        subnets = found["IPAM"]["Config"]
        four: Document = next((one for one in subnets if ":" not in one["Subnet"]), {})
        six: Document = next((one for one in subnets if ":" in one["Subnet"]), {})
        return network.Bridge(
            name=networkspec.link_of(found),
            subnet=four.get("Subnet", ""),
            gateway=four.get("Gateway", ""),
            subnet6=six.get("Subnet", "auto" if found["EnableIPv6"] else ""),
            mtu=int(found["Options"].get(networkspec.MTU, 0)),
            internal=found["Internal"],
        )

    # --- a container comes ------------------------------------------------------------------------

    def attach(self, container: Container, pid: int) -> None:
        """Connect it to all of its networks, or to none."""
        if self._networks.mode(container) != "own":
            return
        try:
            held = self._hold(container)
            for number, name in enumerate(container.endpoints):
                self._connect(container, name, pid, number, held if number == 0 else [])
            self._serve_names(container, pid)
            self.files(container)
        except BaseException:
            self.detach(container)
            raise
        for name in container.endpoints:
            self._networks.told(self._networks.find(name), "connect", container)
        self.tell_names(container)

    def _hold(self, container: Container) -> list[ports.Port]:
        """Take the host's side of each port: a clash is seen at once, and shown to others."""
        held: list[ports.Held] = []
        try:
            for port in wanted_ports(container):
                held.append(ports.hold(port))
        except errors.LabError as error:
            for one in held:
                one.release()
            raise errors.LabError(
                "driver failed programming external connectivity on endpoint "
                f"{container.name}: {error}"
            ) from None
        with self._lock:
            self._held[container.id] = held
        container.ports = {}
        for one in held:
            word = f"{one.port.container_port}/{one.port.protocol}"
            ip = one.port.host_ip or "0.0.0.0"
            told = {"HostIp": ip, "HostPort": str(one.port.host_port)}
            container.ports.setdefault(word, []).append(told)
        return [one.port for one in held]

    def _connect(
        self, container: Container, name: str, pid: int, number: int, published: list[ports.Port]
    ) -> None:
        found = self._networks.find(name)
        own = container.endpoints[name]
        wanted = network.Endpoint(
            container.id, bridge=networkspec.link_of(found), mac=own["_mac"],
            interface=f"eth{number}", ports=tuple(published), default_route=number == 0,
        )  # fmt: skip
        for last in (False,) * (TRIES - 1) + (True,):
            bridge = network.ensure_bridge(self._ledger(), self._bridge(found))
            try:
                made = self._attach(wanted, own, found, pid)
                break
            except errors.NotFoundError:
                if last:  # the last of the others left in between, and the bridge with it
                    raise
        _write_down(own, made, bridge, container)

    def _attach(
        self, wanted: network.Endpoint, own: Document, found: Document, pid: int
    ) -> network.Endpoint:
        """Attach it with the address that was asked for, or with one of the network's range."""
        given = own["IPAMConfig"] or {}
        wanted = wanted.replace(ip6=given.get("IPv6Address") or "")
        if given.get("IPv4Address"):
            return network.attach(self._ledger(), wanted.replace(ip=given["IPv4Address"]), pid=pid)
        config: Document = next(
            (one for one in found["IPAM"]["Config"] if ":" not in one["Subnet"]), {}
        )
        if not ("IPRange" in config or "AuxiliaryAddresses" in config):
            return network.attach(self._ledger(), wanted, pid=pid)
        taken = set(config.get("AuxiliaryAddresses", {}).values()) | {config.get("Gateway", "")}
        subnet = ipaddress.ip_network(config["Subnet"])
        for address in ipaddress.ip_network(config.get("IPRange") or subnet):
            if str(address) in taken or address in (subnet[0], subnet[-1]):
                continue
            try:
                return network.attach(self._ledger(), wanted.replace(ip=str(address)), pid=pid)
            except errors.ExistsError as error:
                if "Address already in use" not in str(error):
                    raise
        raise errors.LabError(f"no available IPv4 addresses on network {found['Name']}")

    def add(self, container: Container, found: Document) -> None:
        """One more network for a container that runs."""
        number = 0
        pid = container.state.pid
        used = {one["_interface"] for one in container.endpoints.values() if "_interface" in one}
        while f"eth{number}" in used:
            number += 1
        self._connect(container, found["Name"], pid, number, [])
        if container.id not in self._servers:
            self._serve_names(container, pid)
        self.files(container)
        self._networks.told(found, "connect", container)
        self.tell_names(container)

    def leave(self, container: Container, found: Document) -> None:
        """One network less for a container that runs."""
        network.detach(self._ledger(), container.id, networkspec.link_of(found))
        container.endpoints[found["Name"]] |= FIELDS | {"NetworkID": found["Id"]}
        self.tell_names(container)

    # --- and goes ---------------------------------------------------------------------------------

    def detach(self, container: Container) -> None:
        """Take back what `attach` did; may be called again."""
        with self._lock:
            held = self._held.pop(container.id, [])
            server = self._servers.pop(container.id, None)
        for one in held:
            one.release()
        if server is not None:
            server.__exit__(None, None, None)
        was = [name for name, one in container.endpoints.items() if one.get("EndpointID")]
        if os.path.exists(self._path):
            network.detach(self._ledger(), container.id)
        container.ports = {}
        for own in container.endpoints.values():
            own |= FIELDS | {"NetworkID": own["NetworkID"], "MacAddress": "", "DNSNames": None}
            own.pop("_interface", None)
        for name in was:
            try:
                self._networks.told(self._networks.find(name), "disconnect", container)
            except errors.NotFoundError:
                continue  # it was removed meanwhile
        if was:
            self.tell_names(container)

    # --- names ------------------------------------------------------------------------------------

    def _serve_names(self, container: Container, pid: int) -> None:
        """A name server inside the container's own network namespace."""
        if not resolving.has_names(container):
            return
        server = resolving.server(container, pid, self._table(container))
        server.__enter__()
        with self._lock:
            self._servers[container.id] = server

    def tell_names(self, container: Container) -> None:
        """Tell all who share a network with a container what its networks' names are now."""
        with self._lock:
            servers = dict(self._servers)
        shared = set(container.endpoints)
        for one in self._networks.containers.all():
            if one.id in servers and shared & set(one.endpoints):
                servers[one.id].names.replace(self._table(one))

    def _table(self, container: Container) -> dict[str, list[str]]:
        return resolving.table(container, self._networks.containers.all())

    def files(self, container: Container) -> None:
        """Write hostname, hosts and resolv.conf; those that are mounted change there too."""
        resolving.write_files(container, self._networks.mode(container), launch.hostname(container),
                              self._networks.containers)  # fmt: skip

    # --- the engine's beginning and end -----------------------------------------------------------

    def recover(self) -> None:
        """Take away what containers that have ended meanwhile have left."""
        if os.path.exists(self._path):
            network.sweep(self._ledger())

    def rejoin(self, container: Container) -> None:
        """Hold its ports again, and answer its questions."""
        held = []
        for word, places in container.ports.items():
            number, _, protocol = word.partition("/")
            for one in places:
                ip = "" if one["HostIp"] == "0.0.0.0" else one["HostIp"]
                port = ports.Port(int(number), protocol, int(one["HostPort"]), ip)
                try:
                    held.append(ports.hold(port))
                except errors.LabError:
                    continue  # somebody was quicker; the packets go to the container all the same
        with self._lock:
            self._held[container.id] = held
        try:
            self._serve_names(container, container.state.pid)
        except (OSError, errors.LabError):
            pass  # it has ended just now

    def close(self) -> None:
        """Answer no questions any more."""
        with self._lock:
            servers, self._servers = self._servers, {}
        for server in servers.values():
            server.__exit__(None, None, None)


def _write_down(
    own: Document, made: network.Endpoint, bridge: network.Bridge, container: Container
) -> None:
    """What a container's place in a network is now."""
    six = made.ip6
    own |= {
        "EndpointID": os.urandom(32).hex(),
        "Gateway": "" if bridge.internal else bridge.gateway,
        "IPAddress": made.ip,
        "IPPrefixLen": ipaddress.ip_network(bridge.subnet).prefixlen,
        "IPv6Gateway": addresses.gateway(bridge.subnet6) if six else "",
        "GlobalIPv6Address": six,
        "GlobalIPv6PrefixLen": ipaddress.ip_network(bridge.subnet6).prefixlen if six else 0,
        "MacAddress": made.mac,
        "DNSNames": resolving.names_of(container, own),
        "_interface": made.interface,
    }
