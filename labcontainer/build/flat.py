"""Layers in one directory, where a layer can't be unpacked by itself for want of whiteouts.

The kernel lets nobody make overlayfs's marks on an overlayfs, such as the root of a container. Then
the layers are carried out one over another, into a directory that goes with the build.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from contextlib import ExitStack

from labcontainer.build import scratch
from labcontainer.image import compression, inside, layers
from labcontainer.image.packing import Layer
from labcontainer.image.store import Store


class Flat:
    """The directories of one build, by what they are made of."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._stack = ExitStack()
        self._folder = self._stack.enter_context(scratch.folder(store))
        self._made: dict[tuple[str, ...], str] = {}
        self._lock = threading.Lock()

    def directory(self, stack: Sequence[Layer]) -> str:
        """Where the layers are, the lowest first in `stack`."""
        key = tuple(layer.diff_id for layer in stack)
        with self._lock:
            if key not in self._made:
                path = f"{self._folder}/{len(self._made)}"
                os.mkdir(path, 0o755)
                self._fill(path, stack)
                self._made[key] = path
            return self._made[key]

    def _fill(self, path: str, stack: Sequence[Layer]) -> None:
        owners = not inside.in_user_namespace() or inside.has_all_ids()
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for layer in stack:
                with self._store.blobs.open(layer.descriptor.digest) as file:
                    reader = compression.Reader(file)
                    layers.apply(reader, fd, whiteouts="apply", owners=owners)
        finally:
            os.close(fd)

    def remove(self) -> None:
        """Delete them all."""
        self._stack.close()
