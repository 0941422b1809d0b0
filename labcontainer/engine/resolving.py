"""How a container finds others: its hosts and resolv.conf, and its name server's table.

On a network of the user's own, containers find each other by name, by alias, by the beginning of
their id; on the default bridge only by `--link` and `--add-host`, as with Docker.
"""

from __future__ import annotations

import os
import socket

from labcontainer import errors, nameserver, usernet
from labcontainer.engine import connect
from labcontainer.engine.networkspec import BUILT_IN
from labcontainer.kernel import firewall, netlink
from labcontainer.kernel.firewall import Rule
from labcontainer.network import TABLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from labcontainer.engine.container import Container
    from labcontainer.engine.containers import Containers
    from labcontainer.nameserver import Question

    Document = dict[str, Any]

SERVER = "127.0.0.11"  # Docker's


class LiveNames(nameserver.Names):
    """What one container may ask for; made anew at the first question after a change.

    `stale` is set by whoever changes something: that is cheap, with hundreds of containers too.
    """

    def __init__(self, make: Callable[[], dict[str, list[str]]]) -> None:
        super().__init__()
        self._make = make
        self.stale = True

    def answer(self, question: Question) -> bytes | None:
        """As `Names` does."""
        if self.stale:
            self.stale = False  # before it is made: a change meanwhile sets it again
            self.replace(self._make())
        return super().answer(question)


def has_names(container: Container) -> bool:
    """Whether it is on a network with names."""
    return any(name not in BUILT_IN for name in container.endpoints)


def names_of(container: Container, network: str) -> list[str]:
    """What a container is called on a network; nothing where it is not, or has no name."""
    place = container.endpoints.get(network)  # it may just have left
    if place is None or network in BUILT_IN:
        return []
    aliases = place["Aliases"] or ()
    found = [container.name, *aliases, container.id[:12], container.config["Hostname"]]
    return list(dict.fromkeys(name for name in found if name))


def table(container: Container, everybody: Iterable[Container]) -> dict[str, list[str]]:
    """The names that a container may ask for, each with its addresses."""
    found: dict[str, list[str]] = {}
    for other in everybody:
        for network, place in list(other.endpoints.items()):
            own = container.endpoints.get(network)
            if own is None or not place["IPAddress"]:
                continue
            ips = [ip for ip in (place["IPAddress"], place["GlobalIPv6Address"]) if ip]
            names = names_of(other, network)
            full = [f"{name}.{network}" for name in names]
            for name in (*names, *full, *_links(container, own, other)):
                known = found.setdefault(name.lower(), [])
                known += [ip for ip in ips if ip not in known]
    return found


def _links(container: Container, own: Document, other: Container) -> list[str]:
    """What a container calls another one by its own `--link NAME:ALIAS`; `own` is its place."""
    words = [*(own["Links"] or ()), *(container.host["Links"] or ())]
    pairs = (word.removeprefix("/").partition(":") for word in words)
    return [alias or name for name, _, alias in pairs
            if name in (other.name, other.id, other.id[:12])]  # fmt: skip


def server(pid: int, names: nameserver.Names) -> nameserver.Server:
    """A name server with its sockets in the network namespace of `pid`.

    Port 53 there is the container's own, who may be a name server itself: ours listens on another
    one, to which a rule in that namespace turns what is sent to 127.0.0.11, as Docker does.
    """
    namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        sockets = netlink.call_in(namespace, _listen)
    finally:
        os.close(namespace)
    return nameserver.Server(SERVER, names, sockets=sockets)


def _listen() -> tuple[socket.socket, socket.socket]:
    udp, tcp = nameserver.listen(SERVER, 0)
    to = Rule("output", f"dnat {SERVER}:{udp.getsockname()[1]}", destination=SERVER, port=53)
    try:
        firewall.replace(TABLE, [to.replace(protocol=kind) for kind in ("udp", "tcp")])
    except (OSError, errors.UnsupportedError):  # no NAT in this kernel
        udp.close()
        tcp.close()
        return nameserver.listen(SERVER)
    return udp, tcp


def resolvers(container: Container) -> list[str]:
    """Who is asked for what is not ours: whom the user names, else the host's own."""
    if container.host["Dns"]:
        return list(container.host["Dns"])
    return nameserver.resolvers(connect.host_resolv_conf())


