"""Containers on their networks: cables, addresses, published ports, names.

The ledger of `network` knows what is in the kernel, for all containers of this machine's root, also
those of `labcontainer run`. What lives in this process is here: the sockets that hold published
ports, and a name server for each container, inside its own network namespace at 127.0.0.11.

As root the bridges are in the host's network namespace. An ordinary user's are in one of the
daemon's own (netns.py). How published ports lead to a container: publishing.py.

Of several networks one is the container's way out: the first that is not internal. It has the
default route and the published ports; when the container leaves it, the next one gets them.
"""

from __future__ import annotations

import ipaddress
import os
import sys
import threading
from dataclasses import dataclass, field

from labcontainer import addresses, errors, nameserver, network, ports
from labcontainer.engine import launch, networkspec, places, resolving
from labcontainer.engine.forwarding import Forwarding
from labcontainer.engine.netns import SUBNET, NetworkNamespace
from labcontainer.engine.publishing import Publishing
from labcontainer.image import inside
from labcontainer.kernel import netlink
from labcontainer.ledger import Ledger

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ParamSpec, TypeVar

    from labcontainer.engine.container import Container
    from labcontainer.engine.networks import Networks

    Document = dict[str, Any]
    P = ParamSpec("P")
    T = TypeVar("T")


@dataclass(slots=True)
class Live:
    """What this process holds for a running container."""

    held: list[ports.Held] = field(default_factory=list)
    server: nameserver.Server | None = None
    names: resolving.LiveNames | None = None

    def silence(self) -> None:
        """Answer no questions any more."""
        if self.server is not None:
            self.server.__exit__(None, None, None)
        self.server = self.names = None


