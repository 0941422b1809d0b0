"""`pull`: from a registry into the store, layers side by side, unpacked as they arrive.

    manifest (or index ──▶ manifest) ──▶ config ──▶ layer ──▶ unpack
                                              └───▶ layer ──▶ unpack

The name is given last, when all is here and right. What broke off is taken up again where it ended,
the next time too.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from labcontainer import errors
from labcontainer.image import auth, documents, packing, registries
from labcontainer.image.documents import Descriptor, Index, Manifest, Platform
from labcontainer.image.progress import Event, short, silent
from labcontainer.image.reference import Reference
from labcontainer.image.registry import Registry
from labcontainer.image.session import PAUSES, TRIES, RegistryError
from labcontainer.image.snapshots import Snapshots
from labcontainer.image.store import Image, Store
from labcontainer.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from labcontainer.image.progress import Tell

SIDE_BY_SIDE = 4
LAYERS = (*packing.TYPES.values(), *packing.DOCKER_TYPES.values())
CONFIGS = (documents.OCI_CONFIG, documents.DOCKER_CONFIG)
STEP = 1 << 20  # bytes between two words of progress


class Pulled(Record):
    """What came: the image, the digest that the name stood for, and whether it is new here."""

    image: Image
    digest: str
    new: bool


def pull(
    store: Store,
    name: Reference,
    *,
    platform: Platform | None = None,
    tell: Tell = silent,
    credentials: auth.Credentials | bool | None = True,
    insecure: bool = False,
    unpack: bool = True,
) -> Pulled:
    """Get an image, from a mirror if one has it.

    Raises:
        RegistryError: the registry refused, lied or broke off; the store is as it was.
        NotFoundError: there is none for the platform.
    """
    places = registries.places(name.registry, insecure=insecure)
    problem: errors.LabError | None = None
    for place in places:
        registry = Registry(place, None if place.mirror else credentials)
        try:
            with store.lease():
                return _Pull(store, registry, name, platform, tell, unpack).run()
        except RegistryError as error:
            problem = error
            if place.mirror:
                tell(Event("", f"mirror {place.url} did not help: {error}"))
    assert problem is not None
    raise problem


class _Pull:
    """One pull from one server."""

    def __init__(
        self, store: Store, registry: Registry, name: Reference, platform: Platform | None,
        tell: Tell, unpack: bool,
    ) -> None:  # fmt: skip
        self._store, self._registry, self._name = store, registry, name
        self._platform = platform
        self._tell, self._unpack = tell, unpack

    def run(self) -> Pulled:
        """All of it."""
        asked = self._name.digest or self._name.tag
        self._tell(Event("" if self._name.digest else asked, f"Pulling from {self._repository()}"))
        data, top = self._registry.manifest(self._name.repository, asked)
        found = documents.parse_manifest(data, top.media_type)
        descriptor, manifest = top, found
        if isinstance(found, Index):
            descriptor, manifest, data = self._choose(found)
        assert isinstance(manifest, Manifest)
        new = not self._is_here(descriptor)
        self._check_kinds(manifest)
        config = self._get_config(manifest)
        self._get_layers(manifest, config)
        self._store.blobs.write(data, descriptor.digest.partition(":")[0])
        self._store.open(descriptor, self._platform)  # all parts are there and fit
        self._store.keep(descriptor)
        if self._name.tag and not self._name.digest:
            self._store.tag(self._name, descriptor)
        self._store.tag(self._name.with_digest(top.digest), descriptor)
        return Pulled(self._store.open(descriptor, self._platform), top.digest, new)

    def _repository(self) -> str:
        name = self._name
        return name.repository if name.familiar_name != name.name else name.name

    def _choose(self, index: Index) -> tuple[Descriptor, Manifest, bytes]:
        """The manifest for the platform, checked against the index."""
        wanted = index.choose(self._platform or documents.host_platform())
        data, got = self._registry.manifest(self._name.repository, wanted.digest)
        if got.size != wanted.size:
            raise RegistryError(
                f"{wanted.digest}: {got.size} bytes, but {wanted.size} were announced"
            )
        found = documents.parse_manifest(data, wanted.media_type)
        if not isinstance(found, Manifest):
            raise RegistryError(f"{wanted.digest}: an index in an index is refused")
        return wanted.replace(platform=None, annotations={}), found, data

    def _is_here(self, descriptor: Descriptor) -> bool:
        names = self._store.names()
        name = self._name.with_digest(descriptor.digest) if self._name.digest else self._name
        known = names.get(name.canonical)
        return known is not None and known.digest == descriptor.digest

    def _check_kinds(self, manifest: Manifest) -> None:
        kind = manifest.config.media_type
        if kind not in CONFIGS:
            raise errors.UnsupportedError(
                self._name.familiar, f"it is an artifact ({kind[:100]}), not an image"
            )
        for layer in manifest.layers:
            if layer.media_type not in LAYERS:
                raise errors.UnsupportedError(
                    self._name.familiar,
                    f"a layer of type {layer.media_type[:100]!r} is not known here",
                )

    def _get_config(self, manifest: Manifest) -> documents.ImageConfig:
        if manifest.config.size > documents.LARGEST:
            raise errors.SpecError(manifest.config.digest, "the configuration is too large")
        self._fetch(manifest.config, silent)
        config = documents.parse_config(self._store.blobs.read(manifest.config.digest))
        if len(config.diff_ids) != len(manifest.layers):
            counts = f"{len(config.diff_ids)} diff_ids for {len(manifest.layers)} layers"
            raise errors.SpecError(manifest.config.digest, counts)
        return config

    # --- layers -----------------------------------------------------------------------------------

    def _get_layers(self, manifest: Manifest, config: documents.ImageConfig) -> None:
        """Each layer once, side by side; the first error ends the others at their next piece."""
        every = zip(manifest.layers, config.diff_ids, strict=True)
        pairs = {layer.digest: (layer, diff_id) for layer, diff_id in every}.values()
        for layer, _ in pairs:
            self._tell(Event(short(layer.digest), "Pulling fs layer"))
        with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
            jobs = [pool.submit(self._get_layer, *pair) for pair in pairs]
            try:
                for job in jobs:
                    job.result()
            except BaseException:
                self._broken = True
                for job in jobs:
                    job.cancel()
                raise

    _broken = False

    def _get_layer(self, layer: Descriptor, diff_id: str) -> None:
        identity = short(layer.digest)
        snapshots = Snapshots(self._store)
        if self._fetch(layer, self._tell):
            self._tell(Event(identity, "Download complete"))
        elif not self._unpack or snapshots.is_unpacked(diff_id):
            self._tell(Event(identity, "Already exists"))
            return
        if self._unpack:
            self._tell(Event(identity, "Extracting"))
            snapshots.unpack_layer(layer.digest, diff_id)
        self._tell(Event(identity, "Pull complete"))

    def _fetch(self, wanted: Descriptor, tell: Tell) -> bool:
        """Get a blob unless it is here; whether it had to be got."""
        if self._store.blobs.has(wanted.digest):
            return False
        for turn in range(TRIES):
            try:
                self._fetch_once(wanted, tell)
            except RegistryError as error:
                if error.status or turn == TRIES - 1 or self._broken:
                    raise
                time.sleep(PAUSES[turn])
            else:
                break
        return True

    def _fetch_once(self, wanted: Descriptor, tell: Tell) -> None:
        kept = f"pull-{wanted.digest.replace(':', '-')}"
        with self._store.blobs.writer(wanted.digest, wanted.size, resume=kept) as writer:
            if writer.written < wanted.size:
                repository = self._name.repository
                begins, parts = self._registry.blob(repository, wanted.digest, writer.written)
                if begins != writer.written:
                    writer.begin_again()
                self._write(wanted, writer.write, parts, begins, tell)
            if writer.written < wanted.size:
                raise RegistryError(f"{wanted.digest} broke off after {writer.written} bytes")
            try:
                writer.commit()
            except errors.SpecError as error:
                raise errors.SpecError(wanted.digest, f"{self._registry.place.registry} sent "
                                       f"something else: {error.problem}") from None  # fmt: skip

    def _write(
        self, wanted: Descriptor, write: Callable[[bytes], object], parts: Iterator[bytes],
        done: int, tell: Tell,
    ) -> None:  # fmt: skip
        told = 0
        for data in parts:
            if self._broken:
                raise RegistryError("another layer failed")
            write(data)
            done += len(data)
            if done - told >= STEP or done == wanted.size:
                told = done
                tell(Event(short(wanted.digest), "Downloading", done, wanted.size))
