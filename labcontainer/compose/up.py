"""`up` and `create`: images, networks, volumes, then containers, as plan.py says.

with Happenings(client, project.name) as happenings:
    made = up.create(client, project, tell, Asked())
    starting.start(client, project, made.there, happenings, tell, made.anew)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from labcontainer.client.api import Client
from labcontainer.compose import images, observed, resources, starting
from labcontainer.compose import plan as planning
from labcontainer.compose.converge import Converge
from labcontainer.compose.model import Project
from labcontainer.compose.observed import Containers
from labcontainer.compose.plan import Action, Wishes
from labcontainer.compose.resources import Tell


@dataclass(frozen=True)
class Asked:
    """The flags of `up` and `create`; `timeout` in seconds is for stopping what is replaced."""

    wishes: Wishes = field(default_factory=Wishes)
    build: bool = False
    no_build: bool = False
    pull: str = ""
    quiet_build: bool = False
    quiet_pull: bool = False
    remove_orphans: bool = False
    ignore_orphans: bool = False
    renew_volumes: bool = False
    timeout: int | None = None


@dataclass(frozen=True)
class Made:
    """The project's containers, and the services of which one was made anew."""

    there: Containers
    anew: frozenset[str] = frozenset()


def create(client: Client, project: Project, tell: Tell, asked: Asked) -> Made:
    """Make all that the project needs, and start nothing.

    Raises:
        LabError: something could not be made.
    """
    images.ensure(
        client, project, tell, build=asked.build, no_build=asked.no_build, pull=asked.pull,
        quiet=asked.quiet_build, quiet_pull=asked.quiet_pull,
    )  # fmt: skip
    fresh = ensure_shared(client, project, tell)
    there = observed.containers(client, project.name)
    _orphans(client, project, there, tell, asked)
    steps = plan(client, project, there, asked.wishes, fresh)
    work = Converge(client, project, there, tell, asked.timeout, asked.renew_volumes)
    work.run(steps)
    return Made(work.there, frozenset(work.anew))


def ensure_shared(client: Client, project: Project, tell: Tell) -> set[str]:
    """Make the networks and volumes; the keys of networks that were made anew.

    Raises:
        LabError: one could not be made, or an external one is not there.
    """
    fresh = resources.ensure_networks(client, project, tell)
    resources.ensure_volumes(client, project, tell)
    return fresh


def plan(
    client: Client, project: Project, there: Containers, wishes: Wishes,
    fresh: set[str] | frozenset[str] = frozenset(),
) -> Mapping[str, list[Action]]:  # fmt: skip
    """The steps for the containers that there are."""
    names = {one.image for one in project.services.values()}
    ids = {name: observed.image_id(client, name) for name in sorted(names)}
    wishes = Wishes(wishes.recreate, wishes.recreate_others, wishes.targets, frozenset(fresh))
    return planning.plan(project, there, ids, wishes)


def _orphans(client: Client, project: Project, there: Containers, tell: Tell, asked: Asked) -> None:
    found = observed.orphans(project, there)
    if found and asked.remove_orphans:
        for one in found:
            starting.stop_one(client, project, one, tell, asked.timeout)
            starting.remove_one(client, one, tell, volumes=False)
    elif found and not asked.ignore_orphans:
        names = " ".join(one.name for one in found)
        tell(
            f"Project {project.name}",
            f"Warning: found orphan containers ({names}); if you removed or renamed this service "
            "in your compose file, --remove-orphans cleans it up",
        )
