"""The last steps from a merged tree to a project: what was left unsaid, and what can't be.

Unsaid are the default network, names at the daemon, variables that the caller gives, and the
dependencies that `links`, `volumes_from` and `network_mode: service:…` bring along. Refused is what
names something that there is not. Source: Compose Specification, "Services", "Networks".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from labcontainer import errors
from labcontainer.compose import environment as env
from labcontainer.compose import graph
from labcontainer.compose.document import Document, Path, dotted
from labcontainer.compose.model import (
    Dependency,
    Project,
    Service,
    Shared,
    check_scale,
    switched_on,
)
from labcontainer.compose.scalars import Tree

_NAMESPACES = ("network_mode", "ipc", "pid")


def project(
    tree: Tree,
    documents: list[Document],
    *,
    name: str,
    directory: str,
    files: tuple[str, ...],
    environment: Mapping[str, str],
    env_files: tuple[str, ...] = (),
    profiles: tuple[str, ...] = (),
    names: tuple[str, ...] = (),
) -> Project:
    """The project of a merged tree, with the services of these profiles and names enabled.

    Raises:
        SpecError: it names what there is not, with file, line and key.
        NotFoundError, UsageError: a name is no service's; one needs another that is not enabled.
    """
    places = Places(documents)
    given = tree.get("services", {})
    own = {key: one.get("profiles", ()) for key, one in given.items()}
    on = switched_on(own, profiles, names)
    trees = {key: _completed(one, environment, key in on) for key, one in given.items()}
    if any("default" in one.get("networks", ()) for one in trees.values()):
        tree = {**tree, "networks": {"default": {}, **tree.get("networks", {})}}
    shared = {
        kind: {key: _shared(key, one, name) for key, one in tree.get(kind, {}).items()}
        for kind in ("networks", "volumes", "secrets", "configs")
    }
    services = {key: _service(key, one, name) for key, one in sorted(trees.items())}
    found = Project(
        name, directory, files, services, shared["networks"], shared["volumes"],
        shared["secrets"], shared["configs"], {}, environment, env_files,
        {key: value for key, value in tree.items() if key.startswith("x-")},
    )  # fmt: skip
    _check(found, places)
    found = found.enabled(profiles, names)
    _check_order(found, places)
    return found


class Places:
    """Where things stand in the files that were merged: the last file that says it counts."""

    def __init__(self, documents: list[Document]) -> None:
        self._documents = documents

    def refuse(self, path: Path, problem: str) -> errors.SpecError:
        """The error for what is wrong at a key."""
        for length in range(len(path), 0, -1):
            for one in reversed(self._documents):
                if path[:length] in one.lines:
                    return one.refuse(path, problem)
        return errors.SpecError(dotted(path), problem)


# --- services -------------------------------------------------------------------------------------


def _completed(words: Tree, values: Mapping[str, str], on: bool) -> Tree:
    """A service's words with its networks named and, if it is on, its files of variables read."""
    found = dict(words)
    files = found.pop("env_file", []) if on else []
    variables = _variables(files, found.get("environment", {}), values)
    if variables:
        found["environment"] = variables
    labels: dict[str, str] = {}
    for one in found.pop("label_file", ()) if on else ():
        labels |= env.read(one, {}, raw=True)
    if labels:
        found["labels"] = {**labels, **found.get("labels", {})}
    if "network_mode" not in found and not found.get("networks"):
        found["networks"] = {"default": None}
    if "build" in found:
        found["build"] = _completed_build(found["build"], values)
    return found


def _variables(
    files: list[Tree], own: Mapping[str, str | None], values: Mapping[str, str]
) -> dict[str, str | None]:
    """The variables of the files, then those of the service; None where nobody has one."""
    found: dict[str, str | None] = {}
    for one in files:
        known = {key: word for key, word in found.items() if word is not None}
        try:
            found |= env.read(one["path"], {**known, **values}, raw=one.get("format") == "raw")
        except errors.UsageError as error:
            if one["required"] or not isinstance(error.__context__, FileNotFoundError):
                raise
    return found | {key: values.get(key) if one is None else one for key, one in own.items()}


