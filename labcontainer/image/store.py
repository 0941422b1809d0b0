"""The image store: blobs, the names that lead to them, and what may be thrown away.

The store is an OCI image layout (image-spec, image-layout.md), so that other tools can read it:

    oci-layout      {"imageLayoutVersion": "1.0.0"}
    index.json      every image, with its name in an annotation; an image without a name is kept
    blobs/          see blobs
    layers/         unpacked layers: see snapshots
    cache/          steps of builds, by what they depend on: see build.cache
    held/           images that containers were made from: see holds
    leases/         a file for each process that is putting something together

`index.json` is written anew and renamed, under a lock: whoever reads sees the old or the new one. A
blob is reached from there, or goes. What is not reached yet, since a pull is still on its way, is
younger than the lease of who fetches it, and stays; a lease is a lock, and dies with its holder.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from labcontainer import errors
from labcontainer.image import documents, reference, roots
from labcontainer.image.blobs import Blobs
from labcontainer.image.documents import Descriptor, ImageConfig, Index, Manifest, Platform
from labcontainer.image.reference import Reference
from labcontainer.kernel import files, locks
from labcontainer.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from labcontainer.image.collecting import Collected

LAYOUT = b'{"imageLayoutVersion": "1.0.0"}'
NAME = "org.opencontainers.image.ref.name"
Removed = tuple[str, str]  # ("untagged", name) or ("deleted", digest)


class Image(Record):
    """An image for one platform. `id` is its configuration's digest; sizes are bytes."""

    id: str
    descriptor: Descriptor
    manifest: Manifest
    config: ImageConfig
    names: tuple[str, ...] = ()

    @property
    def tags(self) -> tuple[str, ...]:
        """Its names by tag, as Docker prints them."""
        return tuple(reference.parse(name).familiar for name in self.names if "@" not in name)

    @property
    def digests(self) -> tuple[str, ...]:
        """Its names by digest: where it was pulled from or pushed to."""
        return tuple(reference.parse(name).familiar for name in self.names if "@" in name)

    @property
    def packed_size(self) -> int:
        """Bytes of its layers as they are stored and sent."""
        return sum(layer.size for layer in self.manifest.layers)


