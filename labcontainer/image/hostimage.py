"""Base images of the host's own programs, put into the store without any network."""

from __future__ import annotations

import os
import tempfile

from labcontainer.image import diff, documents, hostbase, packing, roots
from labcontainer.image.reference import Reference, parse
from labcontainer.image.store import Image, Store

BUILT_IN = ("busybox", "host")
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def is_built_in(name: Reference) -> bool:
    """Whether an image that is not here can be made of the host's files instead of pulled."""
    return name.familiar in [f"{known}:latest" for known in BUILT_IN]


def make(store: Store, recipe: hostbase.Recipe, name: str = "") -> tuple[Image, hostbase.Report]:
    """Build a root file system and keep it as an image of one layer; what it is and what it has.

    The same files make the same layer. Its owners are root, whoever builds.

    Raises:
        NotFoundError: a program is not on this machine.
    """
    reference = parse(name or recipe.name)
    roots.make(store.path)
    with store.lease(), tempfile.TemporaryDirectory(prefix="ingest-", dir=store.path) as folder:
        report = hostbase.build(recipe, f"{folder}/root")
        layer = _pack(store, f"{folder}/root")
        config = documents.ImageConfig(
            documents.host_platform(),
            (layer.diff_id,),
            {"Env": [PATH], "Cmd": ["sh"]},
            ({"created_by": f"labcontainer image from-host {recipe.name}"},),
        )
        return store.add_image(config, [layer.descriptor], [reference]), report


def _pack(store: Store, root: str) -> packing.Layer:
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return packing.store_layer(
            store, lambda out: diff.pack(fd, out, owner=lambda _uid, _gid: (0, 0))
        )
    finally:
        os.close(fd)
