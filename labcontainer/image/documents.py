"""The documents that make an image: descriptors, manifests, indexes and the configuration.

Each points at the next by its digest, so that the digest of the first names all of it:

    index ──▶ manifest ──▶ config      what to run, and the digests of the unpacked layers
                       └─▶ layer …     tar archives

Docker's own forms (version 2, schema 2) differ in their media types only. What is read is checked;
what is written is the same bytes for the same content. Source: OCI image-spec 1.1, manifest.md,
image-index.md, config.md, descriptor.md.
"""

from __future__ import annotations

import hashlib
import json
import os
import re

from labcontainer import errors
from labcontainer.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    Json = dict[str, Any]

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP = f"{OCI_LAYER}+gzip"
OCI_LAYER_ZSTD = f"{OCI_LAYER}+zstd"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP = f"{DOCKER_LAYER}.gzip"
DOCKER_LAYER_ZSTD = f"{DOCKER_LAYER}.zstd"

INDEXES = (OCI_INDEX, DOCKER_LIST)
MANIFESTS = (OCI_MANIFEST, DOCKER_MANIFEST)
LARGEST = 4 << 20  # bytes of one document: the limit that registries have, too
MOST_LAYERS = 500
_DIGESTS = {"sha256": re.compile("[0-9a-f]{64}"), "sha512": re.compile("[0-9a-f]{128}")}


# --- digests --------------------------------------------------------------------------------------


def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    """`sha256:…` of some bytes."""
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def check_digest(text: object, where: str = "digest") -> str:
    """The digest itself, when it is one that can be checked here.

    Raises:
        SpecError: it is none.
    """
    if isinstance(text, str):
        algorithm, _, value = text.partition(":")
        pattern = _DIGESTS.get(algorithm)
        if pattern is not None and pattern.fullmatch(value):
            return text
    raise errors.SpecError(where, f"{str(text)[:80]!r} is no sha256 or sha512 digest")


# --- platforms ------------------------------------------------------------------------------------

_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386",
             "ppc64le": "ppc64le", "s390x": "s390x", "riscv64": "riscv64"}  # fmt: skip


class Platform(Record):
    """For which machines something is: Go's names for systems and processors."""

    os: str = "linux"
    architecture: str = ""
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)

    def matches(self, asked: Platform) -> bool:
        """Whether this one serves who asks for `asked`; a variant that nobody named is any."""
        same = (self.os, self.architecture) == (asked.os, asked.architecture)
        if self.architecture == "arm64":
            return same and {self.variant or "v8"} >= {asked.variant or "v8"}
        return same and (not asked.variant or self.variant in ("", asked.variant))


def host_platform() -> Platform:
    """This machine's."""
    machine = os.uname().machine
    variant = "v7" if machine == "armv7l" else ""
    return Platform("linux", _MACHINES.get(machine, machine), variant)


def parse_platform(text: str) -> Platform:
    """`linux/arm64`, `linux/arm/v7`, or the processor alone.

    Raises:
        UsageError: it is none.
    """
    parts = text.lower().split("/")
    if (
        not all(re.fullmatch(r"[a-z0-9_]+(?:[.-][a-z0-9_]+)*", part) for part in parts)
        or len(parts) > 3
    ):
        raise errors.UsageError(f"invalid platform {text!r}: it is OS/ARCH[/VARIANT]")
    if len(parts) == 1:
        parts = ["linux", parts[0]]
    parts[1] = _MACHINES.get(parts[1], parts[1])
    return Platform(*parts)


# --- descriptors, manifests, indexes --------------------------------------------------------------


class Descriptor(Record):
    """What a document says of another: type, digest, size in bytes."""

    media_type: str
    digest: str
    size: int
    platform: Platform | None = None
    annotations: Mapping[str, str] = {}
    artifact_type: str = ""
    urls: tuple[str, ...] = ()

    def to_json(self) -> Json:
        """As the specification has it."""
        found: Json = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        if self.urls:
            found["urls"] = list(self.urls)
        if self.annotations:
            found["annotations"] = dict(self.annotations)
        if self.platform is not None:
            found["platform"] = platform_json(self.platform)
        if self.artifact_type:
            found["artifactType"] = self.artifact_type
        return found

    @classmethod
    def from_json(cls, value: object, where: str = "descriptor") -> Descriptor:
        """Parsed and checked.

        Raises:
            SpecError: it is no descriptor.
        """
        fields = _object(value, where)
        size = fields.get("size")
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise errors.SpecError(f"{where}.size", f"{str(size)[:40]!r} is no number of bytes")
        platform = fields.get("platform")
        return cls(
            media_type=_text(fields, "mediaType", where),
            digest=check_digest(fields.get("digest"), f"{where}.digest"),
            size=size,
            platform=None if platform is None else _platform(platform, f"{where}.platform"),
            annotations=_texts(fields.get("annotations"), f"{where}.annotations"),
            artifact_type=_text(fields, "artifactType", where, needed=False),
            urls=tuple(map(str, fields.get("urls") or ())),
        )


