"""Small images for tests, put into a store by its own means."""

from __future__ import annotations

import io
from typing import Any

from labcontainer.image import compression, diff, documents
from labcontainer.image.documents import Descriptor, ImageConfig
from labcontainer.image.store import Image, Store
from labcontainer.image.tarformat import DIRECTORY, Entry


def archive(files: dict[str, bytes | None]) -> tuple[bytes, str]:
    """A layer's plain archive and its digest; None is a directory."""
    out = io.BytesIO()
    writer = diff.Writer(out)
    for name, data in files.items():
        if data is None:
            writer.add(Entry(name, DIRECTORY, 0o755))
        else:
            writer.bytes_file(Entry(name), data)
    diff_id = writer.finish().diff_id
    return out.getvalue(), diff_id


def layer(
    store: Store, files: dict[str, bytes | None], kind: str = "gzip"
) -> tuple[Descriptor, str]:
    """A layer in the store: (descriptor, diff id)."""
    plain, diff_id = archive(files)
    packed = io.BytesIO()
    with compression.Writer(packed, kind) as writer:
        writer.write(plain)
    types = {"gzip": documents.OCI_LAYER_GZIP, "zstd": documents.OCI_LAYER_ZSTD,
             "none": documents.OCI_LAYER}  # fmt: skip
    data = packed.getvalue()
    return Descriptor(types[kind], store.blobs.write(data), len(data)), diff_id


def image(store: Store, *layers: dict[str, bytes | None], names: tuple[str, ...] = (),
          kind: str = "gzip", **config: Any) -> Image:  # fmt: skip
    """An image of these layers, the lowest first."""
    with store.lease():
        made = [layer(store, files, kind) for files in layers]
        described = ImageConfig(
            documents.host_platform(), tuple(diff_id for _, diff_id in made), config,
            tuple({"created_by": f"step {number}"} for number in range(len(made))),
            "2026-01-01T00:00:00Z",
        )  # fmt: skip
        return store.add_image(described, [one for one, _ in made], names)
