"""`down`: containers in the reverse order, then networks, and if asked volumes and images."""

from __future__ import annotations

from labcontainer.client.api import Client
from labcontainer.compose import observed, resources, starting
from labcontainer.compose.model import Project
from labcontainer.compose.resources import Tell

LOCAL, ALL = "local", "all"


def down(
    client: Client, project: Project, tell: Tell, *, volumes: bool = False, images: str = "",
    orphans: bool = False, timeout: int | None = None,
) -> None:  # fmt: skip
    """Remove all that the project made.

    `images` is local for those that were built and have no name of their own, or all.

    Raises:
        LabError: something could not be removed.
    """
    there = observed.containers(client, project.name)
    everything = project.enabled(["*"])
    starting.remove(client, everything, there, tell, timeout, volumes=volumes)
    if orphans:
        alone = observed.containers(client, project.name, oneoff=True)
        found = [one for members in alone.values() for one in members]
        for one in (*observed.orphans(everything, there), *found):
            starting.stop_one(client, everything, one, tell, timeout)
            starting.remove_one(client, one, tell, volumes=volumes)
    remove_shared(client, everything, tell, volumes=volumes)
    for name in _images(everything, images):
        resources.remove(client, "Image", name, f"/images/{name}", tell)


def remove_shared(client: Client, project: Project, tell: Tell, *, volumes: bool) -> None:
    """Remove the project's networks and, if asked, its volumes; external ones stay."""
    for one in project.networks.values():
        if not one.external:
            resources.remove(client, "Network", one.name, f"/networks/{one.name}", tell)
    for one in project.volumes.values() if volumes else ():
        if not one.external:
            resources.remove(client, "Volume", one.name, f"/volumes/{one.name}", tell)


def _images(project: Project, which: str) -> list[str]:
    services = project.services.values()
    if which == ALL:
        return sorted({one.image for one in services})
    if which == LOCAL:
        return sorted({one.image for one in services if one.build and not one.get("image")})
    return []
