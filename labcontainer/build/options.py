"""What one build is asked to do."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from labcontainer.image.documents import Platform
from labcontainer.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from labcontainer.image.auth import Credentials


class Secret(Record):
    """Where the content of `--secret id=…` is: a file, or a variable of the environment."""

    path: str = ""
    env: str = ""


class Options(Record):
    """One build. `newest` bounds all times (SOURCE_DATE_EPOCH, seconds since 1970).

    `side_by_side` is off for who prints one step after another, as the classic builder does.
    `limits` are of each RUN: fields of an engine's Request and the `cgroup_parent`, for the runner.
    `login` knows who asks a registry, by its name; without it, it is who runs this process.
    """

    names: tuple[str, ...] = ()
    target: str = ""
    arguments: Mapping[str, str] = {}
    labels: Mapping[str, str] = {}
    secrets: Mapping[str, Secret] = {}
    network: str = "default"
    hosts: tuple[tuple[str, str], ...] = ()
    limits: Mapping[str, Any] = {}
    platform: Platform | None = None
    pull: bool = False
    cache: bool = True
    fresh_stages: tuple[str, ...] = ()
    cache_from: tuple[str, ...] = ()
    squash: bool = False
    newest: int | None = None
    side_by_side: bool = True
    docker_types: bool = False
    login: Callable[[str], Credentials | None] | None = None