class Manifest(Record):
    """One image for one platform: its configuration and its layers, the lowest first."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = {}
    artifact_type: str = ""
    subject: Descriptor | None = None

    def encode(self) -> bytes:
        """The document's bytes."""
        found: Json = {"schemaVersion": 2, "mediaType": self.media_type}
        if self.artifact_type:
            found["artifactType"] = self.artifact_type
        found["config"] = self.config.to_json()
        found["layers"] = [layer.to_json() for layer in self.layers]
        if self.subject is not None:
            found["subject"] = self.subject.to_json()
        if self.annotations:
            found["annotations"] = dict(self.annotations)
        return encode(found)


class Index(Record):
    """Manifests, for several platforms or of several names."""

    media_type: str
    manifests: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = {}
    artifact_type: str = ""
    subject: Descriptor | None = None

    def encode(self) -> bytes:
        """The document's bytes."""
        found: Json = {"schemaVersion": 2, "mediaType": self.media_type}
        if self.artifact_type:
            found["artifactType"] = self.artifact_type
        found["manifests"] = [one.to_json() for one in self.manifests]
        if self.subject is not None:
            found["subject"] = self.subject.to_json()
        if self.annotations:
            found["annotations"] = dict(self.annotations)
        return encode(found)

    def choose(self, asked: Platform) -> Descriptor:
        """The manifest for a platform; the one without a platform if it stands alone.

        Raises:
            NotFoundError: there is none; says which there are.
        """
        for one in self.manifests:
            if one.platform is not None and one.platform.matches(asked):
                return one
        unnamed = [one for one in self.manifests if one.platform is None]
        if len(unnamed) == 1 == len(self.manifests):
            return unnamed[0]
        there = sorted({str(one.platform) for one in self.manifests if one.platform})
        raise errors.NotFoundError(
            f"no matching manifest for {asked} in the manifest list entries: "
            f"it has {', '.join(there) or 'none'}"
        )


