"""/networks."""

from __future__ import annotations

from typing import Any

from labcontainer.daemon.routing import Route
from labcontainer.daemon.wire import Body

TYPE_CHECKING = False
if TYPE_CHECKING:
    from labcontainer.daemon.call import Call

_NAMES = {"ipam": "IPAM", "enable_ipv6": "EnableIPv6", "enable_ipv4": "EnableIPv4"}


def _name(name: str) -> str:
    return _NAMES.get(name) or "".join(word.capitalize() for word in name.split("_"))


class Create(Body, frozen=True, rename=_name):
    """POST /networks/create."""

    name: str = ""
    driver: str = "bridge"
    scope: str = ""
    enable_ipv4: bool = True
    enable_ipv6: bool = False
    ipam: dict[str, Any] = {}
    internal: bool = False
    attachable: bool = False
    ingress: bool = False
    config_only: bool = False
    config_from: dict[str, str] = {}
    check_duplicate: bool = False
    options: dict[str, str] = {}
    labels: dict[str, str] = {}


class Connect(Body, frozen=True):
    """POST /networks/{id}/connect."""

    container: str = ""
    endpoint_config: dict[str, Any] = {}


class Disconnect(Body, frozen=True):
    """POST /networks/{id}/disconnect."""

    container: str = ""
    force: bool = False


def list_(call: Call) -> None:
    """GET /networks."""
    call.reply(call.engine.networks.select(call.filters()))


def create(call: Call) -> None:
    """POST /networks/create."""
    call.reply(call.engine.networks.create(call.body(Create).as_dict()), 201)


def inspect(call: Call) -> None:
    """GET /networks/{id}."""
    call.reply(call.engine.networks.inspect(call.words["id"]))


def remove(call: Call) -> None:
    """DELETE /networks/{id}."""
    call.engine.networks.remove(call.words["id"])
    call.empty()


def connect(call: Call) -> None:
    """POST /networks/{id}/connect."""
    asked = call.body(Connect)
    call.engine.networks.connect(call.words["id"], asked.container, asked.endpoint_config)
    call.empty(200)


def disconnect(call: Call) -> None:
    """POST /networks/{id}/disconnect."""
    asked = call.body(Disconnect)
    call.engine.networks.disconnect(call.words["id"], asked.container, force=asked.force)
    call.empty(200)


def prune(call: Call) -> None:
    """POST /networks/prune."""
    call.reply(call.engine.networks.prune(call.filters()))


ROUTES = (
    Route("GET", "/networks", list_),
    Route("POST", "/networks/create", create),
    Route("POST", "/networks/prune", prune),
    Route("GET", "/networks/{id}", inspect),
    Route("DELETE", "/networks/{id}", remove),
    Route("POST", "/networks/{id}/connect", connect),
    Route("POST", "/networks/{id}/disconnect", disconnect),
)
