"""Carry a plan out: containers are made, made anew or removed; nothing is started here.

To make a container anew: the new one is created under another name, with the old one's anonymous
volumes; then the old one is stopped and removed and the new one gets the name. When creating fails,
the old one is as it was.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

from labcontainer.client.api import ApiError, Client
from labcontainer.compose import body, grants, graph, labels, observed
from labcontainer.compose.model import Project, Service
from labcontainer.compose.observed import Container, Containers
from labcontainer.compose.plan import Action
from labcontainer.compose.resources import Tell
from labcontainer.compose.scalars import Tree
from labcontainer.undo import Undo


@dataclass
class Converge:
    """One convergence. `there` is kept up to date; `anew` are services with new containers.

    `timeout` in seconds is for stopping; None is the container's own.
    """

    client: Client
    project: Project
    there: Containers
    tell: Tell
    timeout: int | None = None
    renew_volumes: bool = False
    anew: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, plan: Mapping[str, list[Action]]) -> None:
        """Do all steps: services in the order of their dependencies, their containers together.

        Raises:
            LabError: a step failed; what it had begun is taken back.
        """

        def act(name: str) -> None:
            steps = {f"{at:04}": one for at, one in enumerate(plan[name])}
            graph.walk({key: set() for key in steps}, lambda key: self._step(steps[key]),
                       most=self.project.parallel_within)  # fmt: skip

        graph.walk(graph.needs(self.project.services), act, most=self.project.parallel)

    def _step(self, action: Action) -> None:
        service = self.project.services[action.service]
        old = action.container
        if action.verb == "remove" and old is not None:
            self._remove(old)
            self._replace(old, None)
        elif action.verb == "create":
            name = body.name_of(self.project, service, action.number)
            self.tell(f"Container {name}", "Creating")
            identity = self.create(service, action.number, name)
            self._made(service, action.number, identity, name, None)
            self.tell(f"Container {name}", "Created")
        elif action.verb == "recreate" and old is not None:
            self._recreate(service, old)

    def _recreate(self, service: Service, old: Container) -> None:
        name = body.name_of(self.project, service, old.number)
        self.tell(f"Container {name}", "Recreate")
        inherited = {} if self.renew_volumes else self._anonymous(service, old)
        with Undo() as undo:
            identity = self.create(service, old.number, f"{old.id[:12]}_{name}", inherited, old)
            undo.push(self._discard, identity)
            self._remove(old, quiet=True)
            self.client.post(f"/containers/{identity}/rename", name=name)
        self._made(service, old.number, identity, name, old)
        self.tell(f"Container {name}", "Recreated")

    def _anonymous(self, service: Service, old: Container) -> dict[str, str]:
        """Targets and names of the volumes that nobody named: they go over to the new one."""
        image = self.client.get(f"/images/{service.image}/json")
        unnamed = set((image.get("Config") or {}).get("Volumes") or ())
        unnamed |= {
            one["target"]
            for one in service.get("volumes", ())
            if one["type"] == "volume" and not one.get("source")
        }
        found = self.client.get(f"/containers/{old.id}/json")["Mounts"]
        return {
            one["Destination"]: one["Name"]
            for one in found
            if one["Type"] == "volume" and one["Destination"] in unnamed
        }

    def create(
        self, service: Service, number: int, name: str, inherited: Mapping[str, str] | None = None,
        old: Container | None = None,
    ) -> str:  # fmt: skip
        """Create a container, join its networks, copy its secrets; its id.

        Raises:
            LabError: it was not created, or is gone again.
        """
        words = body.create(self.project, service, number, self.there, inherited)
        words["Labels"][labels.IMAGE] = observed.image_id(self.client, service.image)
        if old is not None:
            words["Labels"][labels.REPLACE] = old.id
        final = body.name_of(self.project, service, number)
        places = body.endpoints(self.project, service, final, self.there)
        copied = grants.copies(self.project, service)
        return create(self.client, words, name, places, copied, service.get("platform"))

    def _remove(self, old: Container, *, quiet: bool = False) -> None:
        tell = (lambda _subject, _status: None) if quiet else self.tell
        if old.running:
            tell(f"Container {old.name}", "Stopping")
            self.client.post(f"/containers/{old.id}/stop", t=self.timeout)
        self.client.delete(f"/containers/{old.id}", force=True)
        tell(f"Container {old.name}", "Removed")

    def _discard(self, identity: str) -> None:
        self.client.delete(f"/containers/{identity}", force=True)

    def _made(
        self, service: Service, number: int, identity: str, name: str, old: Container | None
    ) -> None:
        known = {labels.PROJECT: self.project.name, labels.SERVICE: service.name}
        new = Container(identity, name, service.name, number, "created", {"Labels": known})
        self._replace(old, new)
        if old is not None:
            with self._lock:
                self.anew.add(service.name)

    def _replace(self, old: Container | None, new: Container | None) -> None:
        """Keep `there` as it is at the daemon."""
        one = new or old
        assert one is not None
        with self._lock:
            members = [other for other in self.there.get(one.service, []) if other != old]
            members += [new] if new else []
            self.there[one.service] = sorted(members, key=lambda other: other.number)


def create(
    client: Client,
    words: Tree,
    name: str,
    places: Mapping[str, Tree],
    copied: list[grants.Copy],
    platform: str | None = None,
) -> str:
    """Create a container of this body, at these places in networks, and copy files in; its id.

    API 1.41 takes one network at the creation: the others are joined afterwards.

    Raises:
        LabError: it was not created, or is gone again.
    """
    first, more = list(places.items())[:1], list(places.items())[1:]
    words = {**words, "NetworkingConfig": {"EndpointsConfig": dict(first)}}
    made = client.post("/containers/create", words, name=name, platform=platform)
    identity = str(made["Id"])
    with Undo() as undo:
        undo.push(_remove_created, client, identity)
        for network, place in more:
            joining = {"Container": identity, "EndpointConfig": place}
            client.post(f"/networks/{network}/connect", joining)
        if copied:
            put(client, identity, "/", grants.archive(copied))
    return identity


def _remove_created(client: Client, identity: str) -> None:
    try:
        client.delete(f"/containers/{identity}", force=True, v=True)
    except ApiError as error:
        if error.status != 404:
            raise


def put(client: Client, identity: str, path: str, archive: bytes) -> None:
    """Unpack a tar archive into a container.

    Raises:
        ApiError: the daemon refused, such as for a read-only container.
    """
    response = client.send(
        "PUT", f"/containers/{identity}/archive", {"path": path}, body=archive,
        headers={"Content-Type": "application/x-tar"},
    )  # fmt: skip
    response.all()
    response.close()