class Store:
    """The images of one user. Cheap to make; nothing is read or made before it is needed."""

    def __init__(self, path: str = "") -> None:
        self.path = path or f"{roots.home()}/images"
        self.blobs = Blobs(self.path)

    # --- names ----------------------------------------------------------------------------------

    def entries(self) -> tuple[Descriptor, ...]:
        """Every image, once for each of its names; the name is an annotation."""
        try:
            with open(f"{self.path}/index.json", "rb") as file:
                data = file.read()
        except FileNotFoundError:
            return ()
        found = documents.parse_manifest(data, documents.OCI_INDEX)
        if not isinstance(found, Index):
            raise errors.SpecError(f"{self.path}/index.json", "it is no index")
        return found.manifests

    def names(self) -> dict[str, Descriptor]:
        """Canonical name -> what it names."""
        return {one.annotations[NAME]: one for one in self.entries() if NAME in one.annotations}

    def tag(self, name: Reference | str, descriptor: Descriptor) -> None:
        """Let a name mean an image; the one that it meant before is kept without it."""
        self.keep(descriptor, (name,))

    def untag(self, name: Reference | str) -> None:
        """Take a name away; its image is kept.

        Raises:
            NotFoundError: there is no such name.
        """
        canonical = _canonical(name)

        def change(entries: list[Descriptor]) -> list[Descriptor]:
            kept = [one for one in entries if one.annotations.get(NAME) != canonical]
            if len(kept) == len(entries):
                raise no_such_image(str(name))
            return _keep_images(entries, kept)

        self._change(change)

    def keep(self, descriptor: Descriptor, names: Iterable[Reference | str] = ()) -> None:
        """Keep an image, without a name or at once under all of these."""
        plain = _plain(descriptor)
        named = [plain.replace(annotations={NAME: name}) for name in map(_canonical, names)]
        given = {one.annotations[NAME] for one in named}

        def change(entries: list[Descriptor]) -> list[Descriptor]:
            kept = [one for one in entries if one.annotations.get(NAME) not in given]
            return _keep_images([*entries, plain], [*kept, *named])

        self._change(change)

    def _change(self, change: Callable[[list[Descriptor]], list[Descriptor]]) -> None:
        """Write `index.json` anew, alone."""
        with self._lock():
            before = list(self.entries())
            after = change(before)
            if after != before:
                self._write(Index(documents.OCI_INDEX, tuple(after)).encode())

    def _write(self, data: bytes) -> None:
        files.write_atomically(f"{self.path}/index.json", data, 0o644, sync=True)
        if not os.path.exists(f"{self.path}/oci-layout"):
            files.write_atomically(f"{self.path}/oci-layout", LAYOUT, 0o644)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        roots.make(self.path)
        fd = files.lock_file(f"{self.path}/lock")
        try:
            yield
        finally:
            os.close(fd)

    # --- images ---------------------------------------------------------------------------------

    def resolve(self, name_or_id: str) -> Descriptor:
        """What a name, an id or the beginning of an id means.

        Raises:
            NotFoundError: nothing here.
            UsageError: several images' ids begin so, or it can be no name.
        """
        entries = self.entries()
        if (found := self._by_id(name_or_id, entries)) is not None:
            return found
        try:
            name = reference.parse(name_or_id)
        except errors.UsageError:
            if _looks_like_id(name_or_id):
                raise no_such_image(name_or_id) from None
            raise
        wanted = name.replace(tag="") if name.digest else name
        for one in entries:
            if one.annotations.get(NAME) == wanted.canonical:
                return _plain(one)
        found = self._by_prefix(name_or_id, entries)
        if found is None:
            raise no_such_image(name_or_id)
        return found

    def _by_id(self, word: str, entries: tuple[Descriptor, ...]) -> Descriptor | None:
        word = word if word.startswith("sha256:") else f"sha256:{word}"
        if len(word) != 71:
            return None
        for one in entries:
            if word in (one.digest, self._id_of(one)):
                return _plain(one)
        return None

    def _by_prefix(self, word: str, entries: tuple[Descriptor, ...]) -> Descriptor | None:
        word = word.removeprefix("sha256:")
        if not word or not set(word) <= set("0123456789abcdef"):
            return None
        found = {identity: one for one in entries
                 if (identity := self._id_of(one)).startswith(f"sha256:{word}")}  # fmt: skip
        if len(found) > 1:
            raise errors.UsageError(f"ambiguous image id {word!r}: {len(found)} begin so")
        return _plain(next(iter(found.values()))) if found else None

    def _id_of(self, entry: Descriptor) -> str:
        """The configuration's digest, "" where the content is not all there."""
        try:
            return self.manifest(entry).config.digest
        except errors.LabError:
            return ""

    def manifest(self, descriptor: Descriptor, platform: Platform | None = None) -> Manifest:
        """The manifest for a platform (default: this machine's) that a descriptor leads to.

        Raises:
            NotFoundError: it is not stored, or there is none for the platform.
        """
        return self._manifest(descriptor, platform)[1]

    def _manifest(
        self, descriptor: Descriptor, platform: Platform | None
    ) -> tuple[Descriptor, Manifest]:
        for _ in range(5):  # an index in an index is allowed, and endless ones are no image
            data = self.blobs.read(descriptor.digest)
            found = documents.parse_manifest(data, descriptor.media_type)
            if not isinstance(found, Index):
                return descriptor, found
            descriptor = found.choose(platform or documents.host_platform())
        raise errors.SpecError(descriptor.digest, "it is an index deep within indexes")

    def image(self, name_or_id: str, platform: Platform | None = None) -> Image:
        """The image that a name or id means.

        Raises:
            NotFoundError: it is not here, or not for that platform.
        """
        return self.open(self.resolve(name_or_id), platform)

    def open(self, descriptor: Descriptor, platform: Platform | None = None) -> Image:
        """The image that a descriptor leads to, with all of its names."""
        return self._open(descriptor, platform, self.entries())

    def _open(
        self, descriptor: Descriptor, platform: Platform | None, entries: tuple[Descriptor, ...]
    ) -> Image:
        chosen, manifest = self._manifest(_plain(descriptor), platform)
        config = documents.parse_config(self.blobs.read(manifest.config.digest))
        if len(config.diff_ids) != len(manifest.layers):
            counts = f"{len(config.diff_ids)} diff_ids for {len(manifest.layers)} layers"
            raise errors.SpecError(manifest.config.digest, counts)
        if platform is not None and not config.platform.matches(platform):
            raise errors.NotFoundError(
                f"image {descriptor.digest} is for {config.platform}, not for {platform}"
            )
        mine = {descriptor.digest, chosen.digest}
        names = [one.annotations[NAME] for one in entries
                 if one.digest in mine and NAME in one.annotations]  # fmt: skip
        return Image(manifest.config.digest, _plain(descriptor), manifest, config, tuple(names))

    def images(self) -> list[Image]:
        """All images whose content is here, the newest first."""
        found: dict[str, Image] = {}
        entries = self.entries()
        for one in entries:
            if one.digest not in found:
                try:
                    found[one.digest] = self._open(one, None, entries)
                except (errors.NotFoundError, errors.SpecError):
                    continue  # another platform's, or torn by the disk: gc and fsck speak of those
        return sorted(found.values(), key=lambda image: image.config.created, reverse=True)

    def add_image(
        self,
        config: ImageConfig,
        layers: Iterable[Descriptor],
        names: Iterable[Reference | str] = (),
        *,
        docker: bool = False,
    ) -> Image:
        """Put configuration and manifest, and keep the image under its names.

        The layers' blobs must be there. With `docker` the media types are Docker's.
        """
        data = config.encode()
        kind = documents.DOCKER_CONFIG if docker else documents.OCI_CONFIG
        whole = Descriptor(kind, self.blobs.write(data), len(data))
        return self.add_manifest(whole, layers, names, docker=docker)

    def add_manifest(
        self,
        config: Descriptor,
        layers: Iterable[Descriptor],
        names: Iterable[Reference | str] = (),
        *,
        docker: bool = False,
    ) -> Image:
        """The same for a configuration that is stored already, and keeps its digest."""
        kind = documents.DOCKER_MANIFEST if docker else documents.OCI_MANIFEST
        data = Manifest(kind, config, tuple(layers)).encode()
        descriptor = Descriptor(kind, self.blobs.write(data), len(data))
        self.open(descriptor)  # all parts are there and fit
        self.keep(descriptor, names)
        return self.open(descriptor)

    # --- what goes --------------------------------------------------------------------------------

    def remove(
        self,
        name_or_id: str,
        *,
        force: bool = False,
        in_use: Callable[[str], str] = lambda _identity: "",
    ) -> list[Removed]:
        """Take a name away, and the image with its last name, as `docker rmi` does.

        `in_use` tells what uses an image, "" for nothing.

        Raises:
            NotFoundError: it is not here.
            StateError: the image is used, or has several names and was meant by its id.
        """
        descriptor = self.resolve(name_or_id)
        image = self.open(descriptor)
        by_id = self._by_id(name_or_id, (descriptor,)) is not None or not self._is_name(name_or_id)
        tags = [name for name in image.names if "@" not in name]
        going = tags if by_id else [_canonical(name_or_id)]
        if by_id and len(tags) > 1 and not force:
            raise errors.StateError(
                f"unable to delete {_short(image.id)} (must be forced) - "
                "image is referenced in multiple repositories"
            )
        last = not set(tags) - set(going)
        if last and (user := in_use(image.id)) and not force:
            verb = "delete" if by_id else "remove repository reference"
            shown = _short(image.id) if by_id else f'"{name_or_id}"'
            raise errors.StateError(f"unable to {verb} {shown} (must be forced) - {user}")
        return self._remove(image, going, last)

    def _is_name(self, word: str) -> bool:
        try:
            return _canonical(word) in self.names()
        except errors.UsageError:
            return False

    def _remove(self, image: Image, going: list[str], last: bool) -> list[Removed]:
        if last:
            going = list(image.names)
        else:  # a digest of a repository goes with its last tag
            left = {reference.parse(name).name for name in image.names
                    if "@" not in name and name not in going}  # fmt: skip
            going += [name for name in image.names
                      if "@" in name and reference.parse(name).name not in left]  # fmt: skip

        def change(entries: list[Descriptor]) -> list[Descriptor]:
            nonlocal last
            kept = [one for one in entries if one.annotations.get(NAME) not in going]
            mine = [one for one in kept if one.digest == image.descriptor.digest]
            last = last and not any(NAME in one.annotations for one in mine)  # named meanwhile
            if last:
                return [one for one in kept if one not in mine]
            return _keep_images(entries, kept)

        self._change(change)
        removed: list[Removed] = [
            ("untagged", reference.parse(name).familiar) for name in dict.fromkeys(going)
        ]
        if last:
            removed.append(("deleted", image.id))
            gone = self.collect()
            removed += [("deleted", one) for one in gone.layers]
        return removed

    def prune(
        self,
        *,
        all_unused: bool = False,
        in_use: Callable[[str], str] = lambda _identity: "",
        wanted: Callable[[Image], bool] = lambda _image: True,
    ) -> tuple[list[Removed], int]:
        """Remove images without a tag, or with `all_unused` every one that nothing uses.

        What was removed, and the bytes that are free now.
        """
        removed: list[Removed] = []
        before = self.disk_usage()
        for image in self.images():
            if (image.tags and not all_unused) or in_use(image.id) or not wanted(image):
                continue
            removed += self._remove(image, list(image.names), True)
        self.collect()
        return removed, max(before - self.disk_usage(), 0)

    def disk_usage(self) -> int:
        """Bytes of all blobs."""
        total = 0
        for digest in self.blobs.all():
            try:
                total += self.blobs.size(digest)
            except errors.NotFoundError:
                continue  # somebody else has collected it meanwhile
        return total

    @contextmanager
    def lease(self) -> Iterator[None]:
        """Inside the block nothing that is written or asked for is collected, whoever collects."""
        with self._lock():
            os.makedirs(f"{self.path}/leases", mode=0o700, exist_ok=True)
            path = f"{self.path}/leases/{os.getpid()}-{os.urandom(4).hex()}"
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            locks.hold(fd)
        try:
            yield
        finally:
            try:
                os.unlink(path)
            finally:
                os.close(fd)

    def collect(self) -> Collected:
        """Delete what no image needs and no lease protects."""
        from labcontainer.image import collecting

        with self._lock():
            return collecting.collect(self)


