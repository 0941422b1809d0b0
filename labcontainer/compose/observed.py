"""What of a project there is at the daemon, found by labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from labcontainer import errors
from labcontainer.client.api import ApiError, Client
from labcontainer.compose import labels
from labcontainer.compose.model import Dependency, Project, Service, Shared


@dataclass(frozen=True)
class Container:
    """One container of a service; `raw` is what ContainerList says of it."""

    id: str
    name: str
    service: str
    number: int
    state: str
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def labels(self) -> Mapping[str, str]:
        """Its labels."""
        found: Mapping[str, str] = self.raw.get("Labels") or {}
        return found

    @property
    def running(self) -> bool:
        """Whether it has a process, be it frozen."""
        return self.state in ("running", "paused", "restarting")

    @property
    def short_name(self) -> str:
        """Its name without the project's, as a log's prefix has it."""
        return self.name.removeprefix(f"{self.labels.get(labels.PROJECT, '')}-")


Containers = dict[str, list[Container]]


def containers(client: Client, project: str, *, oneoff: bool = False) -> Containers:
    """The project's containers by service, in the order of their numbers.

    `oneoff` are those that `run` has made: they are listed alone.
    """
    asked = [f"{labels.PROJECT}={project}", f"{labels.ONEOFF}={oneoff}"]
    found: Containers = {}
    for one in client.get("/containers/json", all=True, filters={"label": asked}):
        container = of(one)
        found.setdefault(container.service, []).append(container)
    for members in found.values():
        members.sort(key=lambda one: (one.number, one.name))
    return dict(sorted(found.items()))


def of(raw: Mapping[str, Any]) -> Container:
    """A container of ContainerList."""
    known = raw.get("Labels") or {}
    number = known.get(labels.NUMBER, "0")
    name = next((one.lstrip("/") for one in raw["Names"] if one.count("/") == 1), raw["Id"][:12])
    return Container(
        raw["Id"], name, known.get(labels.SERVICE, ""), int(number) if number.isdecimal() else 0,
        raw["State"], raw,
    )  # fmt: skip


def orphans(project: Project, found: Containers) -> list[Container]:
    """Containers of services that the files no longer have."""
    known = {*project.services, *project.disabled}
    return [one for name, members in found.items() if name not in known for one in members]


def project(client: Client, name: str) -> Project:
    """A project without its files, as far as its containers, networks and volumes tell.

    Raises:
        NotFoundError: nothing at the daemon belongs to it.
    """
    found = containers(client, name)
    services = {key: _service(members[0]) for key, members in found.items() if key}
    asked = {"label": [f"{labels.PROJECT}={name}"]}
    networks = _shared(client.get("/networks", filters=asked), labels.NETWORK)
    volumes = _shared(client.get("/volumes", filters=asked).get("Volumes") or (), labels.VOLUME)
    if not (services or networks or volumes):
        raise errors.NotFoundError(f"no configuration file provided, and no project {name!r} runs")
    return Project(name, "", (), services, networks, volumes)


def _service(one: Container) -> Service:
    dependencies = []
    for word in filter(None, one.labels.get(labels.DEPENDS_ON, "").split(",")):
        name, condition, restart = (*word.split(":"), "", "")[:3]
        dependencies.append(Dependency(name, condition, False, restart == "true"))
    return Service(one.service, {}, str(one.raw.get("Image", "")), 1, tuple(dependencies))


def _shared(found: Iterable[Mapping[str, Any]], label: str) -> dict[str, Shared]:
    return {
        key: Shared(key, one["Name"])
        for one in found
        if (key := (one.get("Labels") or {}).get(label))
    }


def state(client: Client, identity: str) -> dict[str, Any] | None:
    """A container's State; None when it is gone."""
    try:
        found: dict[str, Any] = client.get(f"/containers/{identity}/json")["State"]
    except ApiError as error:
        if error.status != 404:
            raise
        return None
    return found


def image_id(client: Client, name: str) -> str:
    """The id of an image; "" when the daemon has none of that name."""
    try:
        return str(client.get(f"/images/{name}/json")["Id"])
    except ApiError as error:
        if error.status != 404:
            raise
        return ""
