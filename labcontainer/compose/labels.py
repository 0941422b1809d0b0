"""The labels by which Compose knows its own at a daemon, the same as Docker Compose's.

So `docker compose ps` lists a project that was made here, and ours one that was made there. The
hash tells whether a container still is what the file says: hashing.py.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import labcontainer
from labcontainer.compose import hashing
from labcontainer.compose.model import Project, Service, Shared
from labcontainer.compose.scalars import Tree

_PREFIX = "com.docker.compose."
PROJECT = f"{_PREFIX}project"
SERVICE = f"{_PREFIX}service"
NUMBER = f"{_PREFIX}container-number"
HASH = f"{_PREFIX}config-hash"
ONEOFF = f"{_PREFIX}oneoff"
SLUG = f"{_PREFIX}slug"
IMAGE = f"{_PREFIX}image"
DEPENDS_ON = f"{_PREFIX}depends_on"
REPLACE = f"{_PREFIX}replace"
NETWORK = f"{_PREFIX}network"
VOLUME = f"{_PREFIX}volume"
VERSION = f"{_PREFIX}version"
WORKING_DIR = f"{_PREFIX}project.working_dir"
CONFIG_FILES = f"{_PREFIX}project.config_files"
ENVIRONMENT_FILE = f"{_PREFIX}project.environment_file"


def digest(value: Any) -> str:
    """SHA-256 of a value's JSON, keys sorted."""
    data = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(data.encode("utf-8", "surrogateescape")).hexdigest()


def config_hash(service: Service, copied: dict[str, str] | None = None) -> str:
    """The hash of what a container is made from; `copied` is the content of files put into it."""
    hashed = hashing.service(service.words)
    return digest([hashed, copied]) if copied else hashed


def container(project: Project, service: Service, number: int, hashed: str) -> dict[str, str]:
    """The labels of a service's container; `number` 0 is one that `run` makes."""
    waits = [f"{one.service}:{one.condition}:{str(one.restart).lower()}"
             for one in service.depends_on]  # fmt: skip
    found = {
        **service.get("labels", {}),
        PROJECT: project.name,
        SERVICE: service.name,
        ONEOFF: "False" if number else "True",
        HASH: hashed,
        DEPENDS_ON: ",".join(waits),
        WORKING_DIR: project.directory,
        CONFIG_FILES: ",".join(project.files),
        VERSION: version(),
    }
    if project.env_files:
        found[ENVIRONMENT_FILE] = ",".join(project.env_files)
    return found | ({NUMBER: str(number)} if number else {})


def shared(project: Project, one: Shared, kind: str) -> dict[str, str]:
    """The labels of a network or volume; `kind` is NETWORK or VOLUME."""
    usual: Tree = {"ipam": {}} if kind == NETWORK else {"driver": "local"}
    return {
        **one.words.get("labels", {}),
        PROJECT: project.name,
        kind: one.key,
        HASH: hashing.shared({**usual, **one.words, "name": one.name}),
        VERSION: version(),
    }


def version() -> str:
    """This program's version, as the label has it."""
    from importlib import metadata

    try:
        return metadata.version(labcontainer.__name__)
    except metadata.PackageNotFoundError:
        return "0"
