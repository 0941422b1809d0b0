"""What was built before, by what it was built from.

The key of a step is the digest of all that its result depends on: the state below it, its words
with their variables expanded, the digests of the files that it copies, the build arguments that it
sees. Secrets are no part of it, and neither are times. Then the next key is made of this one and
of the layer that came out, so a step that is built anew to the same layer changes nothing above.

    images/cache/KEY     one file for each step: its layer, its line of history, its time
    images/digests/…     digests of context files, see digests
"""

from __future__ import annotations

import hashlib
import json
import os
import time

from labcontainer import errors
from labcontainer.image.documents import Descriptor
from labcontainer.image.packing import Layer
from labcontainer.kernel import files
from labcontainer.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from labcontainer.image.store import Store


class Cached(Record):
    """A step's result: its layer (None where no files changed) and when it was built."""

    created: str
    layer: Layer | None = None


def key_of(*parts: object) -> str:
    """One key of whatever can be JSON."""
    return hashlib.sha256(json.dumps(parts).encode(errors="surrogatepass")).hexdigest()


class Cache:
    """The build cache of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.path = f"{store.path}/cache"

    def find(self, key: str) -> Cached | None:
        """The result under a key, if its layer is still there."""
        path = f"{self.path}/{key}"
        try:
            with open(path, encoding="utf-8") as file:
                found = json.load(file)
            layer = _layer(found["layer"]) if found["layer"] else None
            if layer is not None and not self._store.blobs.has(layer.descriptor.digest):
                return None
            os.utime(path)  # prune takes what was not used for long
            return Cached(found["created"], layer)
        except (OSError, ValueError, KeyError, TypeError, errors.LabError):
            return None  # not there, torn, or of another version: built anew

    def put(self, key: str, cached: Cached) -> None:
        """Remember a result. `blobs` and `diff_ids` tell the store's collector what is needed."""
        layer = cached.layer
        document = {
            "created": cached.created,
            "layer": layer and {**layer.descriptor.to_json(), "diff_id": layer.diff_id},
            "blobs": [layer.descriptor.digest] if layer else [],
            "diff_ids": [layer.diff_id] if layer else [],
        }
        os.makedirs(self.path, mode=0o711, exist_ok=True)
        files.write_atomically(f"{self.path}/{key}", json.dumps(document).encode())

    def entries(self) -> list[tuple[str, float]]:
        """Every key with the time of its last use, in seconds since 1970."""
        try:
            names = [name for name in os.listdir(self.path) if len(name) == 64]
        except FileNotFoundError:
            return []
        found = []
        for name in names:
            try:
                found.append((name, os.stat(f"{self.path}/{name}").st_mtime))
            except FileNotFoundError:
                continue  # pruned meanwhile
        return found

    def prune(self, unused_for: float = 0) -> tuple[int, int]:
        """Forget what was not used for so many seconds: (steps, bytes that became free)."""
        before = self._store.disk_usage()
        old = [key for key, used in self.entries() if used <= time.time() - unused_for]
        count = sum(map(self._forget, old))
        self._store.collect()
        return count, max(before - self._store.disk_usage(), 0)

    def _forget(self, key: str) -> bool:
        """Forget a result; false where another prune was quicker."""
        try:
            os.unlink(f"{self.path}/{key}")
        except FileNotFoundError:
            return False
        return True


def _layer(found: dict[str, object]) -> Layer:
    return Layer(Descriptor.from_json(found), str(found["diff_id"]))
