"""/containers: what is asked of them, but for what streams (streams.py) and their files."""

from __future__ import annotations

from labcontainer import errors
from labcontainer.daemon import wire
from labcontainer.daemon.routing import Route

TYPE_CHECKING = False
if TYPE_CHECKING:
    from labcontainer.daemon.call import Call
    from labcontainer.engine.container import Container


def _named(call: Call) -> Container:
    return call.engine.containers.find(call.words["id"])


def list_(call: Call) -> None:
    """GET /containers/json."""
    call.reply(
        call.engine.containers.select(
            every=call.flag("all"),
            limit=call.number("limit"),
            size=call.flag("size"),
            given=call.filters(),
        )
    )


def create(call: Call) -> None:
    """POST /containers/create."""
    if not (call.headers.get("Content-Type") or "").startswith("application/json"):
        raise errors.UsageError("Content-Type specified must be 'application/json'")
    parts = call.body(wire.Create).parts()
    identity, warnings = call.engine.containers.create(
        call.text("name"), *parts, call.text("platform")
    )
    call.reply({"Id": identity, "Warnings": warnings}, 201)


def inspect(call: Call) -> None:
    """GET /containers/{id}/json."""
    call.reply(call.engine.containers.inspect(call.words["id"], size=call.flag("size")))


def start(call: Call) -> None:
    """POST /containers/{id}/start."""
    started = call.engine.containers.lives.start(_named(call))
    call.empty(204 if started else 304)


def _seconds(call: Call) -> int | None:
    return call.number("t") if call.has("t") else None


def stop(call: Call) -> None:
    """POST /containers/{id}/stop."""
    lives = call.engine.containers.lives
    stopped = lives.stop(_named(call), _seconds(call), call.text("signal"))
    call.empty(204 if stopped else 304)


def restart(call: Call) -> None:
    """POST /containers/{id}/restart."""
    call.engine.containers.lives.restart(_named(call), _seconds(call), call.text("signal"))
    call.empty()


def kill(call: Call) -> None:
    """POST /containers/{id}/kill."""
    call.engine.containers.lives.kill(_named(call), call.text("signal") or "KILL")
    call.empty()


def pause(call: Call) -> None:
    """POST /containers/{id}/pause."""
    call.engine.containers.lives.pause(_named(call))
    call.empty()


def unpause(call: Call) -> None:
    """POST /containers/{id}/unpause."""
    call.engine.containers.lives.unpause(_named(call))
    call.empty()


def rename(call: Call) -> None:
    """POST /containers/{id}/rename."""
    call.engine.containers.rename(call.words["id"], call.text("name"))
    call.empty()


def update(call: Call) -> None:
    """POST /containers/{id}/update."""
    changes = call.body(wire.Update).as_dict()
    policy = changes.pop("RestartPolicy")
    call.reply({"Warnings": call.engine.containers.update(call.words["id"], changes, policy)})


def remove(call: Call) -> None:
    """DELETE /containers/{id}."""
    if call.flag("link"):
        raise errors.UnsupportedError("--link", "links are names in a network here", "leave it out")
    call.engine.containers.remove(
        call.words["id"], force=call.flag("force"), volumes=call.flag("v")
    )
    call.empty()


def top(call: Call) -> None:
    """GET /containers/{id}/top."""
    call.reply(call.engine.containers.top(call.words["id"], call.text("ps_args", "-ef")))


def prune(call: Call) -> None:
    """POST /containers/prune."""
    call.reply(call.engine.containers.prune(call.filters()))


ROUTES = (
    Route("GET", "/containers/json", list_),
    Route("POST", "/containers/create", create),
    Route("POST", "/containers/prune", prune),
    Route("GET", "/containers/{id}/json", inspect),
    Route("POST", "/containers/{id}/start", start),
    Route("POST", "/containers/{id}/stop", stop),
    Route("POST", "/containers/{id}/restart", restart),
    Route("POST", "/containers/{id}/kill", kill),
    Route("POST", "/containers/{id}/pause", pause),
    Route("POST", "/containers/{id}/unpause", unpause),
    Route("POST", "/containers/{id}/rename", rename),
    Route("POST", "/containers/{id}/update", update),
    Route("GET", "/containers/{id}/top", top),
    Route("DELETE", "/containers/{id}", remove),
)
