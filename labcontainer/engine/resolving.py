"""How a container finds others: its hosts and resolv.conf, and its name server's table.

On a network of the user's own, containers find each other by name, by alias, by the beginning of
their id; on the default bridge only by `--link` and `--add-host`, as with Docker.
"""

from __future__ import annotations

import os
import socket

from labcontainer import nameserver
from labcontainer.engine import connect
from labcontainer.kernel import netlink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from labcontainer.engine.container import Container
    from labcontainer.engine.containers import Containers

    Document = dict[str, Any]

SERVER = "127.0.0.11"  # Docker's
UNNAMED = ("bridge", "host", "none")


def has_names(container: Container) -> bool:
    """Whether it is on a network with names."""
    return any(name not in UNNAMED for name in container.endpoints)


def names_of(container: Container, own: Document) -> list[str]:
    """What a container is called on a network."""
    found = [container.name, *(own["Aliases"] or ()), container.id[:12]]
    hostname = container.config["Hostname"]
    return list(dict.fromkeys([*found, *([hostname] if hostname else [])]))


def table(container: Container, everybody: Iterable[Container]) -> dict[str, list[str]]:
    """The names that a container may ask for, each with its addresses."""
    found: dict[str, list[str]] = {}
    for other in everybody:
        for network, place in other.endpoints.items():
            if network not in container.endpoints or not place["IPAddress"]:
                continue
            ips = [ip for ip in (place["IPAddress"], place["GlobalIPv6Address"]) if ip]
            names = names_of(other, place) if network not in UNNAMED else []
            for name in (*names, *_links(container, network, other)):
                known = found.setdefault(name, [])
                known += [ip for ip in ips if ip not in known]
                full = f"{name}.{network}"
                if network not in UNNAMED:
                    found.setdefault(full, list(ips))
    return found


def _links(container: Container, network: str, other: Container) -> list[str]:
    """What a container calls another one by its own `--link NAME:ALIAS`."""
    words = [*(container.endpoints[network]["Links"] or ()), *(container.host["Links"] or ())]
    pairs = (word.removeprefix("/").partition(":") for word in words)
    return [alias or name for name, _, alias in pairs
            if name in (other.name, other.id, other.id[:12])]  # fmt: skip


def server(container: Container, pid: int, names: dict[str, list[str]]) -> nameserver.Server:
    """The container's name server, with its sockets in the namespace of `pid`."""
    namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    made: list[socket.socket] = []

    def listen() -> int:
        made.extend(nameserver.listen(SERVER))
        return 0

    try:
        netlink.open_in(namespace, listen)
    finally:
        os.close(namespace)
    return nameserver.Server(
        SERVER, nameserver.Names(names), resolvers(container), sockets=(made[0], made[1])
    )


def resolvers(container: Container) -> list[str]:
    """Who is asked for what is not ours: whom the user names, else the host's own."""
    if container.host["Dns"]:
        return list(container.host["Dns"])
    return nameserver.resolvers(connect.host_resolv_conf())


def write_files(container: Container, mode: str, hostname: str, containers: Containers) -> None:
    """Write hostname, hosts and resolv.conf of a container, in their place."""
    home = container.home
    if mode.startswith("container:"):
        other = containers.find(mode.partition(":")[2])
        for name in ("hostname", "hosts", "resolv.conf"):
            with open(f"{other.home}/{name}") as file:
                _write(f"{home}/{name}", file.read())
        return
    _write(f"{home}/hostname", f"{hostname}\n")
    _write(f"{home}/hosts", _hosts(container, mode, hostname, containers))
    _write(f"{home}/resolv.conf", _resolv_conf(container, mode))


def _hosts(container: Container, mode: str, hostname: str, containers: Containers) -> str:
    places = list(container.endpoints.values())
    gateway = "127.0.0.1" if mode == "host" else next((one["Gateway"] for one in places), "")
    extra: list[tuple[str, str]] = []
    for word in container.host["ExtraHosts"] or ():
        separator = "=" if "=" in word and word.find("=") < (word.find(":") % 10**6) else ":"
        name, _, ip = word.partition(separator)
        ip = gateway if ip == "host-gateway" else ip.strip("[]")
        extra += [(ip, name)] if ip else []
    if "bridge" in container.endpoints:
        linked = table_of_links(container, containers.all())
        extra += [(ip, name) for name, ip in linked]
    if mode == "host":
        return nameserver.hosts("", "", extra) + f"127.0.1.1\t{hostname}\n"
    domain = container.config["Domainname"]
    names = f"{hostname}.{domain} {hostname}" if domain else hostname
    lines = nameserver.hosts("", "", extra)
    return lines + "".join(
        f"{ip}\t{names}\n"
        for one in places
        for ip in (one["IPAddress"], one["GlobalIPv6Address"])
        if ip
    )


def table_of_links(container: Container, everybody: Iterable[Container]) -> list[tuple[str, str]]:
    """(name, address) of the linked containers on the default bridge."""
    found = []
    for other in everybody:
        place = other.endpoints.get("bridge")
        if place is not None and place["IPAddress"]:
            names = _links(container, "bridge", other)
            names += [other.name] if names else []
            found += [(name, place["IPAddress"]) for name in dict.fromkeys(names)]
    return found


def _resolv_conf(container: Container, mode: str) -> str:
    host, asked = connect.host_resolv_conf(), container.host
    if mode == "host" and not (asked["Dns"] or asked["DnsSearch"]):
        return host
    own = SERVER if has_names(container) and mode == "own" else ""
    text = nameserver.resolv_conf(host, own, asked["DnsSearch"])
    lines = text.splitlines()
    if asked["Dns"] and not own:
        lines = [line for line in lines if not line.startswith(("nameserver", "#"))]
        lines = [*(f"nameserver {ip}" for ip in asked["Dns"]), *lines]
    options = [*asked["DnsOptions"], *(["ndots:0"] if own else [])]
    if options:
        lines = [line for line in lines if not line.startswith("options")]
        lines.append(f"options {' '.join(options)}")
    return "\n".join(lines) + "\n"


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)
    os.chmod(path, 0o644)