def no_such_image(name: str) -> errors.NotFoundError:
    """Docker's words for it."""
    shown = name if ":" in name.rpartition("/")[2] else f"{name}:latest"
    return errors.NotFoundError(f"No such image: {shown}")


def _looks_like_id(word: str) -> bool:
    digits = word.removeprefix("sha256:")
    return len(digits) == 64 and set(digits) <= set("0123456789abcdef")


def _canonical(name: Reference | str) -> str:
    found = reference.parse(name) if isinstance(name, str) else name
    return (found.replace(tag="") if found.digest else found).canonical


def _plain(descriptor: Descriptor) -> Descriptor:
    """A descriptor without the store's own words."""
    return descriptor.replace(annotations={}, platform=None)


def _keep_images(before: list[Descriptor], after: list[Descriptor]) -> list[Descriptor]:
    """`after`, with an entry without a name for each image that would be gone; with a name, the
    nameless entry is not needed any more."""
    named = {one.digest for one in after if NAME in one.annotations}
    kept = [one for one in after if NAME in one.annotations or one.digest not in named]
    there = {one.digest for one in kept}
    for one in before:
        if one.digest not in there:
            kept.append(_plain(one))
            there.add(one.digest)
    return kept


def _short(identity: str) -> str:
    return identity.removeprefix("sha256:")[:12]
