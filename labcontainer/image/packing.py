"""Layers on their way into the store: packed, compressed, hashed on both sides, in one pass."""

from __future__ import annotations

from labcontainer.image import compression, documents
from labcontainer.image.documents import Descriptor
from labcontainer.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from labcontainer.image import diff, tarformat
    from labcontainer.image.compression import Readable, Writable
    from labcontainer.image.store import Store

TYPES = {
    "gzip": documents.OCI_LAYER_GZIP,
    "zstd": documents.OCI_LAYER_ZSTD,
    "none": documents.OCI_LAYER,
}
DOCKER_TYPES = {
    "gzip": documents.DOCKER_LAYER_GZIP,
    "zstd": documents.DOCKER_LAYER_ZSTD,
    "none": documents.DOCKER_LAYER,
}


class Layer(Record):
    """A stored layer: what the manifest says of it, and what the configuration does.

    `size` is in bytes of files, `entries` how many members it has; 0 of both is an empty layer.
    """

    descriptor: Descriptor
    diff_id: str
    size: int = 0
    entries: int = 0


# What reads and writes archives is imported late: a build that is all cached does neither.


def store_layer(store: Store, pack: Callable[[Writable], diff.Packed], kind: str = "gzip") -> Layer:
    """Put what `pack` writes into the store as a compressed layer.

    Raises:
        OSError: the disk is full; nothing is kept.
    """
    with store.blobs.writer() as blob:
        with compression.Writer(blob, kind) as packer:
            packed = pack(packer)
        digest, size = blob.commit()
    descriptor = Descriptor(TYPES[kind], digest, size)
    return Layer(descriptor, packed.diff_id, packed.size, packed.entries)


def store_archive(store: Store, stream: Readable, kind: str = "gzip") -> Layer:
    """Put a tar archive, packed or not, into the store as a layer; its members stay as they are.

    Raises:
        LabError: it is torn.
    """
    from labcontainer.image import tarformat

    reader = compression.Reader(stream, foreign=True)
    source = tarformat.Source(reader)
    with store.blobs.writer() as blob:
        with compression.Writer(blob, kind) as packer:
            counted = _pass_through(source, packer)
        digest, size = blob.commit()
    return Layer(Descriptor(TYPES[kind], digest, size), source.digest, *counted)


def _pass_through(source: tarformat.Source, packer: compression.Writer) -> tuple[int, int]:
    """Copy the archive, and look at it on the way: (bytes of files, members)."""
    source.tee = packer.write
    from labcontainer.image import tarformat

    size = entries = 0
    for entry in tarformat.Members(source):
        size += entry.stored
        entries += 1
    return size, entries


def kind_of_blob(store: Store, digest: str) -> str:
    """How a stored layer is compressed, by its first bytes."""
    with open(store.blobs.path(digest), "rb") as file:
        return compression.kind_of(file.read(6))
