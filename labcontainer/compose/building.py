"""`build` of services: the context as a tar archive to the daemon's classic builder.

What only BuildKit has (secrets, ssh, more contexts, several platforms) is refused by name.
Source: Docker Engine API, ImageBuild.
"""

from __future__ import annotations

import io
import json
import os
import stat
import sys
import tarfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from labcontainer import errors
from labcontainer.build import ignore
from labcontainer.client.api import Client
from labcontainer.compose import graph, labels, shortforms
from labcontainer.compose.model import Project, Service
from labcontainer.compose.resources import Tell
from labcontainer.compose.scalars import Tree

INLINE = ".dockerfile.compose"
CHUNK = 1 << 20
_NOT_HERE = ("additional_contexts", "secrets", "ssh", "privileged", "entitlements")
_print_lock = threading.Lock()


def build_all(
    client: Client, project: Project, services: Mapping[str, Service], tell: Tell, *,
    quiet: bool = False, no_cache: bool = False, pull: bool = False,
    arguments: Mapping[str, str] | None = None, memory: int = 0,
) -> None:  # fmt: skip
    """Build the images of services, in the order of their dependencies.

    `memory` is the limit of the builder's containers in bytes, 0 for none.

    Raises:
        LabError: a build failed.
    """

    def act(name: str) -> None:
        service = services[name]
        tell(f"Image {service.image}", "Building")
        build(client, project, service, quiet=quiet, no_cache=no_cache, pull=pull,
              arguments=arguments or {}, memory=memory)  # fmt: skip
        tell(f"Image {service.image}", "Built")

    graph.walk(graph.needs(services), act, most=project.parallel)


def build(
    client: Client, project: Project, service: Service, *, quiet: bool = False,
    no_cache: bool = False, pull: bool = False, arguments: Mapping[str, str], memory: int = 0,
) -> str:  # fmt: skip
    """Build one image; its id.

    Raises:
        LabError: the builder can't what is asked, or a step failed.
    """
    words = service.build or {}
    for key in _NOT_HERE:
        if words.get(key):
            raise errors.UnsupportedError(
                f"services.{service.name}.build.{key}", "the classic builder of the API has none",
                "leave it out, or use `labcontainer build`",
            )  # fmt: skip
    if len(words.get("platforms", ())) > 1:
        raise errors.UnsupportedError(
            f"services.{service.name}.build.platforms", "the classic builder makes one at a time"
        )
    query = options(project, service, no_cache=no_cache, pull=pull, arguments=arguments)
    query |= {"memory": memory} if memory else {}
    body: bytes | Iterable[bytes] = b""
    if shortforms.is_remote(words["context"]):
        query |= {"remote": words["context"], "dockerfile": words["dockerfile"]}
    else:
        query["dockerfile"], body = context(words)
    headers = {"Content-Type": "application/x-tar"}
    stream = client.stream("POST", "/build", body=body, headers=headers, **query)
    return _follow(stream, service.name, quiet=quiet)


def options(
    project: Project, service: Service, *, no_cache: bool, pull: bool, arguments: Mapping[str, str]
) -> Tree:
    """The query of ImageBuild."""
    words = service.build or {}
    own = {labels.PROJECT: project.name, labels.SERVICE: service.name,
           labels.VERSION: labels.version()}  # fmt: skip
    hosts = words.get("extra_hosts", {})
    platform = next(iter(words.get("platforms", ())), service.get("platform"))
    found: Tree = {
        "t": [service.image, *words.get("tags", ())],
        "buildargs": {**words.get("args", {}), **arguments},
        "labels": {**words.get("labels", {}), **own},
        "target": words.get("target"),
        "networkmode": words.get("network"),
        "nocache": no_cache or words.get("no_cache"),
        "pull": pull or words.get("pull"),
        "platform": platform,
        "shmsize": words.get("shm_size"),
        "extrahosts": ",".join(f"{name}:{ip}" for name, ips in hosts.items() for ip in ips) or None,
        "rm": True,
        "forcerm": True,
    }
    if words.get("cache_from"):
        found["cachefrom"] = json.dumps(words["cache_from"])
    return found


