"""Images in files: `docker save` archives, old and new, and OCI layouts (directory or archive).

    oci-layout, index.json, blobs/…     an OCI layout (image-spec, image-layout.md)
    manifest.json, repositories         what Docker reads; beside the layout since Docker 25
    ID/layer.tar, ID.json               the old form, which is read only

An archive is read in one pass, for it may come through a pipe: every file becomes a blob under its
own digest, and which of them make an image is seen at the end. A name is given last of all.
"""

from __future__ import annotations

import json
import os
import posixpath
from typing import Any

from labcontainer import errors
from labcontainer.image import compression, diff, documents, packing, reference, tarformat
from labcontainer.image.documents import Descriptor, Index
from labcontainer.image.store import LAYOUT, NAME, Image, Store
from labcontainer.image.tarformat import FILE, LINK, SYMLINK, Entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from labcontainer.image.compression import Readable, Writable

CONTAINERD_NAME = "io.containerd.image.name"
MOST_FILES = 20_000
DEEPEST = 4  # indexes in one another
_DOCUMENTS = ("manifest.json", "index.json", "oci-layout", "repositories")


# --- writing --------------------------------------------------------------------------------------


def save(store: Store, names: Iterable[str], out: Writable) -> list[Image]:
    """Write images as Docker 25 does: an OCI layout with Docker's manifest.json.

    Raises:
        NotFoundError: one of them is not here; nothing was written.
    """
    found = _chosen(store, names)
    digests = _all_blobs(store, found)
    writer = diff.Writer(out)
    kinds = {digest.partition(":")[0] for digest in digests}
    for folder in ("blobs/", *(f"blobs/{kind}/" for kind in sorted(kinds))):
        writer.add(Entry(folder, tarformat.DIRECTORY, 0o755))
    for digest in digests:
        _add_blob(store, writer, digest)
    writer.bytes_file(Entry("index.json"), _index(found).encode())
    writer.bytes_file(Entry("manifest.json"), json.dumps(_docker_list(found)).encode())
    writer.bytes_file(Entry("oci-layout"), LAYOUT)
    writer.finish()
    return [image for image, _ in found]


def _chosen(store: Store, names: Iterable[str]) -> list[tuple[Image, list[str]]]:
    """Each image once, with the names by which it was asked for."""
    found: dict[str, tuple[Image, list[str]]] = {}
    for name in names:
        image = store.image(name)
        tags = found.setdefault(image.id, (image, []))[1]
        try:
            canonical = reference.parse(name).canonical
        except errors.UsageError:
            continue
        if canonical in image.names and canonical not in tags and "@" not in canonical:
            tags.append(canonical)
    return list(found.values())


def _all_blobs(store: Store, found: list[tuple[Image, list[str]]]) -> list[str]:
    """The digests of all that makes the images, each once.

    Raises:
        NotFoundError: one of them is not here.
    """
    digests = list(dict.fromkeys(
        digest for image, _ in found for digest in blobs_of(store, image.descriptor)
    ))  # fmt: skip
    for digest in digests:
        store.blobs.size(digest)
    return digests


def blobs_of(store: Store, descriptor: Descriptor, depth: int = 0) -> Iterator[str]:
    """The digests of all that makes an image, a document after what it names.

    Of an image for several platforms, of those that are here.
    """
    found = documents.parse_manifest(store.blobs.read(descriptor.digest), descriptor.media_type)
    if isinstance(found, Index):
        if depth == DEEPEST:
            raise errors.SpecError(descriptor.digest, f"more than {DEEPEST} indexes in one another")
        for one in found.manifests:
            if _is_here(store, one):
                yield from blobs_of(store, one, depth + 1)
    else:
        yield from (layer.digest for layer in found.layers)
        yield found.config.digest
    yield descriptor.digest


def _is_here(store: Store, descriptor: Descriptor) -> bool:
    """Whether one of an index's images was fetched, not only named."""
    if not store.blobs.has(descriptor.digest):
        return False
    found = documents.parse_manifest(store.blobs.read(descriptor.digest), descriptor.media_type)
    if isinstance(found, Index):
        return True
    return all(store.blobs.has(one.digest) for one in (found.config, *found.layers))


