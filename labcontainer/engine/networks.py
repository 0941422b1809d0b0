"""Networks: bridges that containers are on, and the three that are always there.

    bridge   the default one: addresses and a way out, no names
    host     the host's own; none: lo alone
    others   bridges of the user's, on which containers find each other by name

A network is remembered. Its bridge in the kernel is made for the first container, and stays until
the network is removed or the engine ends.
"""

from __future__ import annotations

import ipaddress
import threading

from labcontainer import addresses, errors
from labcontainer.engine import filters, moments, networkspec, places, resolving
from labcontainer.engine.endpoints import Endpoints
from labcontainer.engine.networkspec import BUILT_IN, ForbiddenError
from labcontainer.network import subnet6

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from labcontainer.engine.container import Container
    from labcontainer.engine.containers import Containers
    from labcontainer.engine.events import Events
    from labcontainer.engine.records import Records

    Document = dict[str, Any]
    Filters = Mapping[str, list[str]]

NOT_ALONE = (
    "container sharing network namespace with another container or host cannot be connected to any "
    "other network"
)
NOT_WITH_NONE = (
    "container cannot be connected to multiple networks with one of the networks in private (none) "
    "mode"
)
NOT_HOST = "container cannot be disconnected from host network or connected to host network"
FILTERS = ("dangling", "driver", "id", "label", "name", "scope", "type")


