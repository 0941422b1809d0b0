"""A container in the shapes of the API: `inspect`, a line of `ps`, and the filters of the list."""

from __future__ import annotations

from labcontainer import errors
from labcontainer.engine import ancestry, filters, moments, usage
from labcontainer.engine import container as states
from labcontainer.engine.container import Container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from labcontainer.engine.engine import Engine

    Document = dict[str, Any]
    Filters = Mapping[str, list[str]]

FILTERS = ("ancestor before expose exited health id is-task isolation label name network publish "
           "since status volume").split()  # fmt: skip
STATES = (states.CREATED, states.RUNNING, states.PAUSED, states.RESTARTING, states.EXITED,
          states.REMOVING, states.DEAD)  # fmt: skip
HEALTHS = ("none", "starting", "healthy", "unhealthy")


def inspect(engine: Engine, container: Container, *, size: bool = False) -> Document:
    """`GET /containers/{id}/json`."""
    home = container.home
    found: Document = {
        "Id": container.id,
        "Created": container.created,
        "Path": container.program,
        "Args": container.args,
        "State": container.state.document(),
        "Image": container.image_id,
        "ResolvConfPath": f"{home}/resolv.conf",
        "HostnamePath": f"{home}/hostname",
        "HostsPath": f"{home}/hosts",
        "LogPath": container.log_path,
        "Name": f"/{container.name}",
        "RestartCount": container.restart_count,
        "Driver": "overlay2",
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": engine.execs.of(container) or None,
        "HostConfig": container.host,
        "GraphDriver": graph_driver(container),
        "Mounts": mounts(container),
        "Config": container.config,
        "NetworkSettings": engine.networks.settings(container),
    }
    if size:
        found |= sizes(engine, container)
    return found


def graph_driver(container: Container) -> Document:
    """Where its files are."""
    home = container.home
    return {
        "Name": "overlay2",
        "Data": {
            "LowerDir": ":".join((f"{home}/init", *container.lowers)),
            "MergedDir": f"{home}/root",
            "UpperDir": f"{home}/upper",
            "WorkDir": f"{home}/work",
        },
    }


def mounts(container: Container) -> list[Document]:
    """Its mount points, without what the engine keeps for itself; tmpfs of --tmpfs is not shown."""
    return [
        {key: value for key, value in one.items() if not key.startswith("_")}
        for one in container.mounts
        if not one.get("_hidden")
    ]


def sizes(engine: Engine, container: Container) -> Document:
    """Bytes that it wrote, and bytes of all its files."""
    own = usage.of_directory(f"{container.home}/upper")
    return {"SizeRw": own, "SizeRootFs": own + ancestry.size(engine.store, container.image_id)}


def summary(
    engine: Engine, container: Container, names: ancestry.Names, *, size: bool = False
) -> Document:
    """An entry of `GET /containers/json`."""
    found: Document = {
        "Id": container.id,
        "Names": [f"/{container.name}"],
        "Image": names.shown(container),
        "ImageID": container.image_id,
        "Command": command(container),
        "Created": int(moments.moment(container.created)),
        "Ports": engine.networks.ports_list(container),
        "Labels": container.labels,
        "State": container.state.status,
        "Status": status(container.state),
        "HostConfig": {"NetworkMode": container.host["NetworkMode"] or "default"},
        "NetworkSettings": {"Networks": engine.networks.settings(container)["Networks"]},
        "Mounts": mounts(container),
    }
    if container.host["Annotations"]:
        found["HostConfig"]["Annotations"] = container.host["Annotations"]
    if size:
        found |= sizes(engine, container)
    return found


def command(container: Container) -> str:
    """Program and words in one line, quoted where they need it."""
    words = [container.program, *(f"'{one}'" if " " in one else one for one in container.args)]
    return " ".join(words)


def status(state: states.State) -> str:
    """How it stands in Docker's words: `Up 5 minutes (healthy)`."""
    if state.status in (states.RUNNING, states.PAUSED):
        told = f"Up {moments.ago(moments.moment(state.started_at))}"
        if state.status == states.PAUSED:
            return f"{told} (Paused)"
        if state.health is not None:
            health = state.health["Status"]
            return f"{told} ({'health: starting' if health == 'starting' else health})"
        return told
    if state.status == states.RESTARTING:
        return f"Restarting ({state.exit_code}) {_ago(state.finished_at)}"
    if state.status == states.EXITED:
        return f"Exited ({state.exit_code}) {_ago(state.finished_at)}"
    return {states.CREATED: "Created", states.REMOVING: "Removal In Progress"}.get(
        state.status, "Dead"
    )


