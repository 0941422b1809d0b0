"""What a registry keeps: blobs once for all, and for each repository which of them are its own.

    blobs/, ingest/                            the content: see image.blobs
    repositories/NAME/_tags/TAG                the digest that a tag means
    repositories/NAME/_manifests/DIGEST        the manifest's media type
    repositories/NAME/_blobs/DIGEST            an empty file: who may pull NAME may have it
    repositories/NAME/_referrers/SUBJECT/DIGEST  the descriptor of what points at SUBJECT
    repositories/NAME/_uploads/ID              an empty file: an upload that goes on

Each file is written by rename, so that a killed server leaves every repository readable. No part of
a repository's name begins with `_`, so nothing gets into another's way.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import time

from labcontainer import errors
from labcontainer.image import documents
from labcontainer.image.blobs import Blobs, Writer
from labcontainer.image.documents import Descriptor, Index, Manifest
from labcontainer.kernel import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_NAME = re.compile(
    r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*"
)
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_UPLOAD = re.compile(r"[0-9a-f]{32}")
_UNFINISHED = re.compile(r"\.[0-9a-f]{12}\.new$")  # see files.write_atomically
LONGEST_NAME = 255
YOUNG = 3600  # seconds that content without a manifest is kept: its push may still go on


class RefusedError(errors.LabError):
    """A refusal in the specification's words: `code`, and the HTTP status that goes with it."""

    def __init__(self, code: str, message: str, status: int) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


