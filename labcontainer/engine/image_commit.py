"""A container's changes become an image: `docker commit`."""

from __future__ import annotations

from labcontainer.engine import image_transfer, moments
from labcontainer.image import packing
from labcontainer.image.packing import Layer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from labcontainer.engine.images import Images
    from labcontainer.image.compression import Readable
    from labcontainer.image.documents import ImageConfig

# What is the container's own, and no image's.
_OF_CONTAINERS = ("Hostname", "Domainname", "AttachStdin", "AttachStdout", "AttachStderr", "Tty",
                  "OpenStdin", "StdinOnce", "Image", "NetworkDisabled", "MacAddress")  # fmt: skip


def commit(
    images: Images, changed: Layer | Readable, parent_id: str, config: Mapping[str, Any], *,
    repository: str = "", tag: str = "", author: str = "", comment: str = "",
    changes: Iterable[str] = (), created_by: str = "",
) -> str:  # fmt: skip
    """Lay what a container has changed over its image; the new image's id.

    Args:
        changed: a layer of the store, or the archive of one.
        config: the container's Config, or what the caller wants instead.
        changes: instructions such as `CMD ["sh"]`.

    Raises:
        UsageError: the name or a change can be none. NotFoundError: the image is not here.
    """
    from labcontainer.build import changes as changing

    name = image_transfer.named(repository, tag)
    settings = {key: value for key, value in config.items()
                if value and key not in _OF_CONTAINERS}  # fmt: skip
    settings = changing.apply(settings, changes)
    with images.store.lease():
        parent = images.of_container(parent_id)
        layer = changed if isinstance(changed, Layer) else packing.store_archive(
            images.store, changed)  # fmt: skip
        now = moments.now()
        entry = {"created": now, "created_by": created_by, "author": author, "comment": comment}
        made = _described(parent.config, layer, settings, entry)
        layers = [*parent.manifest.layers, layer.descriptor]
        image = images.store.add_image(made, layers, [name] if name is not None else [])
    if name is not None:
        images.tell("tag", image, name.familiar)
    return image.id


def _described(
    parent: ImageConfig, layer: Layer, settings: Mapping[str, Any], entry: Mapping[str, Any]
) -> ImageConfig:
    told = {key: value for key, value in entry.items() if value}
    return parent.replace(
        diff_ids=(*parent.diff_ids, layer.diff_id), config=settings, created=entry["created"],
        history=(*parent.history, told), author=entry["author"] or parent.author,
    )  # fmt: skip
