"""A container's places in its networks in Docker's words: what may be asked, and what is shown.

EndpointSettings   of one network: what was asked, and the addresses while it runs
NetworkSettings    of all of them, with the published ports
PortBindings       {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}]}
"""

from __future__ import annotations

import ipaddress
import re

from labcontainer import errors, ports
from labcontainer.engine.networkspec import BUILT_IN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from labcontainer.engine.container import Container

    Document = dict[str, Any]

# What is known only while the container runs.
FIELDS: Document = {"EndpointID": "", "Gateway": "", "IPAddress": "", "IPPrefixLen": 0,
                    "IPv6Gateway": "", "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0,
                    "MacAddress": ""}  # fmt: skip
_MAC = re.compile(r"([0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}")


def place(found: Document, asked: Document) -> Document:
    """A container's place in a network, as Docker's EndpointSettings.

    Raises:
        UsageError: an address that the network does not have, or a word that is none.
    """
    given = asked.get("IPAMConfig") or {}
    words = (given.get(key) for key in ("IPv4Address", "IPv6Address"))
    if found["Id"]:
        _check_addresses(found, [word for word in words if word])
    if asked.get("Aliases") and found["Name"] in BUILT_IN:
        _bad(found, "network-scoped aliases are only supported for user-defined networks")
    mac = asked.get("MacAddress") or ""
    if mac and not _MAC.fullmatch(mac):
        raise errors.UsageError(f"invalid MAC address: {mac}")
    return {
        **FIELDS,
        "IPAMConfig": given or None,
        "Links": asked.get("Links"),
        "Aliases": asked.get("Aliases"),
        "DriverOpts": asked.get("DriverOpts"),
        "MacAddress": "",
        "NetworkID": found["Id"],
        "DNSNames": None,
        "_mac": mac.lower().replace("-", ":"),
    }


def _bad(found: Document, why: str) -> None:
    raise errors.UsageError(
        f"invalid config for network {found['Name']}: invalid endpoint settings:\n{why}"
    )


def _check_addresses(found: Document, words: list[str]) -> None:
    subnets = [ipaddress.ip_network(one["Subnet"]) for one in found["IPAM"]["Config"]]
    if words and found["Name"] in BUILT_IN:
        _bad(found, "user specified IP address is supported on user defined networks only")
    for word in words:
        try:
            address = ipaddress.ip_address(word)
        except ValueError:
            raise errors.UsageError(f"invalid IP address: {word}") from None
        if not found.get("_given"):
            _bad(found, "user specified IP address is supported only when connecting to networks "
                 "with user configured subnets")  # fmt: skip
        if not any(address in subnet for subnet in subnets):
            _bad(found, f"no configured subnet contains IP address {word}")


# --- shown ----------------------------------------------------------------------------------------


def shown(container: Container, name: str) -> Document:
    """One place; the beginning of the id is an alias to clients of an API before 1.45."""
    own = container.endpoints[name]
    found = {key: value for key, value in own.items() if not key.startswith("_")}
    if name not in BUILT_IN:
        found["Aliases"] = [*(own["Aliases"] or ()), container.id[:12]]
    return found


def settings(container: Container) -> Document:
    """Docker's NetworkSettings."""
    main = container.endpoints.get("bridge", FIELDS)
    running = container.state.running
    own = running and not str(container.host["NetworkMode"]).startswith("container:")
    return {
        "Bridge": "",
        "SandboxID": container.id if own else "",
        "SandboxKey": f"/proc/{container.state.pid}/ns/net" if own else "",
        "HairpinMode": False,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": None,
        "SecondaryIPv6Addresses": None,
        "Ports": _ports(container) if running else {},
        **{key: main[key] for key in FIELDS},
        "Networks": {name: shown(container, name) for name in list(container.endpoints)},
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


# --- published ports ------------------------------------------------------------------------------


def wanted_ports(host: Document, exposed: Iterable[str], default_ip: str = "") -> list[ports.Port]:
    """What is to be published; `default_ip` is where a binding without an address goes.

    Raises:
        UsageError: a port is none.
    """
    bindings = host["PortBindings"] or {}
    found = [port for word, places in bindings.items() for port in _bound(word, places, default_ip)]
    if host["PublishAllPorts"]:
        for word in exposed:
            if word not in bindings:
                found += _bound(word, None, default_ip)
    return list(dict.fromkeys(found))


def _bound(word: str, bindings: list[Document] | None, default_ip: str) -> Iterator[ports.Port]:
    for one in bindings or [{}]:
        ip, port = one.get("HostIp") or default_ip, one.get("HostPort") or ""
        where = f"[{ip}]" if ":" in ip else ip
        try:
            yield from ports.parse(f"{where}:{port}:{word}" if ip else f"{port}:{word}")
        except errors.UsageError:
            off = port if port and _is_port(word) else word.partition("/")[0]
            raise errors.UsageError(f'invalid port specification: "{off}"') from None


def _is_port(word: str) -> bool:
    try:
        return bool(ports.parse(word))
    except errors.UsageError:
        return False


def told(held: Iterable[ports.Port]) -> dict[str, list[dict[str, str]]]:
    """Published ports as `inspect` shows them."""
    found: dict[str, list[dict[str, str]]] = {}
    for port in held:
        where = {"HostIp": port.host_ip or "0.0.0.0", "HostPort": str(port.host_port)}
        found.setdefault(f"{port.container_port}/{port.protocol}", []).append(where)
    return found


def published(container: Container) -> list[ports.Port]:
    """The published ports of a container that runs, as they were chosen."""
    return [
        ports.Port(int(word.partition("/")[0]), word.partition("/")[2],
                   int(one["HostPort"]), one["HostIp"])
        for word, places in container.ports.items()
        for one in places
    ]  # fmt: skip
