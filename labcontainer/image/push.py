"""`push`: from the store to a registry, only what it has not got yet.

Layers go side by side, then the configuration, and the manifest last: a registry never has a name
whose parts are missing. A layer that another repository of the registry has is mounted there.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from labcontainer.image import auth, reference, registries
from labcontainer.image.documents import Descriptor
from labcontainer.image.progress import Event, short, silent
from labcontainer.image.reference import Reference
from labcontainer.image.registry import Registry
from labcontainer.image.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from labcontainer.image.progress import Tell

SIDE_BY_SIDE = 4
CHUNK = 1 << 20


def push(
    store: Store,
    name: Reference,
    *,
    tell: Tell = silent,
    credentials: auth.Credentials | bool | None = True,
    insecure: bool = False,
) -> Descriptor:
    """Send the image of that name; what the registry has now.

    Raises:
        NotFoundError: there is no such image here.
        RegistryError: the registry refused or broke off.
    """
    descriptor = store.resolve(name.canonical)
    place = registries.places(name.registry, insecure=insecure)[-1]
    return _Push(store, Registry(place, credentials), name, descriptor, tell).run()


class _Push:
    """One push to one server."""

    def __init__(
        self, store: Store, registry: Registry, name: Reference, descriptor: Descriptor, tell: Tell
    ) -> None:
        self._store, self._registry, self._name = store, registry, name
        self._descriptor, self._tell = descriptor, tell

    def run(self) -> Descriptor:
        """All of it."""
        image = self._store.open(self._descriptor)
        repository = self._name.repository
        self._tell(Event("", f"The push refers to repository [{self._name.name}]"))
        layers = list({layer.digest: layer for layer in image.manifest.layers}.values())
        for layer in layers:
            self._tell(Event(short(layer.digest), "Preparing"))
        with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
            for _ in pool.map(self._layer, layers):
                pass
        self._blob(image.manifest.config, silent)
        data = self._store.blobs.read(self._descriptor.digest)
        kind = self._descriptor.media_type
        tag = self._name.tag or self._descriptor.digest
        self._registry.put_manifest(repository, tag, data, kind)
        self._store.tag(self._name.with_digest(self._descriptor.digest), self._descriptor)
        shown = f"{tag}: digest: {self._descriptor.digest} size: {len(data)}"
        self._tell(Event("", shown))
        return self._descriptor

    def _layer(self, layer: Descriptor) -> None:
        self._tell(Event(short(layer.digest), self._blob(layer, self._tell)))

    def _blob(self, blob: Descriptor, tell: Tell) -> str:
        """Send one blob, if it must be; Docker's word for what was done."""
        repository = self._name.repository
        if self._registry.has_blob(repository, blob.digest):
            return "Layer already exists"
        source = self._mounted_from(blob)
        sent = self._registry.upload(
            repository, blob.digest, blob.size, self._opened(blob, tell), source
        )
        return "Pushed" if sent else f"Mounted from {source}"

    def _mounted_from(self, blob: Descriptor) -> str:
        """Another repository of the same registry that has the blob, as far as we know."""
        for canonical, descriptor in self._store.names().items():
            other = reference.parse(canonical)
            if (
                "@" in canonical  # pulled from there or pushed there: it is known to have it
                and other.registry == self._name.registry
                and other.repository != self._name.repository
                and blob in self._store.manifest(descriptor).layers
            ):
                return other.repository
        return ""

    def _opened(self, blob: Descriptor, tell: Tell) -> Callable[[int], Iterator[bytes]]:
        def parts(start: int) -> Iterator[bytes]:
            with open(self._store.blobs.path(blob.digest), "rb") as file:
                file.seek(start)
                done = start
                while data := file.read(CHUNK):
                    yield data
                    done += len(data)
                    tell(Event(short(blob.digest), "Pushing", done, blob.size))

        return parts