def encode(value: Json) -> bytes:
    """JSON without spaces, in the order in which the fields were put."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def decode(data: bytes, where: str) -> Json:
    """A document's object.

    Raises:
        SpecError: it is too large, or no JSON object.
    """
    if len(data) > LARGEST:
        raise errors.SpecError(where, f"{len(data)} bytes are more than the {LARGEST} allowed")
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        raise errors.SpecError(where, "it is no JSON") from None
    return _object(found, where)


def parse_manifest(data: bytes, media_type: str = "") -> Manifest | Index:
    """A manifest or an index, whichever its media type says; the document's own counts.

    Raises:
        SpecError: it is neither, or broken.
    """
    fields = decode(data, "manifest")
    if fields.get("schemaVersion") != 2:
        raise errors.SpecError(
            "manifest.schemaVersion", f"{fields.get('schemaVersion')!r} is not 2"
        )
    said = _text(fields, "mediaType", "manifest", needed=False)
    known = (*INDEXES, *MANIFESTS)
    if said and media_type in known and said != media_type:
        raise errors.SpecError("manifest.mediaType", f"{said!r}, but it came as {media_type!r}")
    kind = said or (media_type if media_type in known else "")
    if not kind:
        kind = OCI_INDEX if "manifests" in fields else OCI_MANIFEST
    if kind in INDEXES and "layers" not in fields:
        return _index(fields, kind)
    if kind in MANIFESTS and "manifests" not in fields:
        return _manifest(fields, kind)
    raise errors.SpecError("manifest.mediaType", f"{kind!r} is no image manifest or index")


def _manifest(fields: Json, kind: str) -> Manifest:
    layers = _list(fields, "layers", "manifest")
    if len(layers) > MOST_LAYERS:
        raise errors.SpecError("manifest.layers", f"{len(layers)} are more than {MOST_LAYERS}")
    subject = fields.get("subject")
    return Manifest(
        media_type=kind,
        config=Descriptor.from_json(fields.get("config"), "manifest.config"),
        layers=tuple(
            Descriptor.from_json(one, f"manifest.layers[{place}]")
            for place, one in enumerate(layers)
        ),
        annotations=_texts(fields.get("annotations"), "manifest.annotations"),
        artifact_type=_text(fields, "artifactType", "manifest", needed=False),
        subject=None if subject is None else Descriptor.from_json(subject, "manifest.subject"),
    )


def _index(fields: Json, kind: str) -> Index:
    subject = fields.get("subject")
    return Index(
        media_type=kind,
        manifests=tuple(
            Descriptor.from_json(one, f"index.manifests[{place}]")
            for place, one in enumerate(_list(fields, "manifests", "index"))
        ),
        annotations=_texts(fields.get("annotations"), "index.annotations"),
        artifact_type=_text(fields, "artifactType", "index", needed=False),
        subject=None if subject is None else Descriptor.from_json(subject, "index.subject"),
    )


# --- the configuration ----------------------------------------------------------------------------


class ImageConfig(Record):
    """What an image runs, and what its layers are when unpacked.

    `config` has Docker's words: Env, Cmd, Entrypoint, WorkingDir, User, Volumes, ExposedPorts,
    Labels, StopSignal, Healthcheck, OnBuild, Shell. `history` has one entry for each instruction.
    """

    platform: Platform
    diff_ids: tuple[str, ...]
    config: Mapping[str, Any] = {}
    history: tuple[Mapping[str, Any], ...] = ()
    created: str = ""
    author: str = ""
    extra: Mapping[str, Any] = {}  # what others wrote and we carry on: docker_version, …

    def encode(self) -> bytes:
        """The document's bytes; its digest is the image's id."""
        found: Json = {}
        if self.created:
            found["created"] = self.created
        if self.author:
            found["author"] = self.author
        found["architecture"] = self.platform.architecture
        found["os"] = self.platform.os
        if self.platform.variant:
            found["variant"] = self.platform.variant
        found["config"] = dict(self.config)
        found["rootfs"] = {"type": "layers", "diff_ids": list(self.diff_ids)}
        found["history"] = [dict(one) for one in self.history]
        return encode({**self.extra, **found})

    @property
    def chain_ids(self) -> tuple[str, ...]:
        """A digest for each layer with all below it (image-spec, config.md, "Layer ChainID")."""
        found: list[str] = []
        for diff_id in self.diff_ids:
            below = found[-1] if found else ""
            found.append(digest_of(f"{below} {diff_id}".encode()) if below else diff_id)
        return tuple(found)


_CONFIG_KINDS: dict[str, type | tuple[type, ...]] = {
    "Env": list, "Cmd": list, "Entrypoint": list, "OnBuild": list, "Shell": list,
    "WorkingDir": str, "User": str, "StopSignal": str,
    "Volumes": dict, "ExposedPorts": dict, "Labels": dict, "Healthcheck": dict,
}  # fmt: skip
_OWN_FIELDS = frozenset(("created", "author", "architecture", "os", "variant", "config", "rootfs",
                         "history"))  # fmt: skip


def parse_config(data: bytes) -> ImageConfig:
    """An image's configuration.

    Raises:
        SpecError: it is broken.
    """
    fields = decode(data, "config")
    rootfs = _object(fields.get("rootfs"), "config.rootfs")
    history = _list(fields, "history", "config") if fields.get("history") is not None else []
    diff_ids = _list(rootfs, "diff_ids", "config.rootfs") if rootfs.get("diff_ids") else []
    settings = _settings(fields.get("config"))
    return ImageConfig(
        platform=_platform(fields, "config"),
        diff_ids=tuple(check_digest(one, "config.rootfs.diff_ids") for one in diff_ids),
        config=settings,
        history=tuple(_object(one, "config.history") for one in history),
        created=_text(fields, "created", "config", needed=False),
        author=_text(fields, "author", "config", needed=False),
        extra={name: value for name, value in fields.items() if name not in _OWN_FIELDS},
    )


def _settings(value: object) -> Json:
    found = _object(value, "config.config") if value is not None else {}
    for name, kind in _CONFIG_KINDS.items():
        one = found.get(name)
        if one is None:
            continue
        words = one if isinstance(one, list) else []
        if not isinstance(one, kind) or not all(isinstance(word, str) for word in words):
            raise errors.SpecError(
                f"config.config.{name}", f"{str(one)[:60]!r} is not what it takes"
            )
    return found


# --- checks ---------------------------------------------------------------------------------------


def _object(value: object, where: str) -> Json:
    if not isinstance(value, dict):
        raise errors.SpecError(where, "it is no JSON object")
    return value


def _list(fields: Json, name: str, where: str) -> list[Any]:
    value = fields.get(name)
    if not isinstance(value, list):
        raise errors.SpecError(f"{where}.{name}", "it is no list")
    return value


def _text(fields: Json, name: str, where: str, *, needed: bool = True) -> str:
    value = fields.get(name)
    if value is None and not needed:
        return ""
    if not isinstance(value, str) or (needed and not value):
        raise errors.SpecError(f"{where}.{name}", f"{str(value)[:60]!r} is no text")
    return value


def _texts(value: object, where: str) -> dict[str, str]:
    if value is None:
        return {}
    found = _object(value, where)
    if not all(isinstance(one, str) for one in found.values()):
        raise errors.SpecError(where, "its values are not all texts")
    return found


def _platform(value: object, where: str) -> Platform:
    fields = _object(value, where)
    return Platform(
        os=_text(fields, "os", where, needed=False) or "linux",
        architecture=_text(fields, "architecture", where, needed=False),
        variant=_text(fields, "variant", where, needed=False),
    )


def platform_json(platform: Platform) -> Json:
    """A platform as descriptors and registries have it."""
    found: Json = {"architecture": platform.architecture, "os": platform.os}
    return {**found, "variant": platform.variant} if platform.variant else found
