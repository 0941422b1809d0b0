"""Images that containers were made from: they stay as long as the containers do, named or not.

    images/held/HEX    a file for each, in the form of the build cache's: its blobs, unpacked layers

Whoever remembers the containers writes and deletes these files; every process that collects heeds
them, so none has to ask an engine.
"""

from __future__ import annotations

import json
import os

from labcontainer.kernel import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from labcontainer.image.store import Image, Store


def folder(store: Store) -> str:
    """Where the files are."""
    return f"{store.path}/held"


def hold(store: Store, image: Image) -> None:
    """Keep an image's content until `release`; to be called under a lease of the store."""
    os.makedirs(folder(store), mode=0o711, exist_ok=True)
    path = f"{folder(store)}/{image.id.partition(':')[2]}"
    try:
        os.utime(path)
    except FileNotFoundError:
        blobs = [one.digest for one in (image.descriptor, image.manifest.config,
                                        *image.manifest.layers)]  # fmt: skip
        document = {"blobs": blobs, "diff_ids": list(image.config.diff_ids)}
        files.write_atomically(path, json.dumps(document).encode(), 0o644)


def held(store: Store) -> dict[str, int]:
    """The ids of all images that are held, each with the time in ns of its last `hold`."""
    found: dict[str, int] = {}
    try:
        names = os.listdir(folder(store))
    except FileNotFoundError:
        return found
    for name in names:
        if len(name) == 64:
            found[f"sha256:{name}"] = os.stat(f"{folder(store)}/{name}").st_mtime_ns
    return found


def release(store: Store, identity: str) -> None:
    """Hold an image no more; quiet if it is not."""
    try:
        os.unlink(f"{folder(store)}/{identity.partition(':')[2]}")
    except FileNotFoundError:
        pass
