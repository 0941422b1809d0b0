"""Images that containers were made from: they stay as long as the containers do, named or not.

    images/held/HEX    a file for each, in the form of the build cache's: its blobs, unpacked layers

Whoever remembers the containers writes and deletes these files; every process that collects heeds
them, so none has to ask an engine.
"""

from __future__ import annotations

import json
import os

from labcontainer import errors
from labcontainer.image import documents
from labcontainer.image.documents import Descriptor
from labcontainer.kernel import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from labcontainer.image.store import Image, Store


def folder(store: Store) -> str:
    """Where the files are."""
    return f"{store.path}/held"


def hold(store: Store, image: Image) -> None:
    """Keep an image's content until `release`; to be called under a lease of the store.

    Raises:
        NotFoundError: a collector was quicker.
    """
    os.makedirs(folder(store), mode=0o711, exist_ok=True)
    path = f"{folder(store)}/{image.id.partition(':')[2]}"
    blobs = [one.digest for one in (image.descriptor, image.manifest.config,
                                    *image.manifest.layers)]  # fmt: skip
    try:
        os.utime(path)
    except FileNotFoundError:
        document = {"blobs": blobs, "diff_ids": list(image.config.diff_ids),
                    "manifest": image.descriptor.to_json()}  # fmt: skip
        files.write_atomically(path, json.dumps(document).encode(), 0o644)
    # Asked for now, a blob is younger than the lease: who collects without having seen our file
    # has taken it already, or lets it be.
    if not all([store.blobs.has(digest) for digest in blobs]):
        raise errors.NotFoundError(f"No such image: {image.id}")


def held(store: Store) -> dict[str, int]:
    """The ids of all images that are held, each with the time in ns of its last `hold`."""
    found: dict[str, int] = {}
    try:
        names = os.listdir(folder(store))
    except FileNotFoundError:
        return found
    for name in names:
        if len(name) == 64:
            try:
                found[f"sha256:{name}"] = os.stat(f"{folder(store)}/{name}").st_mtime_ns
            except FileNotFoundError:
                continue  # released meanwhile
    return found


def image(store: Store, identity: str) -> Image:
    """An image that is held, whether anything else leads to it or not.

    Raises:
        NotFoundError: it is not held.
    """
    try:
        with open(f"{folder(store)}/{identity.partition(':')[2]}", "rb") as file:
            found = documents.decode(file.read(), identity)
    except FileNotFoundError:
        raise errors.NotFoundError(f"No such image: {identity}") from None
    return store.open(Descriptor.from_json(found.get("manifest")))


def release(store: Store, identity: str) -> None:
    """Hold an image no more; quiet if it is not."""
    try:
        os.unlink(f"{folder(store)}/{identity.partition(':')[2]}")
    except FileNotFoundError:
        pass
