"""What images and builds take of the disk: their part of `docker system df`."""

from __future__ import annotations

import json

from labcontainer.build.cache import Cache
from labcontainer.engine import image_documents, moments

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from labcontainer.engine.images import Images

    Document = dict[str, Any]


def usage(images: Images, version: tuple[int, int], containers: Callable[[str], int]) -> Document:
    """Docker's `LayersSize`, `Images` and `BuildCache`; sizes are bytes.

    Args:
        containers: how many containers were made from an image, by its id.
    """
    every = images.every()
    lines = [image_documents.summary(one, images.store, version) for one in every]
    image_documents.add_shared(lines, every, images.store)
    for line in lines:
        line["Containers"] = containers(line["Id"])
    sizes: dict[str, int] = {}
    for image in every:
        sizes |= image_documents.layer_sizes(image, images.store)
    cache = build_cache(images, set(sizes))
    return {"LayersSize": sum(sizes.values()), "Images": lines, "BuildCache": cache}


def build_cache(images: Images, used: set[str]) -> list[Document]:
    """A line for each step that builds remember; `used` are the layers that images have, too."""
    cache = Cache(images.store)
    found = []
    for key, last in cache.entries():
        try:
            with open(f"{cache.path}/{key}", encoding="utf-8") as file:
                step = json.load(file)
            layer = step["layer"] or {"size": 0, "diff_id": ""}
            found.append({
                "ID": key, "Type": "regular", "Description": "a step of a build", "InUse": False,
                "Shared": layer["diff_id"] in used, "Size": int(layer["size"]),
                "CreatedAt": step["created"], "LastUsedAt": moments.of(int(last * 1e9)),
                "UsageCount": 1,
            })  # fmt: skip
        except (OSError, ValueError, KeyError, TypeError):
            continue  # pruned meanwhile, or torn
    return found
