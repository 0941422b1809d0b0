"""/volumes."""

from __future__ import annotations

from typing import Any

from labcontainer.daemon.routing import Route
from labcontainer.daemon.wire import Body

TYPE_CHECKING = False
if TYPE_CHECKING:
    from labcontainer.daemon.call import Call


class Create(Body, frozen=True):
    """POST /volumes/create."""

    name: str = ""
    driver: str = "local"
    driver_opts: dict[str, str] = {}
    labels: dict[str, str] = {}
    cluster_volume_spec: dict[str, Any] | None = None


def list_(call: Call) -> None:
    """GET /volumes."""
    call.reply(call.engine.volumes.select(call.filters()))


def create(call: Call) -> None:
    """POST /volumes/create."""
    call.reply(call.engine.volumes.create(call.body(Create).as_dict()), 201)


def inspect(call: Call) -> None:
    """GET /volumes/{name}."""
    call.reply(call.engine.volumes.inspect(call.words["name"]))


def remove(call: Call) -> None:
    """DELETE /volumes/{name}."""
    call.engine.volumes.remove(call.words["name"], force=call.flag("force"))
    call.empty()


def prune(call: Call) -> None:
    """POST /volumes/prune: since 1.42 only those without a name, unless all are asked for."""
    anonymous = call.version >= (1, 42)
    call.reply(call.engine.volumes.prune(call.filters(), only_anonymous=anonymous))


ROUTES = (
    Route("GET", "/volumes", list_),
    Route("POST", "/volumes/create", create),
    Route("POST", "/volumes/prune", prune),
    Route("GET", "/volumes/{name}", inspect),
    Route("DELETE", "/volumes/{name}", remove),
)
