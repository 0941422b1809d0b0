"""What this engine does not have, told as Docker does where it is off: swarm, plugins."""

from __future__ import annotations

from labcontainer import errors
from labcontainer.daemon.routing import Route

TYPE_CHECKING = False
if TYPE_CHECKING:
    from labcontainer.daemon.call import Call

NO_SWARM = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect '
    "this node to swarm and try again."
)


class NoSwarmError(errors.LabError):
    """There is no swarm: 503, as Docker has it."""


def no_swarm(_call: Call) -> None:
    """Every call about a swarm's nodes and services."""
    raise NoSwarmError(NO_SWARM)


def no_swarm_here(_call: Call) -> None:
    """Making a swarm, or joining one."""
    raise errors.UnsupportedError("swarm", "this engine is of one machine", "use Compose")


def no_plugins(call: Call) -> None:
    """The list of plugins."""
    call.reply([])


def no_such_plugin(call: Call) -> None:
    """A plugin by its name."""
    raise errors.NotFoundError(f'plugin "{call.words["name"]}" not found')


def no_sessions(_call: Call) -> None:
    """BuildKit's connection back to the client."""
    raise errors.UnsupportedError(
        "BuildKit", "this engine has the classic builder", "set DOCKER_BUILDKIT=0"
    )


_SWARM = ("/swarm", "/swarm/unlockkey", "/nodes", "/nodes/{id}", "/services", "/services/{id}",
          "/services/{id}/logs", "/tasks", "/tasks/{id}", "/tasks/{id}/logs", "/secrets",
          "/secrets/{id}", "/configs", "/configs/{id}")  # fmt: skip
_SWARM_POST = ("/swarm/leave", "/swarm/update", "/swarm/unlock", "/nodes/{id}/update",
               "/services/create", "/services/{id}/update", "/secrets/create",
               "/secrets/{id}/update", "/configs/create", "/configs/{id}/update")  # fmt: skip
_SWARM_DELETE = ("/nodes/{id}", "/services/{id}", "/secrets/{id}", "/configs/{id}")

ROUTES = (
    *(Route("GET", path, no_swarm) for path in _SWARM),
    *(Route("POST", path, no_swarm) for path in _SWARM_POST),
    *(Route("DELETE", path, no_swarm) for path in _SWARM_DELETE),
    Route("POST", "/swarm/init", no_swarm_here),
    Route("POST", "/swarm/join", no_swarm_here),
    Route("GET", "/plugins", no_plugins),
    Route("GET", "/plugins/privileges", no_plugins),
    Route("GET", "/plugins/{name*}/json", no_such_plugin),
    Route("POST", "/plugins/{name*}/{verb}", no_such_plugin),
    Route("DELETE", "/plugins/{name*}", no_such_plugin),
    Route("POST", "/session", no_sessions),
    Route("POST", "/grpc", no_sessions),
)