class Endpoints:
    """What the running containers of one engine have in the kernel and in this process."""

    def __init__(self, networks: Networks, ledger: str, folder: str) -> None:
        self._networks = networks
        self._path = ledger
        self._lock = threading.RLock()
        self._live: dict[str, Live] = {}
        self.rootless = inside.in_user_namespace()
        self._netns = NetworkNamespace(folder) if self.rootless else None
        self._forwarding = Forwarding(f"{folder}/forwarder", self._open_netns)
        self._publishing = Publishing(self._forwarding, carries_all=self.rootless)
        self._lack = ""
        if self.rootless and not self._netns and os.path.exists(ledger):
            os.unlink(ledger)  # what it tells of has gone with the namespace

    def _there(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """What the function returns where the bridges are."""
        if self._netns is None:
            return function(*args, **kwargs)
        return self._netns.call(function, *args, **kwargs)

    def _open_netns(self) -> int:
        """A descriptor of the network namespace in which the bridges are."""
        if self._netns is not None:
            return os.dup(self._netns.open())
        return os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    def _lead_out(self) -> None:
        if self._netns is None:
            return
        if started := self._netns.lead_out(self._forwarding.pid()):
            self._forwarding.bind(started)

    def missing(self) -> str:
        """What this machine lacks for the networks of an ordinary user; "" for nothing."""
        return self._lack or (self._netns.missing() if self._netns is not None else "")

    def _ledger(self) -> Ledger:
        return Ledger(self._path)

    def _of(self, container: Container) -> Live:
        with self._lock:
            return self._live.setdefault(container.id, Live())

    # --- bridges ----------------------------------------------------------------------------------

    def default_config(self) -> list[dict[str, str]]:
        """The default bridge's subnet: as it is, or as it would be if a container came now."""
        if os.path.exists(self._path):
            with self._ledger() as ledger:
                live = network.bridges(ledger).get(networkspec.DEFAULT_BRIDGE)
            if live is not None:
                return [{"Subnet": live.subnet, "Gateway": live.gateway}]
        subnet = addresses.free_subnet(self.subnets_of_host())
        return [{"Subnet": subnet, "Gateway": addresses.gateway(subnet)}]

    def subnets_of_host(self) -> list[str]:
        """Subnets that this machine reaches already, or the daemon's own network namespace."""
        if self._netns is None:
            return _reached()
        return [SUBNET, *_reached(), *(self._netns.call(_reached) if self._netns else ())]

    def remove_bridge(self, found: Document) -> None:
        """Take a network's bridge away, if it is there."""
        if not os.path.exists(self._path):
            return
        try:
            self._there(network.remove_bridge, self._ledger(), networkspec.link_of(found))
        except errors.NotFoundError:
            pass

    # --- a container comes ------------------------------------------------------------------------

    def attach(self, container: Container, pid: int) -> None:
        """Connect it to all of its networks, or to none."""
        try:
            if self._networks.mode(container) != "own":
                for own in container.endpoints.values():
                    own["EndpointID"] = os.urandom(32).hex()
            else:
                self._connect_or_do_without(container, pid)
                self._serve_names(container, pid)
                self.files(container)
        except BaseException:
            self.detach(container)
            raise
        for name in container.endpoints:
            self._networks.told(self._networks.find(name), "connect", container)
        self.tell_names(container)

    def _connect_or_do_without(self, container: Container, pid: int) -> None:
        """An ordinary user's container that asked for no network can be without, and it is told."""
        try:
            self._lead_out()
            self._connect_all(container, pid)
            self._lack = ""
        except (OSError, errors.UnsupportedError) as error:
            wanted = places.wanted_ports(container.host, container.config["ExposedPorts"] or ())
            if not self.rootless or wanted or {*container.endpoints} != {"bridge"}:
                raise
            if not self._lack:
                self._lack = f"containers have no network: {error}"
                print(f"labcontainer daemon: {self._lack}", file=sys.stderr, flush=True)

    def _connect_all(self, container: Container, pid: int) -> None:
        way = self._way_out(container)
        for number, name in enumerate(container.endpoints):
            found = self._networks.find(name)
            published = self._hold(container, found) if name == way else ()
            self._connect(container, found, pid, f"eth{number}", published, way=name == way)

    def _way_out(self, container: Container) -> str:
        """The network by which the container goes out; "" where all are internal."""
        found = (self._networks.find(name) for name in container.endpoints)
        return next((str(one["Name"]) for one in found if not one["Internal"]), "")

    def _hold(self, container: Container, found: Document) -> tuple[ports.Port, ...]:
        """Take the host's side of each port: a clash is seen at once, and shown to others."""
        own = container.endpoints[found["Name"]]
        own["EndpointID"] = os.urandom(32).hex()
        default_ip = found["Options"].get(networkspec.HOST_IP, "")
        exposed = container.config["ExposedPorts"] or ()
        wanted = places.wanted_ports(container.host, exposed, default_ip)
        try:
            held = self._publishing.hold(wanted, six=found["EnableIPv6"])
        except errors.LabError as error:
            raise errors.LabError(
                "driver failed programming external connectivity on endpoint "
                f"{container.name} ({own['EndpointID']}): {error}"
            ) from None
        self._of(container).held = held
        published = tuple(one.port for one in held)
        container.ports = places.told(published)
        return published

    def _connect(
        self, container: Container, found: Document, pid: int, interface: str,
        published: tuple[ports.Port, ...], *, way: bool,
    ) -> None:  # fmt: skip
        own = container.endpoints[found["Name"]]
        given = own["IPAMConfig"] or {}
        wanted = network.Endpoint(
            container.id, bridge=networkspec.link_of(found), ip=given.get("IPv4Address") or "",
            ip6=given.get("IPv6Address") or "", mac=own["_mac"], interface=interface,
            ports=published, default_route=way,
        )  # fmt: skip
        wished = networkspec.bridge_of(found)
        if self.rootless and not wished.subnet:  # in there nobody knows what the host reaches
            wished = wished.replace(subnet=self.default_config()[0]["Subnet"])
        bridge, made = self._there(network.join, self._ledger(), wished, wanted, pid=pid, keep=True)
        _write_down(own, made, bridge)
        if way:
            self._publishing.lead(self._of(container).held, made.ip)
        own["DNSNames"] = resolving.names_of(container, found["Name"]) or None
        own["_way"] = way

    def add(self, container: Container, found: Document) -> None:
        """One more network for a container that runs."""
        pid, number = container.state.pid, 0
        others = [one for name, one in container.endpoints.items() if name != found["Name"]]
        while any(one.get("_interface") == f"eth{number}" for one in others):
            number += 1
        way = not found["Internal"] and not any(one.get("_way") for one in others)
        published = self._hold(container, found) if way else ()
        self._connect(container, found, pid, f"eth{number}", published, way=way)
        if self._of(container).server is None:
            self._serve_names(container, pid)
        self._ask_out(container)
        self.files(container)
        self._networks.told(found, "connect", container)
        self.tell_names(container)

    def leave(self, container: Container, found: Document) -> None:
        """One network less for a container that runs; another becomes its way out, if it was it."""
        link = networkspec.link_of(found)
        self._there(network.detach, self._ledger(), container.id, link)
        own = container.endpoints.pop(found["Name"])
        if own.get("_way"):
            live = self._of(container)
            way = self._way_out(container)
            container.ports = container.ports if way else {}
            published = tuple(one.port for one in live.held)
            if way:
                link = networkspec.link_of(self._networks.find(way))
                pid = container.state.pid
                self._there(
                    network.lead_out, self._ledger(), container.id, link, published, pid=pid
                )
                container.endpoints[way]["_way"] = True
                self._publishing.lead(live.held, container.endpoints[way]["IPAddress"])
            else:
                self._publishing.release(live.held)
        self._ask_out(container)
        self.files(container)
        self.tell_names(container, found["Name"])

    # --- and goes ---------------------------------------------------------------------------------

    def detach(self, container: Container) -> None:
        """Take back what `attach` did; may be called again."""
        with self._lock:
            live = self._live.pop(container.id, None)
        if live is not None:
            self._publishing.release(live.held)
            live.silence()
        was = [name for name, one in container.endpoints.items() if one.get("EndpointID")]
        if (live or was) and os.path.exists(self._path):
            shared = f"container:{container.id}"
            others = (one.host["NetworkMode"] == shared and one.state.running
                      for one in self._networks.containers.all())  # fmt: skip
            self._there(network.detach, self._ledger(), container.id, ended=not any(others))
        container.ports = {}
        for own in container.endpoints.values():
            own |= {**places.FIELDS, "DNSNames": None}
            for key in ("_interface", "_way"):
                own.pop(key, None)
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
        live = self._of(container)
        everybody = self._networks.containers.all
        live.names = resolving.LiveNames(lambda: resolving.table(container, everybody()))
        server = resolving.server(pid, live.names)
        server.__enter__()
        live.server = server
        self._ask_out(container)

    def _ask_out(self, container: Container) -> None:
        """Who has a way out may ask others for the names that are not ours."""
        server = self._of(container).server
        if server is not None:
            out = any(one.get("_way") for one in container.endpoints.values())
            server.resolvers = tuple(resolving.resolvers(container)) if out else ()

    def tell_names(self, container: Container, left: str = "") -> None:
        """Tell all who share a network with a container that its networks' names are others now."""
        shared = {*container.endpoints, left}
        with self._lock:
            live = dict(self._live)
        for one in self._networks.containers.all():
            if one.id in live and shared & set(one.endpoints) | ({one.id} & {container.id}):
                names = live[one.id].names
                if names is not None:
                    names.stale = True

    def files(self, container: Container) -> None:
        """Write hostname, hosts and resolv.conf; those that are mounted change there too."""
        resolving.write_files(container, self._networks.mode(container), launch.hostname(container),
                              self._networks.containers, rootless=self.rootless)  # fmt: skip

    # --- the engine's beginning and end -----------------------------------------------------------

    def recover(self) -> None:
        """Take away what containers that have ended meanwhile have left."""
        if os.path.exists(self._path):
            self._there(network.sweep, self._ledger())

    def rejoin(self, container: Container) -> None:
        """Hold the ports of a container that ran all the while, and answer its questions again."""
        try:
            live = self._of(container)
            live.held = self._publishing.hold_again(places.published(container))
            self._publishing.lead(live.held, _address_out(container))
            self._serve_names(container, container.state.pid)
            if self._networks.mode(container) == "own":
                self._lead_out()
        except (OSError, errors.LabError):
            pass  # it has ended just now

    def close(self) -> None:
        """Answer no questions any more; containers run on, an ordinary user's without a way out."""
        with self._lock:
            live, self._live = self._live, {}
        for one in live.values():
            self._publishing.release(one.held)
            one.silence()
        self._forwarding.close()
        if os.path.exists(self._path):
            self._there(network.let_go, self._ledger())
        if self._netns is not None:
            self._netns.close(remove=not os.path.exists(self._path))


def _reached() -> list[str]:
    """The subnets that this thread's network namespace reaches."""
    with netlink.Netlink() as here:
        routes = [one.destination for one in here.routes() if one.destination != "default"]
        return routes + [one.address for one in here.addresses()]


def _address_out(container: Container) -> str:
    """Its address in the network by which it goes out; "" without one."""
    found = (str(one["IPAddress"]) for one in container.endpoints.values() if one.get("_way"))
    return next(found, "")


def _write_down(own: Document, made: network.Endpoint, bridge: network.Bridge) -> None:
    """What a container's place in a network is now."""
    six = made.ip6
    own |= {
        "EndpointID": own["EndpointID"] or os.urandom(32).hex(),
        "Gateway": "" if bridge.internal else bridge.gateway,
        "IPAddress": made.ip,
        "IPPrefixLen": ipaddress.ip_network(bridge.subnet).prefixlen,
        "IPv6Gateway": network.gateway6(bridge) if six and not bridge.internal else "",
        "GlobalIPv6Address": six,
        "GlobalIPv6PrefixLen": ipaddress.ip_network(bridge.subnet6).prefixlen if six else 0,
        "MacAddress": made.mac,
        "_interface": made.interface,
    }
