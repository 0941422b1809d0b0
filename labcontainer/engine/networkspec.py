"""What a network is asked to be: Docker's words for it, each looked at."""

from __future__ import annotations

import ipaddress
import os
import re

from labcontainer import errors
from labcontainer.engine import moments

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Document = dict[str, Any]

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
BRIDGE_NAME = "com.docker.network.bridge.name"
MTU = "com.docker.network.driver.mtu"


def built_in(name: str, driver: str) -> Document:
    """One of the three networks that are always there."""
    return _document(name, driver) | {"Internal": False}


def _document(name: str, driver: str) -> Document:
    return {
        "Name": name,
        "Id": os.urandom(32).hex(),
        "Created": moments.now(),
        "Scope": "local",
        "Driver": driver,
        "EnableIPv4": True,
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
    if driver in ("host", "null"):
        raise errors.UsageError(f'only one instance of "{driver}" network is allowed')
    if driver != "bridge":
        raise errors.NotFoundError(
            f"could not find plugin {driver} in v1 plugin registry: plugin not found"
        )
    if asked.get("ConfigOnly") or asked.get("ConfigFrom", {}).get("Network"):
        raise errors.UnsupportedError(
            "a network of configuration", "it is for swarms", "leave it out"
        )
    ipam = asked.get("IPAM") or {}
    if (ipam.get("Driver") or "default") not in ("default", ""):
        raise errors.UsageError(f"invalid ipam driver: {ipam['Driver']}")
    found = _document(name, driver)
    found |= {
        "EnableIPv6": bool(asked.get("EnableIPv6")),
        "IPAM": {"Driver": "default", "Options": ipam.get("Options") or {},
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
    if MTU in found and not found[MTU].isdecimal():
        raise errors.UsageError(f"invalid MTU {found[MTU]!r}")
    return found


def _config(asked: Document) -> Document:
    """A subnet with its gateway, range and taken addresses."""
    subnet = asked.get("Subnet") or ""
    try:
        network = ipaddress.ip_network(subnet)
    except ValueError as error:
        raise errors.UsageError(
            f'invalid network config: invalid subnet "{subnet}": {error}'
        ) from None
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
        return "lcbr0"
    return str(network["Options"].get(BRIDGE_NAME) or f"br-{network['Id'][:12]}")