def _add_blob(store: Store, writer: diff.Writer, digest: str) -> None:
    fd = os.open(store.blobs.path(digest), os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(fd).st_size
        writer.add(Entry(f"blobs/{digest.replace(':', '/')}", FILE, size=size), fd)
    finally:
        os.close(fd)


def _index(found: list[tuple[Image, list[str]]]) -> Index:
    entries = []
    for image, names in found:
        for name in names or [""]:
            notes = {CONTAINERD_NAME: name, NAME: reference.parse(name).tag} if name else {}
            entries.append(image.descriptor.replace(annotations=notes))
    return Index(documents.OCI_INDEX, tuple(entries))


def _docker_list(found: list[tuple[Image, list[str]]]) -> list[dict[str, Any]]:
    def path(digest: str) -> str:
        return f"blobs/{digest.replace(':', '/')}"

    return [
        {
            "Config": path(image.manifest.config.digest),
            "RepoTags": [reference.parse(name).familiar for name in names] or None,
            "Layers": [path(layer.digest) for layer in image.manifest.layers],
        }
        for image, names in found
    ]


def export_layout(store: Store, names: Iterable[str], path: str) -> list[Image]:
    """Write images into an OCI layout directory, beside what it has.

    Raises:
        NotFoundError: one of them is not here.
    """
    found = _chosen(store, names)
    there = Store(path)
    for digest in _all_blobs(store, found):
        _copy_blob(store, there, digest)
    for image, tags in found:
        there.keep(image.descriptor)
        for name in tags:
            there.tag(name, image.descriptor)
    return [image for image, _ in found]


def _copy_blob(source: Store, target: Store, digest: str) -> None:
    if target.blobs.has(digest):
        return
    with source.blobs.open(digest) as file, target.blobs.writer(digest) as writer:
        while data := file.read(tarformat.CHUNK):
            writer.write(data)
        writer.commit()


# --- reading --------------------------------------------------------------------------------------


def load(store: Store, stream: Readable) -> list[tuple[str, Image]]:
    """Read an archive of images: (name, "" where it has none, and image) of each.

    Raises:
        LabError: it is torn, tampered with, or holds no image; no name was given.
    """
    with store.lease():
        loaded = _Archive(store)
        loaded.read(stream)
        return loaded.images()


def import_layout(store: Store, path: str) -> list[tuple[str, Image]]:
    """Read the images of an OCI layout directory.

    Raises:
        LabError: it is none, or tampered with; no name was given.
    """
    there = Store(path)
    if not os.path.exists(f"{path}/index.json"):
        raise errors.NotFoundError(f"{path} is no OCI layout: it has no index.json")
    with store.lease():
        for descriptor in there.entries():
            for digest in blobs_of(there, descriptor):
                _copy_blob(there, store, digest)
        return _name_all(store, there.entries())


def _name_all(store: Store, entries: tuple[Descriptor, ...]) -> list[tuple[str, Image]]:
    """Keep the images of an index, under the names in its annotations."""
    images = [(_name_in(one), store.open(one)) for one in entries]
    for _, image in images:
        for layer in image.manifest.layers:
            if not store.blobs.has(layer.digest):
                raise errors.SpecError(image.id, f"its layer {layer.digest} is missing")
    for name, image in images:
        store.keep(image.descriptor)
        if name:
            store.tag(name, image.descriptor)
    return [(reference.parse(name).familiar if name else "", store.open(image.descriptor))
            for name, image in images]  # fmt: skip


def _name_in(entry: Descriptor) -> str:
    """An entry's whole name; a tag alone, as other tools write it, is none."""
    for key in (CONTAINERD_NAME, NAME):
        text = entry.annotations.get(key, "")
        if "/" in text or ":" in text:
            return reference.parse(text).canonical
    return ""


class _Archive:
    """One archive: its files as blobs, and what the documents in it say of them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._documents: dict[str, bytes] = {}
        self._blobs: dict[str, Descriptor] = {}  # by name in the archive; no media type yet
        self._links: dict[str, str] = {}

    def read(self, stream: Readable) -> None:
        """All members."""
        members = tarformat.Members(tarformat.Source(compression.Reader(stream, foreign=True)))
        for entry in members:
            name = posixpath.normpath(entry.name)
            if len(self._blobs) + len(self._links) > MOST_FILES:
                raise errors.LabError(f"the archive has more than {MOST_FILES} files")
            if entry.kind in (SYMLINK, LINK):
                above = posixpath.dirname(name) if entry.kind == SYMLINK else ""
                self._links[name] = posixpath.normpath(posixpath.join(above, entry.target))
            elif entry.kind == FILE and name in _DOCUMENTS:
                self._documents[name] = members.read(entry, documents.LARGEST)
            elif entry.kind == FILE:
                self._blobs[name] = self._keep(members, entry, name)

    def _keep(self, members: tarformat.Members, entry: Entry, name: str) -> Descriptor:
        parts = name.split("/")
        stated = ""
        if len(parts) == 3 and parts[0] == "blobs":
            stated = documents.check_digest(f"{parts[1]}:{parts[2]}", name)
        with self._store.blobs.writer(stated, entry.stored) as writer:
            members.pass_on(entry, writer.write)
            digest, size = writer.commit()
        return Descriptor("", digest, size)

    def images(self) -> list[tuple[str, Image]]:
        """What the archive holds, kept and named."""
        if "index.json" in self._documents and "oci-layout" in self._documents:
            index = documents.parse_manifest(self._documents["index.json"], documents.OCI_INDEX)
            if not isinstance(index, Index):
                raise errors.SpecError("index.json", "it is no index")
            entries = tuple(one for one in index.manifests if self._store.blobs.has(one.digest))
            if entries:
                return _name_all(self._store, entries)
        if "manifest.json" in self._documents:
            return self._docker_images()
        raise errors.LabError("the archive holds no image: neither index.json nor manifest.json")

    def _docker_images(self) -> list[tuple[str, Image]]:
        found = []
        for number, one in enumerate(_docker_entries(self._documents["manifest.json"])):
            where = f"manifest.json[{number}]"
            config = self._blob(one["Config"], where).replace(media_type=documents.DOCKER_CONFIG)
            layers = [self._layer(path, where) for path in one["Layers"]]
            tags = [reference.parse(tag) for tag in one["RepoTags"]]
            self._check_layers(config, layers)
            image = self._store.add_manifest(config, layers, docker=True)
            for tag in tags:
                self._store.tag(tag, image.descriptor)
            again = self._store.open(image.descriptor)
            found += [(tag.familiar, again) for tag in tags] or [("", again)]
        return found

    def _layer(self, path: str, where: str) -> Descriptor:
        blob = self._blob(path, where)
        kind = packing.kind_of_blob(self._store, blob.digest)
        return blob.replace(media_type=packing.DOCKER_TYPES[kind])

    def _blob(self, path: str, where: str) -> Descriptor:
        name = posixpath.normpath(path)
        for _ in range(40):  # as many links as the kernel follows
            if name not in self._links:
                break
            name = self._links[name]
        if name not in self._blobs:
            raise errors.SpecError(where, f"{path[:200]!r} is not in the archive")
        return self._blobs[name]

    def _check_layers(self, config: Descriptor, layers: list[Descriptor]) -> None:
        """The old form does not say a layer's digest: a plain one must be what the config says."""
        found = documents.parse_config(self._store.blobs.read(config.digest))
        for layer, diff_id in zip(layers, found.diff_ids, strict=False):
            if layer.media_type == documents.DOCKER_LAYER and layer.digest != diff_id:
                raise errors.SpecError(
                    diff_id, f"the archive's layer has the digest {layer.digest}"
                )


def _docker_entries(data: bytes) -> list[dict[str, Any]]:
    """The checked entries of a manifest.json."""
    try:
        found = json.loads(data)
        entries = [
            {
                "Config": str(one["Config"]),
                "RepoTags": [str(tag) for tag in one.get("RepoTags") or ()],
                "Layers": [str(path) for path in one["Layers"] or ()],
            }
            for one in found
        ]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise errors.SpecError("manifest.json", "it is not as docker save writes it") from None
    if not entries:
        raise errors.SpecError("manifest.json", "it names no image")
    return entries