def _follow(stream: Iterable[Any], name: str, *, quiet: bool) -> str:
    """Print what the builder says, and the image's id.

    Raises:
        LabError: a step failed.
    """
    identity, said = "", ""
    for event in stream:
        if "error" in event:
            if quiet:
                sys.stderr.write(said)
            raise errors.LabError(f"failed to build {name}: {event['error']}")
        if "aux" in event:
            identity = event["aux"].get("ID", identity)
        text = event.get("stream", "")
        said += text if quiet else ""
        if text.strip() and not quiet:
            with _print_lock:
                sys.stderr.write("".join(f"{name}: {line}\n" for line in text.splitlines() if line))
                sys.stderr.flush()
    return identity


# --- the context ----------------------------------------------------------------------------------


def context(words: Tree) -> tuple[str, Iterator[bytes]]:
    """(the Dockerfile's name in the archive, the archive)

    Raises:
        NotFoundError: there is no such directory or Dockerfile.
    """
    folder = words["context"]
    if not os.path.isdir(folder):
        raise errors.NotFoundError(f"unable to prepare context: path {folder!r} not found")
    extra: dict[str, bytes] = {}
    if "dockerfile_inline" in words:
        name = INLINE
        extra[name] = words["dockerfile_inline"].encode()
    else:
        path = os.path.normpath(os.path.join(folder, words["dockerfile"]))
        name = os.path.relpath(path, folder)
        if not os.path.isfile(path):
            raise errors.NotFoundError(f"failed to read dockerfile: {path} does not exist")
        if name.startswith("../"):
            with open(path, "rb") as file:
                name, extra[INLINE] = INLINE, file.read()
    return name, archive(folder, _patterns(folder, name), {name, ".dockerignore"}, extra)


def _patterns(folder: str, dockerfile: str) -> ignore.Ignore:
    """The Dockerfile's own `NAME.dockerignore`, else the context's `.dockerignore`."""
    for name in (f"{dockerfile}.dockerignore", ".dockerignore"):
        path = os.path.join(folder, name)
        if os.path.isfile(path):
            with open(path, "rb") as file:
                return ignore.parse(file.read(ignore.LARGEST + 1), name)
    return ignore.Ignore()


class _Pieces(io.RawIOBase):
    """What tarfile writes, until it is taken."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self.size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        piece = bytes(data)
        self._pieces.append(piece)
        self.size += len(piece)
        return len(piece)

    def take(self) -> bytes:
        """All so far."""
        found, self._pieces, self.size = b"".join(self._pieces), [], 0
        return found


def archive(
    folder: str, left_out: ignore.Ignore, kept: set[str], extra: Mapping[str, bytes]
) -> Iterator[bytes]:
    """The files of a directory as a tar archive, piece by piece; all belong to root in it."""
    pieces = _Pieces()
    with tarfile.open(fileobj=pieces, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for name, data in extra.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o644
            tar.addfile(member, io.BytesIO(data))
        for name in walk(folder, left_out, kept):
            _add(tar, os.path.join(folder, name), name)
            if pieces.size > CHUNK:
                yield pieces.take()
    yield pieces.take()


def _add(tar: tarfile.TarFile, path: str, name: str) -> None:
    if stat.S_ISSOCK(os.lstat(path).st_mode):
        return  # no archive has those
    member = tar.gettarinfo(path, name)
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    if member.isreg():
        with open(path, "rb") as file:
            tar.addfile(member, file)
    else:
        tar.addfile(member)


def walk(folder: str, left_out: ignore.Ignore, kept: set[str]) -> Iterator[str]:
    """The names below a directory that are not left out, parents first, sorted."""
    waiting = [""]
    while waiting:
        inside = waiting.pop()
        deeper = []
        for entry in sorted(os.scandir(os.path.join(folder, inside)), key=lambda one: one.name):
            name = os.path.join(inside, entry.name)
            is_folder = entry.is_dir(follow_symlinks=False)
            out = name not in kept and left_out.excludes(name)
            if not out:
                yield name
            below = any(one.startswith(f"{name}/") for one in kept)
            if is_folder and (not out or below or left_out.may_hold_exceptions(name)):
                deeper.append(name)
        waiting += reversed(deeper)
