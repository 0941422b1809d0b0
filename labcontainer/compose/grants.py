"""Secrets and configs in a container: files of the host bound, all else copied in before its start.

| given by | how |
|---|---|
| `file` | a read-only bind mount |
| `file`, with uid, gid or mode | a copy: a mount has the owner that the host's file has |
| `environment`, `content` | a copy; the content counts for the hash |

Source: Compose Specification, "secrets", "configs".
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from dataclasses import dataclass

from labcontainer import errors
from labcontainer.compose.model import Project, Service, Shared
from labcontainer.compose.scalars import Tree

_FOLDERS = {"secrets": "/run/secrets", "configs": "/"}
_MODES = {"secrets": 0o444, "configs": 0o444}


@dataclass(frozen=True)
class Copy:
    """A file to put into a container."""

    target: str
    data: bytes
    uid: int = 0
    gid: int = 0
    mode: int = 0o444


def mounts(project: Project, service: Service) -> list[Tree]:
    """The grants that are bound, as API mounts.

    Raises:
        LabError: one is external, or its file is not there.
    """
    found = []
    for kind, grant, one in _grants(project, service):
        if _is_bound(grant, one):
            source = one.words["file"]
            if not os.path.exists(source):
                raise errors.NotFoundError(f"{kind[:-1]} {one.key}: {source} does not exist")
            target = target_of(kind, grant)
            found.append({"Type": "bind", "Source": source, "Target": target, "ReadOnly": True})
    return found


def copies(project: Project, service: Service) -> list[Copy]:
    """The grants that are copied.

    Raises:
        LabError: one is external, or has no value.
    """
    return [
        Copy(
            target_of(kind, grant),
            _content(project, kind, one),
            int(grant.get("uid", 0)),
            int(grant.get("gid", 0)),
            grant.get("mode", _MODES[kind]),
        )
        for kind, grant, one in _grants(project, service)
        if not _is_bound(grant, one)
    ]


def digests(project: Project, service: Service) -> dict[str, str]:
    """Target and digest of all that is copied: what of it counts for the container's hash."""
    return {one.target: hashlib.sha256(one.data).hexdigest() for one in copies(project, service)}


def archive(files: list[Copy]) -> bytes:
    """A tar archive that puts the files where they belong, from the root."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for one in files:
            member = tarfile.TarInfo(one.target.lstrip("/"))
            member.size, member.mode, member.uid, member.gid = (
                len(one.data), one.mode, one.uid, one.gid,
            )  # fmt: skip
            tar.addfile(member, io.BytesIO(one.data))
    return buffer.getvalue()


def target_of(kind: str, grant: Tree) -> str:
    """Where in the container it is; a name alone is below the usual folder."""
    return os.path.join(_FOLDERS[kind], grant.get("target") or grant["source"])


def _grants(project: Project, service: Service) -> list[tuple[str, Tree, Shared]]:
    found = []
    for kind in ("secrets", "configs"):
        known = getattr(project, kind)
        for grant in service.get(kind) or ():
            one = known[grant["source"]]
            if one.external:
                raise errors.UnsupportedError(
                    f"external {kind[:-1]} {one.name}", "only a swarm has such",
                    "give it a file or an environment variable",
                )  # fmt: skip
            found.append((kind, grant, one))
    return found


def _is_bound(grant: Tree, one: Shared) -> bool:
    return "file" in one.words and not {"uid", "gid", "mode"} & grant.keys()


def _content(project: Project, kind: str, one: Shared) -> bytes:
    if "content" in one.words:
        return str(one.words["content"]).encode()
    if "file" in one.words:
        try:
            with open(one.words["file"], "rb") as file:
                return file.read()
        except OSError as error:
            raise errors.NotFoundError(
                f"{kind[:-1]} {one.key}: {one.words['file']}: {error.strerror}"
            ) from None
    name = one.words["environment"]
    if name not in project.environment:
        raise errors.NotFoundError(f"{kind[:-1]} {one.key}: environment variable {name} is not set")
    return project.environment[name].encode("utf-8", "surrogateescape")
