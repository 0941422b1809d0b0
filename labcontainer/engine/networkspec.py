"""What a network is asked to be: Docker's words for it, each looked at."""

from __future__ import annotations

import ipaddress
import os
import re

from labcontainer import errors
from labcontainer.engine import moments
from labcontainer.network import Bridge

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Document = dict[str, Any]

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
BUILT_IN = {"bridge": "bridge", "host": "host", "none": "null"}
BRIDGE_NAME = "com.docker.network.bridge.name"
MTU = "com.docker.network.driver.mtu"
HOST_IP = "com.docker.network.bridge.host_binding_ipv4"
ICC, MASQUERADE = (f"com.docker.network.bridge.enable_{word}" for word in ("icc", "ip_masquerade"))
_TRUE, _FALSE = ("1", "t", "T", "TRUE", "true", "True"), ("0", "f", "F", "FALSE", "false", "False")
WITH_LINKS = (
    "container type network can't be used with links. This would result in undefined behavior"
)
DEFAULT_BRIDGE = "lcbr0"
DEFAULT_OPTIONS = {
    "com.docker.network.bridge.default_bridge": "true",
    ICC: "true",
    MASQUERADE: "true",
    HOST_IP: "0.0.0.0",
    BRIDGE_NAME: DEFAULT_BRIDGE,
}
# The upper half of the pool: the default bridge, which is made when it is needed, takes from below.
POOL = "10.231.128.0/17"


class ForbiddenError(errors.LabError):
    """What Docker does not let anybody do, however it is asked: 403."""


def built_in(name: str, driver: str) -> Document:
    """One of the three networks that are always there."""
    return _document(name, driver) | {"Internal": False}


def missing(name: str) -> Document:
    """What stands for a network that is not there, in a container's plans."""
    return _document(name, "bridge") | {"Id": "", "_given": True}


def _document(name: str, driver: str) -> Document:
    return {
        "Name": name,
        "Id": os.urandom(32).hex(),
        "Created": moments.now(),
        "Scope": "local",
        "Driver": driver,
        "EnableIPv6": False,
        "IPAM": {"Driver": "default", "Options": None, "Config": []},
        "Internal": False,
        "Attachable": False,
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Options": {},
        "Labels": {},
    }


def of(asked: Document) -> Document:
    """A new network as it is remembered; subnets may be left open.

    Raises:
        UsageError: a value is off. NotFoundError: a driver that there is not.
    """
    name, driver = asked["Name"], asked.get("Driver") or "bridge"
    if not name or not _NAME.fullmatch(name):
        raise errors.UsageError(
            f"invalid network name: {name!r}" if name else "invalid name: name is empty"
        )
    if name in BUILT_IN:
        raise ForbiddenError(f"operation is not permitted on predefined {name} network")
    if driver in ("host", "null"):
        raise ForbiddenError(f'only one instance of "{driver}" network is allowed')
    if driver != "bridge":
        raise errors.NotFoundError(f'plugin "{driver}" not found')
    if asked.get("ConfigOnly") or asked.get("ConfigFrom", {}).get("Network"):
        raise errors.UnsupportedError(
            "a network of configuration", "it is for swarms", "leave it out"
        )
    ipam = asked.get("IPAM") or {}
    if (ipam.get("Driver") or "default") not in ("default", ""):
        raise errors.NotFoundError(f'plugin "{ipam["Driver"]}" not found')
    found = _document(name, driver)
    found |= {
        "EnableIPv6": bool(asked.get("EnableIPv6")),
        "IPAM": {"Driver": "default", "Options": ipam.get("Options"),
                 "Config": [_config(one) for one in ipam.get("Config") or ()]},
        "Internal": bool(asked.get("Internal")),
        "Attachable": bool(asked.get("Attachable")),
        "Options": _options(asked.get("Options") or {}),
        "Labels": asked.get("Labels") or {},
    }  # fmt: skip
    six = [one for one in found["IPAM"]["Config"] if ":" in one["Subnet"]]
    if six and not found["EnableIPv6"]:
        found["EnableIPv6"] = True
    found["_given"] = bool(found["IPAM"]["Config"])
    return found


