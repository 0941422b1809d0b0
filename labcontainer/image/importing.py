"""A root file system in a tar archive becomes an image of one layer: `docker import`."""

from __future__ import annotations

from datetime import UTC, datetime

from labcontainer.image import documents, packing
from labcontainer.image.store import Image, Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from labcontainer.image.compression import Readable
    from labcontainer.image.documents import Platform
    from labcontainer.image.reference import Reference


def import_root(
    store: Store,
    stream: Readable,
    config: Mapping[str, Any],
    names: Iterable[Reference],
    platform: Platform,
    message: str = "",
) -> Image:
    """Store the archive as the one layer of a new image.

    Raises:
        LabError: the archive is torn; nothing is kept.
    """
    with store.lease():
        layer = packing.store_archive(store, stream)
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        comment = message or "Imported from -"
        described = documents.ImageConfig(
            platform, (layer.diff_id,), config, ({"created": now, "comment": comment},), now
        )
        return store.add_image(described, [layer.descriptor], names)
