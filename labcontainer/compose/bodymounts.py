"""Volumes, binds, tmpfs, secrets and configs of a service, as HostConfig has them.

What the old form can say goes into `Binds`, which makes a missing directory on the host; the rest
into `Mounts`. Source: Docker Engine API, HostConfig.Binds and Mount.
"""

from __future__ import annotations

from collections.abc import Mapping

from labcontainer.compose import grants
from labcontainer.compose.model import Project, Service
from labcontainer.compose.scalars import Tree


def mounts(project: Project, service: Service, inherited: Mapping[str, str]) -> Tree:
    """Binds, Mounts and Tmpfs; `inherited` are anonymous volumes to keep, by target."""
    binds: list[str] = []
    found: list[Tree] = []
    for one in service.get("volumes", ()):
        if one["type"] == "volume" and not one.get("source") and one["target"] in inherited:
            one = {**one, "source": inherited[one["target"]]}
        elif one["type"] == "volume" and one.get("source"):
            one = {**one, "source": project.volumes[one["source"]].name}
        if _is_old(one):
            binds.append(_bind(one))
        else:
            found.append(mount(one))
    own = {one["target"] for one in service.get("volumes", ())}
    found += [
        {"Type": "volume", "Source": name, "Target": target}  # of the image's VOLUME
        for target, name in inherited.items()
        if target not in own
    ]
    found += [one for one in grants.mounts(project, service) if one["Target"] not in own]
    tmpfs = dict(word.partition(":")[::2] for word in service.get("tmpfs", ()))
    return {"Binds": binds, "Mounts": found, "Tmpfs": tmpfs}


def _is_old(one: Tree) -> bool:
    """Whether `SOURCE:TARGET:OPTIONS` says all of it."""
    if one["type"] == "bind":
        bind = one.get("bind") or {}
        return bool(bind.get("create_host_path", True)) and "recursive" not in bind
    if one["type"] == "volume" and one.get("source"):
        return not {"labels", "subpath"} & (one.get("volume") or {}).keys()
    return False


def _bind(one: Tree) -> str:
    options = ["ro" if one.get("read_only") else "rw"]
    bind = one.get("bind") or {}
    options += [bind[key] for key in ("selinux", "propagation") if key in bind]
    options += ["nocopy"] if (one.get("volume") or {}).get("nocopy") else []
    return f"{one['source']}:{one['target']}:{','.join(options)}"


def mount(one: Tree) -> Tree:
    """A long form as an API mount."""
    found: Tree = {"Type": one["type"], "Target": one["target"]}
    found |= {"Source": one["source"]} if one.get("source") else {}
    found |= {"ReadOnly": True} if one.get("read_only") else {}
    found |= {"Consistency": one["consistency"]} if "consistency" in one else {}
    options = one.get(one["type"]) or {}
    if one["type"] == "bind":
        bind: Tree = {}
        bind |= {"Propagation": options["propagation"]} if "propagation" in options else {}
        bind |= {"NonRecursive": True} if options.get("recursive") == "disabled" else {}
        return found | ({"BindOptions": bind} if bind else {})
    fields = {
        "volume": {"nocopy": "NoCopy", "labels": "Labels", "subpath": "Subpath"},
        "tmpfs": {"size": "SizeBytes", "mode": "Mode"},
        "image": {"subpath": "Subpath"},
    }.get(one["type"], {})
    given = {field: options[key] for key, field in fields.items() if key in options}
    names = {"volume": "VolumeOptions", "tmpfs": "TmpfsOptions", "image": "ImageOptions"}
    return found | ({names[one["type"]]: given} if given else {})
