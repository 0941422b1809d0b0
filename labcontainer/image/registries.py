"""Where registries are: addresses, which of them speak plain HTTP, mirrors, certificates.

Asked for in `registries.json`, in labcontainer's own directory or in /etc/labcontainer:

    {"mirrors": {"docker.io": ["http://localhost:5000"]}, "insecure": ["registry.lab:5000"]}

`insecure` registries are spoken to by plain HTTP; this machine's own always are, unless there is a
certificate for them. Certificates stand where Docker has them: /etc/docker/certs.d/HOST/ca.crt.
"""

from __future__ import annotations

import ipaddress
import json
import os

from labcontainer import errors
from labcontainer.image import reference, roots
from labcontainer.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HUB_HOST = "registry-1.docker.io"
CERTIFICATES = "/etc/docker/certs.d"


class Place(Record):
    """One server: its address, the registry's name that credentials go by, and TLS files."""

    url: str
    registry: str
    ca: str = ""
    cert: str = ""
    key: str = ""
    mirror: bool = False


def settings() -> dict[str, Any]:
    """What registries.json says, the user's own before the machine's.

    Raises:
        SpecError: it is no JSON object.
    """
    for folder in (roots.home(), "/etc/labcontainer"):
        path = f"{folder}/registries.json"
        try:
            with open(path, encoding="utf-8") as file:
                found = json.load(file)
        except FileNotFoundError:
            continue
        except ValueError:
            raise errors.SpecError(path, "it is no JSON") from None
        if not isinstance(found, dict):
            raise errors.SpecError(path, "it is no JSON object")
        return found
    return {}


def places(registry: str, *, insecure: bool = False) -> list[Place]:
    """Where to ask for what a registry has: its mirrors, then itself, which is the last."""
    said = settings()
    mirrors = [Place(str(url).rstrip("/"), _host(str(url)), mirror=True)
               for url in (said.get("mirrors") or {}).get(registry, ())]  # fmt: skip
    return [*mirrors, place(registry, insecure=insecure or registry in said.get("insecure", ()))]


def place(registry: str, *, insecure: bool = False) -> Place:
    """The registry itself."""
    host = HUB_HOST if registry == reference.HUB else registry
    folder = f"{CERTIFICATES}/{registry}"
    ca, cert, key = (
        _if_there(f"{folder}/{name}") for name in ("ca.crt", "client.cert", "client.key")
    )
    plain = insecure or (is_local(registry) and not ca)
    return Place(f"{'http' if plain else 'https'}://{host}", registry, ca, cert, key)


def _if_there(path: str) -> str:
    return path if os.path.exists(path) else ""


def _host(url: str) -> str:
    return url.partition("://")[2].partition("/")[0]


def is_local(registry: str) -> bool:
    """Whether a registry is on this machine: only here is plain HTTP nobody's business."""
    host = registry.rpartition(":")[0] if ":" in registry else registry
    if registry.startswith("["):
        host = registry[1:].partition("]")[0]
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