def write_files(
    container: Container, mode: str, hostname: str, containers: Containers, *, rootless: bool
) -> None:
    """Write hostname, hosts and resolv.conf of a container, in their place.

    Who shares another's network shares its files too, also when they change.
    """
    home = container.home
    if mode.startswith("container:"):
        other = containers.find(mode.partition(":")[2])
        for name in ("hostname", "hosts", "resolv.conf"):
            if os.path.lexists(f"{home}/{name}"):
                os.unlink(f"{home}/{name}")
            os.link(f"{other.home}/{name}", f"{home}/{name}")
        return
    _write(f"{home}/hostname", f"{hostname}\n")
    _write(f"{home}/hosts", _hosts(container, mode, hostname, containers))
    _write(f"{home}/resolv.conf", _resolv_conf(container, mode, rootless))


def _hosts(container: Container, mode: str, hostname: str, containers: Containers) -> str:
    places = list(container.endpoints.values())
    gateways = [one["Gateway"] for one in places if one["Gateway"]]
    extra = _extra_hosts(container, "127.0.0.1" if mode == "host" else "".join(gateways[:1]))
    if mode == "host":
        with open("/etc/hosts", errors="surrogateescape") as file:
            return file.read(1 << 20) + "".join(f"{ip}\t{name}\n" for ip, name in extra)
    if "bridge" in container.endpoints:
        extra += _linked(container, containers)
    domain = container.config["Domainname"]
    names = f"{hostname}.{domain} {hostname}" if domain else hostname
    lines = nameserver.hosts("", "", extra)
    return lines + "".join(
        f"{ip}\t{names}\n"
        for one in places
        for ip in (one["IPAddress"], one["GlobalIPv6Address"])
        if ip
    )


def _extra_hosts(container: Container, gateway: str) -> list[tuple[str, str]]:
    """(address, name) of each `--add-host`: NAME:ADDRESS, or NAME=ADDRESS."""
    found = []
    for word in container.host["ExtraHosts"] or ():
        name, mark, rest = word.partition(":")
        if "=" in name or not mark:
            name, _, rest = word.partition("=")
        ip = gateway if rest == "host-gateway" else rest.strip("[]")
        found += [(ip, name)] if ip else []
    return found


def _linked(container: Container, containers: Containers) -> list[tuple[str, str]]:
    """(address, names) of the linked containers on the default bridge.

    Raises:
        StateError: one does not run, or is not there.
    """
    found = []
    for word in container.host["Links"] or ():
        name, _, alias = word.removeprefix("/").partition(":")
        other = containers.find(name)
        if not other.state.running:
            raise errors.StateError(
                f"Cannot link to a non running container: /{other.name} AS "
                f"/{container.name}/{alias or other.name}"
            )
        if "bridge" not in other.endpoints:
            raise errors.StateError(
                f"Cannot link to /{other.name}, as it does not belong to the default network"
            )
        names = (alias or other.name, other.config["Hostname"], other.name)
        words = " ".join(dict.fromkeys(one for one in names if one))
        found.append((other.endpoints["bridge"]["IPAddress"], words))
    return found


def _resolv_conf(container: Container, mode: str, rootless: bool) -> str:
    host, asked = connect.host_resolv_conf(), container.host
    if mode == "host" and not (asked["Dns"] or asked["DnsSearch"]):
        return host
    own = SERVER if has_names(container) and mode == "own" else ""
    if rootless and mode == "own" and not (own or asked["Dns"]):
        own = usernet.RESOLVER  # the host's may be at 127.0.0.1, or where only the host gets
    text = nameserver.resolv_conf(host, own, asked["DnsSearch"])
    lines = text.splitlines()
    if asked["Dns"] and not own:
        lines = [line for line in lines if not line.startswith(("nameserver", "#"))]
        lines = [*(f"nameserver {ip}" for ip in asked["Dns"]), *lines]
    options = list(asked["DnsOptions"])
    if own == SERVER and not any(word.startswith("ndots:") for word in options):
        options.append("ndots:0")
    if options:
        lines = [line for line in lines if not line.startswith("options")]
        lines.append(f"options {' '.join(options)}")
    return "\n".join(lines) + "\n"


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)
    os.chmod(path, 0o644)
