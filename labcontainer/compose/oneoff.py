"""`run`: one more container of a service, for one command, with the service's own surroundings.

It is called PROJECT-SERVICE-run-ID, publishes no ports unless that is asked for, is never
restarted, and has the label `oneoff` by which `up` and `ps` leave it alone.
"""

from __future__ import annotations

import dataclasses
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from labcontainer.client.api import Client
from labcontainer.compose import body, converge, document, grants, labels, observed, shortforms
from labcontainer.compose.model import Project, Service
from labcontainer.compose.scalars import Place, Tree


@dataclass(frozen=True)
class Asked:
    """The flags of `run`; None and empty leave what the service says."""

    command: tuple[str, ...] = ()
    entrypoint: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    name: str = ""
    user: str = ""
    workdir: str = ""
    volumes: tuple[str, ...] = ()
    publish: tuple[str, ...] = ()
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    service_ports: bool = False
    use_aliases: bool = False
    interactive: bool = True
    tty: bool = False
    remove: bool = False


def service_for(service: Service, asked: Asked) -> Service:
    """The service as this one container is to have it.

    Raises:
        SpecError: a --volume or --publish is malformed.
    """
    words: Tree = dict(service.words)
    for key in ("restart", "container_name"):
        words.pop(key, None)
    if "deploy" in words:
        deploy = {key: one for key, one in words["deploy"].items() if key != "restart_policy"}
        words["deploy"] = deploy
    if not asked.service_ports:
        words.pop("ports", None)
    place = Place(document.Document("the command line", {}), (), os.getcwd())
    for key, given, cut in (("ports", asked.publish, shortforms.port),
                            ("volumes", asked.volumes, shortforms.mount)):  # fmt: skip
        added = [long for one in given for long in cut(one, place)]
        if added:
            words[key] = [*words.get(key, ()), *added]
    words |= {"tty": asked.tty, "stdin_open": asked.interactive}
    for key, value in (("user", asked.user), ("working_dir", asked.workdir)):
        words |= {key: value} if value else {}
    if asked.entrypoint is not None:
        words |= {"entrypoint": asked.entrypoint.split(), "command": []}
    if asked.command:
        words["command"] = list(asked.command)
    words["environment"] = {**words.get("environment", {}), **asked.environment}
    words["labels"] = {**words.get("labels", {}), **asked.labels}
    added_caps = [one for one in words.get("cap_add", ()) if one not in asked.cap_drop]
    dropped = [one for one in words.get("cap_drop", ()) if one not in asked.cap_add]
    words["cap_add"], words["cap_drop"] = [*added_caps, *asked.cap_add], [*dropped, *asked.cap_drop]
    return dataclasses.replace(service, words=words, scale=1)


def create(client: Client, project: Project, service: Service, asked: Asked) -> str:
    """Create the container; its id.

    Raises:
        LabError: it could not be created.
    """
    slug = secrets.token_hex(32)
    name = asked.name or f"{project.name}-{service.name}-run-{slug[:12]}"
    service = service_for(service, asked)
    there = observed.containers(client, project.name)
    words = body.create(project, service, 0, there)
    words["Labels"] |= {labels.SLUG: slug}
    words |= {"AttachStdin": asked.interactive, "StdinOnce": asked.interactive}
    words["HostConfig"]["AutoRemove"] = asked.remove
    places = body.endpoints(project, service, name, there, aliases=asked.use_aliases)
    copied = grants.copies(project, service)
    return converge.create(client, words, name, places, copied, service.get("platform"))
