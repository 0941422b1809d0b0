"""What must be done so that the containers are as the files say: decided first, printed by
`up --dry-run`, done by converge.py.

A container is kept when its hash, its image and its networks are as they should be. It is made anew
when they are not, when that is forced, or when it shares a namespace with one that is made anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from labcontainer.compose import body, grants, graph, labels
from labcontainer.compose.model import Project, Service
from labcontainer.compose.observed import Container, Containers

DIVERGED, FORCE, NEVER = "diverged", "force", "never"


@dataclass(frozen=True)
class Action:
    """One step: `verb` is create, recreate, remove or keep."""

    verb: str
    service: str
    number: int
    container: Container | None = None
    why: str = ""

    def __str__(self) -> str:
        name = self.container.name if self.container else f"{self.service}-{self.number}"
        return f"{self.verb} {name}" + (f": {self.why}" if self.why else "")


@dataclass(frozen=True)
class Wishes:
    """How `up` was asked to converge.

    `recreate` is for the services in `targets` (all, when it is empty), `recreate_others` for what
    they depend on. `fresh` are keys of networks that were made anew.
    """

    recreate: str = DIVERGED
    recreate_others: str = DIVERGED
    targets: frozenset[str] = frozenset()
    fresh: frozenset[str] = frozenset()

    def mode(self, service: str) -> str:
        """Whether a service's containers are recreated: diverged, force or never."""
        here = not self.targets or service in self.targets
        return self.recreate if here else self.recreate_others


def plan(
    project: Project, there: Containers, images: Mapping[str, str], wishes: Wishes
) -> dict[str, list[Action]]:
    """The steps for each service, in the order of their dependencies.

    `images` are the ids of the services' images as they are now.
    """
    found: dict[str, list[Action]] = {}
    anew: set[str] = set()  # services of which a container is made anew
    for level in graph.order(project.services):
        for name in level:
            service = project.services[name]
            mode = FORCE if _shares_with(service, anew) else wishes.mode(name)
            steps = _service(project, service, there.get(name, []), images, mode, wishes.fresh)
            found[name] = steps
            if any(one.verb == "recreate" for one in steps):
                anew.add(name)
    return found


def _shares_with(service: Service, anew: set[str]) -> bool:
    """Whether it has the namespace or volumes of a container that will be gone."""
    words = [str(service.get(key) or "") for key in ("network_mode", "ipc", "pid")]
    names = {word.partition(":")[2] for word in words if word.startswith("service:")}
    names |= {str(word).partition(":")[0] for word in service.get("volumes_from", ())}
    return bool(names & anew)


def _service(
    project: Project, service: Service, there: list[Container], images: Mapping[str, str],
    mode: str, fresh: frozenset[str],
) -> list[Action]:  # fmt: skip
    hashed = labels.config_hash(service, grants.digests(project, service))
    reasons = {
        one.id: _reason(project, service, one, hashed, images.get(service.image, ""), mode, fresh)
        for one in there
    }
    # Too many: those that would have to be made anew go first, then the highest numbers.
    ranked = sorted(there, key=lambda one: (bool(reasons[one.id]), one.number))
    kept = sorted(ranked[: service.scale], key=lambda one: one.number)
    steps = [
        Action("remove", service.name, one.number, one, "scale") for one in ranked[service.scale :]
    ]
    for one in kept:
        verb = "recreate" if reasons[one.id] else "keep"
        steps.append(Action(verb, service.name, one.number, one, reasons[one.id]))
    last = max((one.number for one in kept), default=0)
    missing = service.scale - len(kept)
    steps += [Action("create", service.name, last + 1 + more) for more in range(missing)]
    return steps


def _reason(
    project: Project, service: Service, one: Container, hashed: str, image: str, mode: str,
    fresh: frozenset[str],
) -> str:  # fmt: skip
    """Why a container must be made anew; "" when it need not."""
    if mode == NEVER:
        return ""
    if mode == FORCE:
        return "forced"
    if one.labels.get(labels.HASH) != hashed:
        return "its configuration has changed"
    if image and one.raw.get("ImageID") != image:
        return "its image has changed"
    keys = set(service.get("networks") or ())
    wanted = {project.networks[key].name for key in keys}
    joined = ((one.raw.get("NetworkSettings") or {}).get("Networks") or {}).keys()
    if wanted - joined or keys & fresh:
        return "its networks have changed"
    return ""


def names(project: Project, steps: list[Action]) -> list[str]:
    """What the containers are called after these steps."""
    return [
        body.name_of(project, project.services[one.service], one.number)
        for one in steps
        if one.verb != "remove"
    ]