class Networks:
    """The networks of one engine, by id."""

    def __init__(self, records: Records, events: Events, ledger: str, folder: str) -> None:
        self._records, self._events = records, events
        self._lock = threading.RLock()
        self._all: dict[str, Document] = {one["Id"]: one for one in records.all("network")}
        self._places = Endpoints(self, ledger, folder)
        for name, driver in BUILT_IN.items():
            if not any(one["Name"] == name for one in self._all.values()):
                self._add(networkspec.built_in(name, driver))

    @property
    def containers(self) -> Containers:
        """The containers, which the engine makes after the networks."""
        return self._containers

    @containers.setter
    def containers(self, containers: Containers) -> None:
        self._containers = containers

    # --- networks ---------------------------------------------------------------------------------

    def _add(self, made: Document) -> None:
        self._all[made["Id"]] = made
        self._records.save("network", made["Id"], made["Name"], made)

    def find(self, word: str) -> Document:
        """The network of a name, an id, or the beginning of an id.

        Raises:
            NotFoundError: there is none. UsageError: several ids begin so.
        """
        name = "bridge" if word == "default" else word
        with self._lock:
            for one in self._all.values():
                if name in (one["Name"], one["Id"]):
                    return one
            found = [one for one in self._all.values() if word and one["Id"].startswith(word)]
        if len(found) > 1:
            raise errors.UsageError(f"network {word} is ambiguous ({len(found)} matches found)")
        if not found:
            raise errors.NotFoundError(f"network {word} not found")
        return found[0]

    def create(self, asked: Document) -> Document:
        """Make a network.

        Raises:
            ExistsError: the name is taken. UsageError: a value is off.
            ForbiddenError: a subnet overlaps another. NotFoundError: a driver that there is not.
        """
        made = networkspec.of(asked)
        with self._lock:
            if any(one["Name"] == made["Name"] for one in self._all.values()):
                raise errors.ExistsError(f"network with name {made['Name']} already exists")
            self._settle_subnets(made)
            self._add(made)
        self._tell(made, "create")
        return {"Id": made["Id"], "Warning": "" if made["Internal"] else self._places.missing()}

    def _settle_subnets(self, made: Document) -> None:
        """Choose the subnets that were left open; refuse those that overlap another network's."""
        taken = [config["Subnet"] for one in self._all.values() for config in configs(one)]
        taken += self._places.subnets_of_host()
        given = configs(made)
        for config in given:
            subnet = ipaddress.ip_network(config["Subnet"])
            for other in taken:
                there = ipaddress.ip_network(other, strict=False)
                if there.version == subnet.version and there.prefixlen and there.overlaps(subnet):
                    raise ForbiddenError(
                        "invalid pool request: Pool overlaps with other one on this address space"
                    )
        if not any(ipaddress.ip_network(one["Subnet"]).version == 4 for one in given):
            given.insert(0, {"Subnet": addresses.free_subnet(taken, networkspec.POOL)})
        if made["EnableIPv6"] and not any(":" in one["Subnet"] for one in given):
            given.append({"Subnet": subnet6(given[0]["Subnet"])})
        for config in given:
            config.setdefault("Gateway", addresses.gateway(config["Subnet"]))

    def inspect(self, word: str) -> Document:
        """`GET /networks/{id}`."""
        return self.document(self.find(word), containers=True)

    def document(self, network: Document, *, containers: bool = False) -> Document:
        """A network in Docker's shape, with those who are on it."""
        shown = {key: value for key, value in network.items() if not key.startswith("_")}
        if network["Name"] == "bridge":
            shown["IPAM"] = {**network["IPAM"], "Config": self._places.default_config()}
            shown["Options"] = networkspec.DEFAULT_OPTIONS
        shown["Containers"] = self._members(network) if containers else {}
        return shown

    def _members(self, network: Document) -> Document:
        found: Document = {}
        for one in self.containers.all():
            place = one.endpoints.get(network["Name"])
            if place is None or not one.state.running:
                continue
            address = f"{place['IPAddress']}/{place['IPPrefixLen']}" if place["IPAddress"] else ""
            six = place["GlobalIPv6Address"]
            found[one.id] = {
                "Name": one.name,
                "EndpointID": place["EndpointID"],
                "MacAddress": place["MacAddress"],
                "IPv4Address": address,
                "IPv6Address": f"{six}/{place['GlobalIPv6PrefixLen']}" if six else "",
            }
        return found

    def select(self, given: Filters) -> list[Document]:
        """`GET /networks`."""
        filters.check(given, FILTERS)
        for kind in given.get("type", ()):
            if kind not in ("builtin", "custom"):
                raise errors.UsageError(f"invalid filter: 'type'='{kind}'")
        with self._lock:
            return [self.document(one) for one in self._all.values() if self._passes(one, given)]

    def _passes(self, network: Document, given: Filters) -> bool:
        built_in = network["Name"] in BUILT_IN
        kind = "builtin" if built_in else "custom"
        if "dangling" in given:
            unused = not built_in and not self.users(network)
            if unused != filters.is_true(given, "dangling"):
                return False
        return (
            ("name" not in given or any(word in network["Name"] for word in given["name"]))
            and ("id" not in given or any(network["Id"].startswith(one) for one in given["id"]))
            and ("driver" not in given or network["Driver"] in given["driver"])
            and ("scope" not in given or "local" in given["scope"])
            and ("type" not in given or kind in given["type"])
            and filters.labels(network["Labels"], given.get("label", []))
        )

    def users(self, network: Document, *, running: bool = False) -> list[Container]:
        """The containers that are to be on a network, or that are on it now."""
        name = network["Name"]
        return [
            one for one in self.containers.all()
            if (place := one.endpoints.get(name)) is not None
            and (one.state.running or place["EndpointID"] or not running)  # or it is starting
        ]  # fmt: skip

    def remove(self, word: str) -> None:
        """Forget a network.

        Raises:
            ForbiddenError: containers are on it, or it is one that is always there.
        """
        with self._lock:
            network = self.find(word)
            if network["Name"] in BUILT_IN:
                raise ForbiddenError(
                    f"{network['Name']} is a pre-defined network and cannot be removed"
                )
            if users := self.users(network, running=True):
                shown = " ".join(f'name:"{one.name}" id:"{one.id[:12]}"' for one in users)
                raise ForbiddenError(
                    f"error while removing network: network {network['Name']} "
                    f"has active endpoints ({shown})"
                )
            self._delete(network)

    def _delete(self, network: Document) -> None:
        self._places.remove_bridge(network)
        del self._all[network["Id"]]
        self._records.delete("network", network["Id"])
        self._tell(network, "destroy")

    def prune(self, given: Filters) -> Document:
        """Forget networks that no container is to be on."""
        import time

        filters.check(given, ("label", "label!", "until"))
        until = filters.until(given, time.time())
        deleted = []
        with self._lock:
            for one in list(self._all.values()):
                unwanted = given.get("label!")
                if (
                    one["Name"] in BUILT_IN
                    or self.users(one)
                    or (until is not None and moments.moment(one["Created"]) > until)
                    or not filters.labels(one["Labels"], given.get("label", []))
                    or (unwanted and not filters.no_labels(one["Labels"], unwanted))
                ):
                    continue
                self._delete(one)
                deleted.append(one["Name"])
        self._events.tell("network", "prune", "", reclaimed="0")
        return {"NetworksDeleted": deleted or None}

    def _tell(self, network: Document, action: str, **more: str) -> None:
        about = {"name": network["Name"], "type": network["Driver"], **more}
        self._events.tell_all("network", action, network["Id"], about)

    def told(self, network: Document, action: str, container: Container) -> None:
        """A container has come to a network, or has left it."""
        self._tell(network, action, container=container.id)

    # --- of one container -------------------------------------------------------------------------

    def plan(self, config: Document, host: Document, networking: Document) -> dict[str, Document]:
        """The places of a new container, by the names of its networks.

        What is not there yet is missed only at the start, as with Docker: its command takes a 404
        of `create` for a missing image, and would pull that.

        Raises:
            UsageError: words that exclude each other, or a place that its network can't give.
        """
        networkspec.check_mode(config, host)
        places.wanted_ports(host, config["ExposedPorts"])
        mode = host["NetworkMode"]
        given = networking.get("EndpointsConfig") or {}
        if mode.startswith("container:"):
            host["NetworkMode"] = self._shared(mode)
            if given:
                raise errors.UsageError(NOT_ALONE)
            return {}
        self._check_links(host)
        name = "none" if config["NetworkDisabled"] else self._known(mode)["Name"]
        asked = {self._known(word)["Name"]: one for word, one in given.items()}
        if name not in asked and (name not in BUILT_IN or not asked):
            asked = {name: {}, **asked}
        together = {name, *asked}
        if len(together) > 1 and {"host", "none"} & together:
            raise errors.UsageError(NOT_ALONE if "host" in together else NOT_WITH_NONE)
        if config["MacAddress"] and name in asked:
            asked[name] = {"MacAddress": config["MacAddress"], **asked[name]}
        return {one: places.place(self._known(one), words) for one, words in asked.items()}

    def _shared(self, mode: str) -> str:
        """`container:NAME` with its id, if it is there."""
        try:
            return f"container:{self.containers.find(mode.partition(':')[2]).id}"
        except errors.NotFoundError:
            return mode

    def _known(self, word: str) -> Document:
        """A network, or one that may be there when the container is started."""
        try:
            return self.find(word)
        except errors.NotFoundError:
            return networkspec.missing(word)

    def _check_links(self, host: Document) -> None:
        for word in host["Links"] or ():
            name = word.removeprefix("/").partition(":")[0]
            try:
                self.containers.find(name)
            except errors.NotFoundError as error:
                raise errors.UsageError(f"could not get container for {name}: {error}") from None

    def mode(self, container: Container) -> str:
        """ "none", "host", "own" or "container:<id>"."""
        mode = str(container.host["NetworkMode"])
        if mode.startswith("container:") or mode in ("none", "host"):
            return mode
        return "none" if container.config["NetworkDisabled"] else "own"

    def warnings(self, container: Container | None = None) -> list[str]:
        """What this machine lacks for its networks, or for those of one container."""
        missing = self._places.missing()
        concerned = container is None or self.mode(container) == "own"
        return [missing] if missing and concerned else []

    def files(self, container: Container) -> None:
        """Write the container's hostname, hosts and resolv.conf."""
        self._places.files(container)

    def attach(self, container: Container, pid: int) -> None:
        """Connect a container's first process to all of its networks, or to none.

        Raises:
            ExistsError: a port or an address is taken. OSError: the kernel refused a step.
        """
        self._places.attach(container, pid)

    def detach(self, container: Container) -> None:
        """Take back what `attach` did; may be called again."""
        self._places.detach(container)

    def settings(self, container: Container) -> Document:
        """Docker's NetworkSettings."""
        return places.settings(container)

    def ports_list(self, container: Container) -> list[Document]:
        """The ports of a container as the list of containers shows them."""
        return places.ports_list(container)

    def renamed(self, container: Container) -> None:
        """Let the others find a container by its new name."""
        for name, own in container.endpoints.items():
            if own["EndpointID"]:
                own["DNSNames"] = resolving.names_of(container, name) or None
        self._places.tell_names(container)

    def connect(self, word: str, name: str, asked: Document) -> None:
        """Put a container on one more network, at once if it runs.

        Raises:
            UsageError: it shares another's network, or has none. ForbiddenError: it is there.
        """
        network, container = self.find(word), self.containers.find(name)
        with container.lock:
            self._check_connect(network, container)
            container.endpoints[network["Name"]] = places.place(network, asked)
            try:
                if container.state.running:
                    self._places.add(container, network)
            except BaseException as error:
                del container.endpoints[network["Name"]]
                if isinstance(error, FileNotFoundError | ProcessLookupError):
                    raise errors.StateError(f"container {container.id} has just ended") from error
                raise
            self.containers.save(container)

    def _check_connect(self, network: Document, container: Container) -> None:
        mode = self.mode(container)
        if network["Driver"] == "host":
            raise errors.UsageError(NOT_HOST)
        if mode == "host" or mode.startswith("container:"):
            raise errors.UsageError(NOT_ALONE)
        if network["Driver"] == "null" or mode == "none":
            raise errors.UsageError(NOT_WITH_NONE)
        if network["Name"] in container.endpoints:
            raise ForbiddenError(
                f"endpoint with name {container.name} already exists in network {network['Name']}"
            )

    def disconnect(self, word: str, name: str, *, force: bool = False) -> None:
        """Take a container off a network.

        Raises:
            StateError: it is not on it.
        """
        network = self.find(word)
        try:
            container = self.containers.find(name)
        except errors.NotFoundError:
            if force:
                raise errors.NotFoundError(f"endpoint {name} not found") from None
            raise
        if network["Driver"] == "host":
            raise errors.UsageError(NOT_HOST)
        with container.lock:
            if network["Name"] not in container.endpoints:
                raise errors.StateError(
                    f"container {container.id} is not connected to network {network['Name']}"
                )
            if container.state.running:
                self._places.leave(container, network)
            else:
                del container.endpoints[network["Name"]]
            self.containers.save(container)
        self.told(network, "disconnect", container)

    # --- the engine's beginning and end -----------------------------------------------------------

    def recover(self) -> None:
        """Take away what containers that have ended meanwhile have left."""
        self._places.recover()

    def rejoin(self, container: Container) -> None:
        """Hold the ports of a container that ran all the while, and answer its questions again."""
        self._places.rejoin(container)

    def close(self) -> None:
        """Answer no questions any more; what running containers have stays."""
        self._places.close()


def configs(network: Document) -> list[dict[str, str]]:
    """The subnets of a network, as IPAM has them."""
    found: list[dict[str, str]] = network["IPAM"]["Config"]
    return found