def _completed_build(words: Tree, values: Mapping[str, str]) -> Tree:
    found = dict(words)
    if "dockerfile_inline" not in found:
        found.setdefault("dockerfile", "Dockerfile")
    if "args" in found:
        given = {key: values.get(key) if one is None else one for key, one in found["args"].items()}
        found["args"] = {key: one for key, one in given.items() if one is not None}
    return found


def _service(name: str, words: Tree, project: str) -> Service:
    words = {**words, "depends_on": {**_implied(words), **words.get("depends_on", {})}}
    if not words["depends_on"]:
        del words["depends_on"]
    dependencies = tuple(
        Dependency(other, one["condition"], one["required"], bool(one.get("restart")))
        for other, one in sorted(words.get("depends_on", {}).items())
    )
    replicas = (words.get("deploy") or {}).get("replicas", 1)
    scale = int(words.get("scale", replicas))
    return Service(name, words, words.get("image") or f"{project}-{name}", scale, dependencies)


def _implied(words: Tree) -> Tree:
    """Dependencies that other words bring along; their containers are needed to make this one."""
    found: Tree = {}
    usual = {"condition": "service_started", "required": True}
    for link in words.get("links", ()):
        found[link.partition(":")[0]] = {**usual, "restart": True}
    for key in _NAMESPACES:
        kind, _, name = str(words.get(key) or "").partition(":")
        if kind == "service":
            found[name] = {**usual, "restart": True}
    for one in words.get("volumes_from", ()):
        name = one.partition(":")[0]
        if name != "container":
            found[name] = dict(usual)
    return found


def _shared(key: str, words: Tree | None, project: str) -> Shared:
    found = dict(words or {})
    if isinstance(found.get("external"), dict):
        found |= {**found["external"], "external": True}
    usual = key if found.get("external") else f"{project}_{key}"
    return Shared(key, str(found.get("name") or usual), found)


# --- checks ---------------------------------------------------------------------------------------


def _check(project: Project, places: Places) -> None:
    names: dict[str, str] = {}
    for name, service in project.services.items():
        path: Path = ("services", name)
        if not service.get("image") and service.build is None and not service.get("provider"):
            raise places.refuse(path, "has neither an image nor a build context specified")
        if service.get("network_mode") and service.get("networks"):
            raise places.refuse(path, "declares mutually exclusive `network_mode` and `networks`")
        _check_names(project, service, places)
        own = service.get("container_name")
        if own and own in names:
            raise places.refuse(
                (*path, "container_name"), f"{own!r} is the name of service {names[own]} too"
            )
        names |= {own: name} if own else {}
        check_scale(service)
    for kind in ("secrets", "configs"):
        for key, one in getattr(project, kind).items():
            _check_grant(kind, key, one, places)


def _check_order(project: Project, places: Places) -> None:
    """Those that are enabled must not wait for one another."""
    try:
        graph.order(project.services)
    except graph.CycleError as error:
        raise places.refuse(("services", error.way[0], "depends_on"), str(error)) from None


def _check_names(project: Project, service: Service, places: Places) -> None:
    """Everything that a service names must be there."""
    path: Path = ("services", service.name)
    for one in service.depends_on:
        if one.required and one.service not in project.services:
            raise places.refuse(
                (*path, "depends_on"), f"depends on undefined service {one.service!r}"
            )
    for key in service.get("networks") or ():
        if key not in project.networks:
            raise places.refuse((*path, "networks"), f"refers to undefined network {key}")
    for kind in ("secrets", "configs"):
        for one in service.get(kind) or ():
            if one["source"] not in getattr(project, kind):
                raise places.refuse(
                    (*path, kind), f"refers to undefined {kind[:-1]} {one['source']}"
                )
    for mount in service.get("volumes") or ():
        source: Any = mount.get("source")
        if mount["type"] == "volume" and source and source not in project.volumes:
            raise places.refuse((*path, "volumes"), f"refers to undefined volume {source}")


def _check_grant(kind: str, key: str, one: Shared, places: Places) -> None:
    given = [word for word in ("file", "environment", "content") if word in one.words]
    if one.external or len(given) == 1:
        return
    forms = "file, environment" + (", content" if kind == "configs" else "")
    how = "none" if not given else " and ".join(given)
    raise places.refuse((kind, key), f"it needs one of {forms} or external; there is {how}")