def _ago(text: str) -> str:
    return f"{moments.ago(moments.moment(text))} ago" if text != moments.NEVER else "ago"


# --- the filters of the list ----------------------------------------------------------------------


def check_filters(given: Filters) -> None:
    """Refuse filters and values that there are not.

    Raises:
        UsageError: one of them.
    """
    filters.check(given, FILTERS)
    for value in given.get("status", ()):
        if value not in STATES:
            raise errors.UsageError(
                f"invalid filter 'status={value}': must be one of {', '.join(STATES)}"
            )
    for value in given.get("health", ()):
        if value not in HEALTHS:
            raise errors.UsageError(f"invalid filter 'health={value}'")
    for value in given.get("exited", ()):
        if not value.lstrip("-").isdecimal():
            raise errors.UsageError(f"invalid filter 'exited={value}'")


def passes(names: ancestry.Names, container: Container, given: Filters) -> bool:
    """Whether a container passes all filters but `before` and `since`."""
    return all(_TESTS[name](names, container, values)
               for name, values in given.items() if name in _TESTS)  # fmt: skip


def _name(_names: ancestry.Names, container: Container, values: list[str]) -> bool:
    """A regular expression, as Docker has it, on the name with and without its slash."""
    import re

    try:
        return any(re.search(value, text) for value in values
                   for text in (container.name, f"/{container.name}"))  # fmt: skip
    except re.error as error:
        raise errors.UsageError(f"invalid filter 'name={values[0]}': {error}") from None


def _exited(_names: ancestry.Names, container: Container, values: list[str]) -> bool:
    state = container.state
    ended = not state.running and state.started_at != moments.NEVER
    return ended and str(state.exit_code) in values


def _health(_names: ancestry.Names, container: Container, values: list[str]) -> bool:
    health = container.state.health
    return (health["Status"] if health else "none") in values


def _ancestor(names: ancestry.Names, container: Container, values: list[str]) -> bool:
    return any(names.is_ancestor(value, container) for value in values)


def _volume(_names: ancestry.Names, container: Container, values: list[str]) -> bool:
    found = {str(one.get(key, "")) for one in container.mounts
             for key in ("Name", "Source", "Destination")}  # fmt: skip
    return any(value in found or value.rstrip("/") in found for value in values)


def _network(_names: ancestry.Names, container: Container, values: list[str]) -> bool:
    return any(
        value == name or (value and str(place.get("NetworkID", "")).startswith(value))
        for name, place in list(container.endpoints.items())
        for value in values
    )


def _ports(field: str) -> Callable[[ancestry.Names, Container, list[str]], bool]:
    """Ports that are published, or exposed: `80`, `80/udp`, `8000-8010/tcp`."""

    def test(_names: ancestry.Names, container: Container, values: list[str]) -> bool:
        exposed = set(container.config["ExposedPorts"] or ()) | set(container.host["PortBindings"])
        have = exposed if field == "expose" else set(container.host["PortBindings"])
        return any(have & set(_range(value)) for value in values)

    return test


def _range(word: str) -> list[str]:
    numbers, _, protocol = word.partition("/")
    first, _, last = numbers.partition("-")
    if not first.isdecimal() or (last and not last.isdecimal()):
        raise errors.UsageError(f"invalid filter: {word!r} is no port")
    ports = range(int(first), min(int(last or first), 65535) + 1)
    return [f"{port}/{protocol or 'tcp'}" for port in ports]


_TESTS: dict[str, Callable[[ancestry.Names, Container, list[str]], bool]] = {
    "id": lambda _names, one, values: any(one.id.startswith(value) for value in values),
    "name": _name,
    "label": lambda _names, one, values: filters.labels(one.labels, values),
    "status": lambda _names, one, values: one.state.status in values,
    "exited": _exited,
    "health": _health,
    "ancestor": _ancestor,
    "volume": _volume,
    "network": _network,
    "publish": _ports("publish"),
    "expose": _ports("expose"),
    "is-task": lambda _names, _one, values: not filters.is_true({"is-task": values}, "is-task"),
}