def _options(found: dict[str, str]) -> dict[str, str]:
    link = found.get(BRIDGE_NAME, "")
    if len(link) > 15 or "/" in link or any(letter.isspace() for letter in link):
        raise errors.UsageError(f"invalid bridge name {link!r}: at most 15 letters")
    for name in (ICC, MASQUERADE):
        if found.get(name, "true") not in (*_TRUE, *_FALSE):
            why = f'strconv.ParseBool: parsing "{found[name]}": invalid syntax'
            raise errors.UsageError(f"failed to parse {name} value: {found[name]} ({why})")
    if MTU in found and not (found[MTU].isascii() and found[MTU].isdecimal()):
        why = f'strconv.Atoi: parsing "{found[MTU]}": invalid syntax'
        raise errors.UsageError(f"failed to parse {MTU} value: {found[MTU]} ({why})")
    if HOST_IP in found:
        try:
            ipaddress.IPv4Address(found[HOST_IP])
        except ValueError:
            why = f"failed to parse {HOST_IP} value: {found[HOST_IP]} (nil ip)"
            raise errors.UsageError(why) from None
    return found


def _config(asked: Document) -> Document:
    """A subnet with its gateway, range and taken addresses."""
    subnet = asked.get("Subnet") or ""
    try:
        network = ipaddress.ip_network(subnet)
    except ValueError as error:
        if "host bits" in str(error):
            right = ipaddress.ip_network(subnet, strict=False)
            raise errors.UsageError(f"invalid subnet {subnet}: it should be {right}") from None
        raise errors.UsageError(f"invalid subnet {subnet}: invalid CIDR block notation") from None
    found: Document = {"Subnet": str(network)}
    if gateway := asked.get("Gateway"):
        found["Gateway"] = _inside(network, str(gateway).partition("/")[0], "gateway")
    if scope := asked.get("IPRange"):
        try:
            part = ipaddress.ip_network(scope, strict=False)
        except ValueError as error:
            raise errors.UsageError(f"invalid network config: invalid ip-range: {error}") from None
        if part[0] not in network or part[-1] not in network:
            raise errors.UsageError(f"invalid network config: ip-range {scope} is not in {subnet}")
        found["IPRange"] = str(part)
    if taken := asked.get("AuxiliaryAddresses") or asked.get("AuxAddress"):
        found["AuxiliaryAddresses"] = {
            name: _inside(network, address, "auxiliary address") for name, address in taken.items()
        }
    return found


def _inside(network: Any, word: str, what: str) -> str:
    try:
        address = ipaddress.ip_address(word)
    except ValueError:
        raise errors.UsageError(f"invalid network config: invalid {what} {word!r}") from None
    if address not in network:
        raise errors.UsageError(f"invalid network config: no matching subnet for {what} {word}")
    return str(address)


def link_of(network: Document) -> str:
    """The name of a network's bridge in the kernel: at most 15 letters."""
    if network["Name"] == "bridge":
        return DEFAULT_BRIDGE
    return str(network["Options"].get(BRIDGE_NAME) or f"lc-{network['Id'][:12]}")


def bridge_of(network: Document) -> Bridge:
    """A network's bridge, as the kernel is to have it."""
    subnets = network["IPAM"]["Config"]
    four: Document = next((one for one in subnets if ":" not in one["Subnet"]), {})
    six: Document = next((one for one in subnets if ":" in one["Subnet"]), {})
    reserved = [one for each in (four, six) for one in each.get("AuxiliaryAddresses", {}).values()]
    return Bridge(
        name=link_of(network),
        subnet=four.get("Subnet", ""),
        gateway=four.get("Gateway", ""),
        ip_range=four.get("IPRange", ""),
        reserved=tuple(reserved),
        subnet6=six.get("Subnet", ""),
        gateway6=six.get("Gateway", ""),
        mtu=int(network["Options"].get(MTU, 0)),
        internal=network["Internal"],
        masquerade=network["Options"].get(MASQUERADE) not in _FALSE,
        icc=network["Options"].get(ICC) not in _FALSE,
    )


def check_mode(config: Document, host: Document) -> None:
    """Refuse what a shared network excludes.

    Raises:
        UsageError: two words exclude each other.
    """
    mode = host["NetworkMode"]
    if mode == "host" and host["Links"]:
        why = WITH_LINKS.replace("container type network", "host type networking")
        raise errors.UsageError(f"conflicting options: {why}")
    if not mode.startswith("container:"):
        return
    if mode == "container:":
        raise errors.UsageError("invalid container format container:<name|id>")
    for given, why in (
        (config["Hostname"], "hostname and the network mode"),
        (host["Links"], WITH_LINKS),
        (host["Dns"], "dns and the network mode"),
        (host["ExtraHosts"], "custom host-to-IP mapping and the network mode"),
        (config["MacAddress"], "mac-address and the network mode"),
        (host["PortBindings"] or host["PublishAllPorts"],
         "port publishing and the container type network mode"),
        (config["ExposedPorts"], "port exposing and the container type network mode"),
    ):  # fmt: skip
        if given:
            raise errors.UsageError(f"conflicting options: {why}")
