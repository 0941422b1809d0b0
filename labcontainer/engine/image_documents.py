"""An image in Docker's shapes: a line of the list, all of it, its history."""

from __future__ import annotations

from labcontainer import errors
from labcontainer.engine import moments
from labcontainer.image.snapshots import Snapshots

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from labcontainer.image.store import Image, Store

    Document = dict[str, Any]
    Version = tuple[int, int]

# Docker shows these whether an image says something of them or not ...
ALWAYS: Document = {
    "Hostname": "", "Domainname": "", "User": "", "AttachStdin": False, "AttachStdout": False,
    "AttachStderr": False, "Tty": False, "OpenStdin": False, "StdinOnce": False, "Env": None,
    "Cmd": None, "Image": "", "Volumes": None, "WorkingDir": "", "Entrypoint": None,
    "OnBuild": None, "Labels": None,
}  # fmt: skip
# ... and these only where it does.
SOMETIMES = ("ExposedPorts", "Healthcheck", "ArgsEscaped", "StopSignal", "StopTimeout", "Shell",
             "NetworkDisabled", "MacAddress")  # fmt: skip

NO_TIME = -62135596800  # 0001-01-01 in seconds since 1970


def created(image: Image) -> float:
    """When an image was made, in seconds since 1970; 0 where it does not say."""
    return _seconds(image.config.created)


def _seconds(text: object) -> float:
    try:
        return moments.moment(str(text)) if text else 0.0
    except errors.UsageError:
        return 0.0


def labels(image: Image) -> dict[str, str]:
    """An image's labels."""
    found = image.config.config.get("Labels") or {}
    return {str(name): str(value) for name, value in found.items()}


def _unix(text: object) -> int:
    """A time as lists have it; Docker's command shows nothing for Go's zero time."""
    return int(_seconds(text)) or NO_TIME


def summary(image: Image, store: Store, version: Version) -> Document:
    """One line of the list of images."""
    size = Snapshots(store).size(image)
    tags, digests = list(image.tags), list(image.digests)
    if version < (1, 43) and not image.names:
        tags, digests = ["<none>:<none>"], ["<none>@<none>"]
    found: Document = {
        "Containers": -1,
        "Created": _unix(image.config.created),
        "Id": image.id,
        "Labels": labels(image),
        "ParentId": "",
        "RepoDigests": digests,
        "RepoTags": tags,
        "SharedSize": -1,
        "Size": size,
    }
    if version < (1, 44):
        found["VirtualSize"] = size
    return found


def inspect(image: Image, store: Store, version: Version, tagged: str = "") -> Document:
    """All of an image; `tagged` is when it got its last name."""
    config, size = image.config, Snapshots(store).size(image)
    last = config.history[-1] if config.history else {}
    found: Document = {
        "Id": image.id,
        "RepoTags": list(image.tags),
        "RepoDigests": list(image.digests),
        "Parent": "",
        "Comment": str(last.get("comment", "")),
        "Created": config.created or moments.NEVER,
        "Container": "",
        "ContainerConfig": None,
        "DockerVersion": str(config.extra.get("docker_version", "")),
        "Author": config.author,
        "Config": settings(image),
        "Architecture": config.platform.architecture,
        "Os": config.platform.os,
        "Size": size,
        "GraphDriver": {"Name": "overlay2", "Data": directories(image, store)},
        "RootFS": {"Type": "layers", "Layers": list(config.diff_ids)},
        "Metadata": {"LastTagTime": tagged or moments.NEVER},
    }
    if config.platform.variant:
        found["Variant"] = config.platform.variant
    if version < (1, 44):
        found["VirtualSize"] = size
    return found


def settings(image: Image) -> Document:
    """What an image says of the containers to be made of it: Docker's Config."""
    config = image.config.config
    more = {name: config[name] for name in SOMETIMES if config.get(name)}
    return {name: config.get(name, value) for name, value in ALWAYS.items()} | more


def directories(image: Image, store: Store) -> dict[str, str]:
    """Where an image's files are: the top layer, and those below it."""
    snapshots = Snapshots(store)
    paths = [snapshots.directory(one) for one in reversed(image.config.diff_ids)]
    if not paths:
        return {}
    below = {"LowerDir": ":".join(paths[1:])} if paths[1:] else {}
    return {**below, "UpperDir": paths[0]}


def history(image: Image, store: Store) -> list[Document]:
    """A line for each instruction, the newest first, with the size of the layer that it made."""
    sizes = [size for _, size in layer_sizes(image, store)]
    lines: list[Document] = []
    for one in image.config.history or ({},) * len(sizes):
        lines.append({
            "Comment": str(one.get("comment", "")),
            "Created": _unix(one.get("created")),
            "CreatedBy": str(one.get("created_by", "")),
            "Id": "<missing>",
            "Size": 0 if one.get("empty_layer") or not sizes else sizes.pop(0),
            "Tags": None,
        })  # fmt: skip
    lines.reverse()
    if lines:
        lines[0] |= {"Id": image.id, "Tags": list(image.tags) or None}
    return lines


def layer_sizes(image: Image, store: Store) -> list[tuple[str, int]]:
    """(diff id, bytes) of each layer: of its files, or as it is stored while it is not unpacked."""
    snapshots = Snapshots(store)
    found = []
    for diff_id, layer in zip(image.config.diff_ids, image.manifest.layers, strict=True):
        about = snapshots.about(diff_id)
        found.append((diff_id, about.size if about else layer.size))
    return found


def add_shared(lines: list[Document], images: list[Image], store: Store) -> None:
    """Write into lines of the list how many bytes of each image others have as well."""
    owners: dict[str, int] = {}
    sizes: dict[str, dict[str, int]] = {}
    for image in images:
        sizes[image.id] = dict(layer_sizes(image, store))
        for diff_id in sizes[image.id]:
            owners[diff_id] = owners.get(diff_id, 0) + 1
    for line in lines:
        its = sizes.get(line["Id"], {})
        line["SharedSize"] = sum(size for diff_id, size in its.items() if owners[diff_id] > 1)