class Repositories:
    """All repositories below a directory."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.blobs = Blobs(path)

    def _folder(self, name: str, *parts: str) -> str:
        if not _NAME.fullmatch(name) or len(name) > LONGEST_NAME:
            raise RefusedError("NAME_INVALID", f"invalid repository name {name[:100]!r}", 400)
        return "/".join((self.path, "repositories", name, *parts))

    def names(self) -> list[str]:
        """All repositories that have a manifest, in order."""
        top = f"{self.path}/repositories"
        found = [os.path.relpath(folder, top) for folder, inner, _ in os.walk(top)
                 if "_manifests" in inner and os.listdir(f"{folder}/_manifests")]  # fmt: skip
        return sorted(found)

    def check(self, name: str) -> None:
        """Refuse a repository that is not there."""
        if not os.path.isdir(self._folder(name)):
            raise RefusedError("NAME_UNKNOWN", f"repository {name} does not exist", 404)

    # --- manifests --------------------------------------------------------------------------------

    def tags(self, name: str) -> list[str]:
        """A repository's tags, in the order of their bytes."""
        self.check(name)
        return sorted(_list(self._folder(name, "_tags")))

    def manifest(self, name: str, tag_or_digest: str) -> Descriptor:
        """What a tag or digest means."""
        digest = tag_or_digest
        if ":" not in digest:
            digest = _read(self._folder(name, "_tags", _tag(tag_or_digest)))
        kind = _read(self._folder(name, "_manifests", _file(digest))) if digest else ""
        if not kind:
            raise RefusedError(
                "MANIFEST_UNKNOWN", f"manifest {tag_or_digest} is not in {name}", 404
            )
        return Descriptor(kind, digest, self.blobs.size(digest))

    def put_manifest(self, name: str, tag_or_digest: str, data: bytes, kind: str) -> Descriptor:
        """Store a manifest whose parts are here; its subject comes with `subject` set."""
        found = self._parsed(name, data, kind)
        algorithm = "sha256"
        if ":" in tag_or_digest:
            algorithm = _digest(tag_or_digest).partition(":")[0]
        digest = documents.digest_of(data, algorithm)
        if ":" in tag_or_digest and digest != tag_or_digest:
            raise RefusedError("DIGEST_INVALID", f"the manifest's digest is {digest}", 400)
        tag = "" if ":" in tag_or_digest else _tag(tag_or_digest)
        self.blobs.write(data, algorithm)
        _write(self._folder(name, "_manifests", _file(digest)), found.media_type)
        if found.subject is not None:
            self._refer(name, found, Descriptor(found.media_type, digest, len(data)))
        if tag:
            _write(self._folder(name, "_tags", tag), digest)
        return Descriptor(found.media_type, digest, len(data))

    def _parsed(self, name: str, data: bytes, kind: str) -> Manifest | Index:
        try:
            found = documents.parse_manifest(data, kind)
        except errors.SpecError as error:
            raise RefusedError("MANIFEST_INVALID", str(error), 400) from None
        if isinstance(found, Manifest):
            for part in (found.config, *found.layers):
                if not part.urls and not self.has_blob(name, part.digest):
                    raise RefusedError(
                        "MANIFEST_BLOB_UNKNOWN", f"blob {part.digest} is not in {name}", 404
                    )
        return found

    def _refer(self, name: str, found: Manifest | Index, own: Descriptor) -> None:
        assert found.subject is not None
        kind = found.artifact_type
        if not kind and isinstance(found, Manifest):
            kind = found.config.media_type
        shown = own.replace(artifact_type=kind, annotations=dict(found.annotations))
        place = self._folder(name, "_referrers", _file(found.subject.digest), _file(own.digest))
        _write(place, json.dumps(shown.to_json()))

    def subject(self, data: bytes) -> str:
        """The digest of what a manifest points at; "" for nothing."""
        found = documents.parse_manifest(data)
        return found.subject.digest if found.subject is not None else ""

    def referrers(self, name: str, digest: str, artifact_type: str = "") -> list[Descriptor]:
        """What points at a manifest, whether that is here or not."""
        folder = self._folder(name, "_referrers", _file(digest))
        found = [Descriptor.from_json(json.loads(_read(f"{folder}/{one}")))
                 for one in sorted(_list(folder))]  # fmt: skip
        return [one for one in found if not artifact_type or one.artifact_type == artifact_type]

    def delete_manifest(self, name: str, tag_or_digest: str) -> None:
        """A tag alone, or by its digest a manifest with all tags that mean it."""
        digest = self.manifest(name, tag_or_digest).digest
        if ":" not in tag_or_digest:
            _delete(self._folder(name, "_tags", tag_or_digest))
            return
        for tag in self.tags(name):
            if _read(self._folder(name, "_tags", tag)) == digest:
                _delete(self._folder(name, "_tags", tag))
        subject = self.subject(self.blobs.read(digest))
        if subject:
            _delete(self._folder(name, "_referrers", _file(subject), _file(digest)))
        _delete(self._folder(name, "_manifests", _file(digest)))

    # --- blobs ------------------------------------------------------------------------------------

    def has_blob(self, name: str, digest: str) -> bool:
        """Whether the repository has a blob: that another one has it does not count."""
        own = os.path.exists(self._folder(name, "_blobs", _file(digest)))
        return own and self.blobs.has(digest)

    def blob(self, name: str, digest: str) -> int:
        """A blob's size."""
        if not self.has_blob(name, digest):
            raise RefusedError("BLOB_UNKNOWN", f"blob {digest} is not in {name}", 404)
        return self.blobs.size(digest)

    def mount(self, name: str, digest: str, source: str) -> bool:
        """Take over another repository's blob; whether it has it."""
        try:
            there = self.has_blob(source, digest)
        except RefusedError:
            return False
        if there:
            self._own(name, digest)
        return there

    def _own(self, name: str, digest: str) -> None:
        _write(self._folder(name, "_blobs", _file(digest)), "")

    def delete_blob(self, name: str, digest: str) -> None:
        """Take a blob from a repository; `collect` frees what no repository has."""
        self.blob(name, digest)
        _delete(self._folder(name, "_blobs", _file(digest)))

    # --- uploads ----------------------------------------------------------------------------------

    def start_upload(self, name: str) -> str:
        """Begin an upload; its id."""
        identity = secrets.token_hex(16)
        _write(self._folder(name, "_uploads", identity), "")
        return identity

    def upload(self, name: str, identity: str, digest: str = "") -> Writer:
        """A writer that goes on where the upload is; a restart of the server does not end it."""
        if not _UPLOAD.fullmatch(identity) or not os.path.exists(
            self._folder(name, "_uploads", identity)
        ):
            raise RefusedError("BLOB_UPLOAD_UNKNOWN", "there is no such upload", 404)
        try:
            wanted = _digest(digest) if digest else ""
            return self.blobs.writer(wanted, resume=f"upload-{identity}", hash_late=True)
        except errors.StateError:
            raise RefusedError("BLOB_UPLOAD_INVALID", "somebody else is sending it", 409) from None

    def finish_upload(self, name: str, identity: str, writer: Writer, digest: str) -> None:
        """The upload is whole: make it the repository's blob."""
        try:
            writer.commit(_digest(digest))
        except errors.SpecError as error:
            self.cancel_upload(name, identity)
            raise RefusedError("DIGEST_INVALID", error.problem, 400) from None
        self._own(name, digest)
        self.cancel_upload(name, identity)

    def cancel_upload(self, name: str, identity: str) -> None:
        """Forget an upload."""
        self.blobs.forget(f"upload-{identity}")
        _delete(self._folder(name, "_uploads", identity))

    # --- what nobody needs ------------------------------------------------------------------------

    def collect(self, *, untagged: bool = False) -> int:
        """Free what no manifest needs; with `untagged` also manifests that no tag leads to.

        The bytes that were freed.
        """
        needed: set[str] = set()
        now = time.time()
        for name in self.names():
            needed |= self._needed(name, untagged, now)
        freed = 0
        for digest in list(self.blobs.all()):
            if digest not in needed and self.blobs.age(digest) < (now - YOUNG) * 1e9:
                freed += self.blobs.delete(digest)
        self.blobs.sweep_ingest(now - 24 * YOUNG)
        return freed

    def _needed(self, name: str, untagged: bool, now: float) -> set[str]:
        kept = {_read(self._folder(name, "_tags", tag)) for tag in self.tags(name)}
        manifests = [_unfile(one) for one in _list(self._folder(name, "_manifests"))]
        todo = list(kept if untagged else manifests)
        needed: set[str] = set()
        while todo:
            digest = todo.pop()
            if digest in needed or not self.blobs.has(digest):
                continue
            needed.add(digest)
            found = documents.parse_manifest(self.blobs.read(digest))
            todo += [one.digest for one in self.referrers(name, digest)]
            if isinstance(found, Index):
                todo += [one.digest for one in found.manifests]
            else:
                needed |= {found.config.digest, *(layer.digest for layer in found.layers)}
        for digest in manifests:
            if digest not in needed:
                self.delete_manifest(name, digest)
        for one in list(_list(self._folder(name, "_blobs"))):
            path = self._folder(name, "_blobs", one)
            if _unfile(one) not in needed and os.stat(path).st_mtime < now - YOUNG:
                _delete(path)
        return needed


def _digest(text: str) -> str:
    try:
        return documents.check_digest(text)
    except errors.SpecError as error:
        raise RefusedError("DIGEST_INVALID", error.problem, 400) from None


def _tag(text: str) -> str:
    if not _TAG.fullmatch(text):
        raise RefusedError("MANIFEST_INVALID", f"invalid tag {text[:100]!r}", 400)
    return text


def _file(digest: str) -> str:
    return _digest(digest).replace(":", "-")


def _unfile(name: str) -> str:
    return name.replace("-", ":", 1)


def _list(folder: str) -> Iterator[str]:
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return
    yield from (name for name in names if not _UNFINISHED.search(name))


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def _write(path: str, text: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    files.write_atomically(path, text.encode(), 0o644)


def _delete(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
