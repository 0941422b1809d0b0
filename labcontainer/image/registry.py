"""A registry's client: the distribution-spec's calls, with what may go wrong on the way.

    GET  /v2/NAME/manifests/TAG      a document that leads to all the rest
    GET  /v2/NAME/blobs/DIGEST       its parts, each checked against its digest
    POST /v2/NAME/blobs/uploads/     then PATCH the bytes, then PUT the digest

Source: OCI distribution-spec 1.1.
"""

from __future__ import annotations

import json
import time
from urllib.parse import urlencode, urljoin

import urllib3

from labcontainer.image import documents
from labcontainer.image.documents import Descriptor
from labcontainer.image.session import PAUSES, TRIES, MissingError, RegistryError, Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MOST_TAGS = 100_000
ACCEPT = ", ".join((documents.OCI_INDEX, documents.DOCKER_LIST, documents.OCI_MANIFEST,
                    documents.DOCKER_MANIFEST))  # fmt: skip


class Registry(Session):
    """One registry server. `repository` is given with each call."""

    # --- manifests --------------------------------------------------------------------------------

    def manifest(self, repository: str, tag_or_digest: str) -> tuple[bytes, Descriptor]:
        """A manifest's or index's bytes, and what they are.

        Raises:
            RegistryError: it is not there, too large, or not what its digest says.
        """
        path = f"/v2/{repository}/manifests/{tag_or_digest}"
        scope = scope_of(repository, "pull")
        answer = self.request("GET", path, scope=scope, headers={"Accept": ACCEPT})
        data = self.bounded(answer, documents.LARGEST, "the manifest")
        kind = answer.headers.get("Content-Type", "").partition(";")[0].strip()
        algorithm = tag_or_digest.partition(":")[0] if ":" in tag_or_digest else "sha256"
        digest = documents.digest_of(data, algorithm)
        if ":" in tag_or_digest and digest != tag_or_digest:
            raise RegistryError(
                f"{self.place.registry}: the manifest {tag_or_digest} has the digest {digest}"
            )
        return data, Descriptor(kind or documents.OCI_MANIFEST, digest, len(data))

    def put_manifest(
        self, repository: str, tag_or_digest: str, data: bytes, media_type: str
    ) -> None:
        """Store a manifest under a tag or its digest.

        Raises:
            RegistryError: refused, as when it leads to what is not there.
        """
        answer = self.request(
            "PUT", f"/v2/{repository}/manifests/{tag_or_digest}", body=lambda: data,
            scope=scope_of(repository, "pull,push"), headers={"Content-Type": media_type},
            wanted=(200, 201, 202),
        )  # fmt: skip
        answer.drain_conn()
        answer.release_conn()

    # --- blobs ------------------------------------------------------------------------------------

    def blob(self, repository: str, digest: str, start: int = 0) -> tuple[int, Iterator[bytes]]:
        """A blob's bytes, from `start` on if the registry can: (where they begin, the bytes)."""
        headers = {"Range": f"bytes={start}-"} if start else {}
        answer = self.request("GET", f"/v2/{repository}/blobs/{digest}", headers=headers,
                              scope=scope_of(repository, "pull"), wanted=(200, 206))  # fmt: skip
        begins = start if answer.status == 206 else 0
        said = answer.headers.get("Content-Range", "")
        if answer.status == 206 and not said.startswith(f"bytes {start}-"):
            answer.close()
            raise RegistryError(
                f"{self.place.registry}: asked from byte {start}, got {said[:60]!r}"
            )
        return begins, self.body_of(answer)

    def has_blob(self, repository: str, digest: str) -> bool:
        """Whether a repository has a blob."""
        answer = self.request("HEAD", f"/v2/{repository}/blobs/{digest}",
                              scope=scope_of(repository, "pull"), wanted=(200, 404))  # fmt: skip
        answer.release_conn()
        return answer.status == 200

    def start_upload(self, repository: str, digest: str = "", mount_from: str = "") -> str:
        """Where to send a blob's bytes; "" if another repository's could be mounted instead."""
        words = {"mount": digest, "from": mount_from} if mount_from else {}
        path = f"/v2/{repository}/blobs/uploads/" + (f"?{urlencode(words)}" if words else "")
        answer = self.request("POST", path, scope=scope_of(repository, "pull,push", mount_from),
                              body=lambda: b"", wanted=(201, 202))  # fmt: skip
        answer.drain_conn()
        answer.release_conn()
        if answer.status == 201:
            return ""
        return self._location(answer)

    def _location(self, answer: urllib3.BaseHTTPResponse) -> str:
        target = answer.headers.get("Location", "")
        if not target:
            raise RegistryError(f"{self.place.registry}: an upload without a Location")
        found = urljoin(self.place.url + "/", target)
        if self.place.url.startswith("https:") and not found.startswith("https:"):
            raise RegistryError(f"{self.place.registry}: an upload to {found[:100]} is refused")
        return found

    def upload(
        self,
        repository: str,
        digest: str,
        size: int,
        opened: Callable[[int], Iterator[bytes]],
        mount_from: str = "",
    ) -> bool:
        """Send a blob; false if another repository's was mounted and nothing was sent.

        `opened(start)` gives the bytes from there on. What broke off goes on where the registry
        says that it stopped.

        Raises:
            RegistryError: refused, or broken off too often.
        """
        where = self.start_upload(repository, digest, mount_from)
        if not where:
            return False
        done = 0
        for turn in range(TRIES):
            try:
                where = self._patch(repository, where, done, size, opened)
                break
            except RegistryError as error:
                if error.status or turn == TRIES - 1:
                    raise
                time.sleep(PAUSES[turn])
                where, done = self._uploaded(repository, where)
        mark = "&" if "?" in where else "?"
        answer = self.request("PUT", f"{where}{mark}{urlencode({'digest': digest})}",
                              scope=scope_of(repository, "pull,push"), body=lambda: b"",
                              wanted=(201, 204))  # fmt: skip
        answer.drain_conn()
        answer.release_conn()
        return True

    def _patch(
        self, repository: str, where: str, start: int, size: int,
        opened: Callable[[int], Iterator[bytes]],
    ) -> str:  # fmt: skip
        if start >= size:
            return where
        headers = {"Content-Type": "application/octet-stream",
                   "Content-Range": f"{start}-{size - 1}"}  # fmt: skip
        try:
            answer = self.send("PATCH", where, scope_of(repository, "pull,push"), headers,
                                lambda: opened(start), size - start)  # fmt: skip
        except urllib3.exceptions.HTTPError as error:
            raise self.unreachable(error) from None
        answer = self.checked(answer, "PATCH", where, (202,))
        answer.drain_conn()
        answer.release_conn()
        return self._location(answer)

    def _uploaded(self, repository: str, where: str) -> tuple[str, int]:
        """How far an upload got: (where it goes on, bytes that are there)."""
        answer = self.request("GET", where, scope=scope_of(repository, "pull,push"),
                              wanted=(204,))  # fmt: skip
        answer.release_conn()
        last = answer.headers.get("Range", "").partition("-")[2]
        return self._location(answer), int(last) + 1 if last.isdecimal() and last != "0" else 0

    # --- lists ------------------------------------------------------------------------------------

    def tags(self, repository: str) -> list[str]:
        """All tags of a repository.

        Raises:
            RegistryError: the list has no end.
        """
        found: list[str] = []
        path = f"/v2/{repository}/tags/list?n=1000"
        while path:
            answer = self.request("GET", path, scope=scope_of(repository, "pull"))
            data = self.bounded(answer, 16 << 20, "the list of tags")
            try:
                new = [str(tag) for tag in json.loads(data).get("tags") or ()]
            except (ValueError, AttributeError, TypeError):
                raise RegistryError(f"{self.place.registry}: the list of tags is no JSON") from None
            following = _next(answer.headers.get("Link", ""))
            found += new
            if len(found) > MOST_TAGS or (following and not new):
                raise RegistryError(f"{self.place.registry}: the list of tags has no end")
            path = following
        return found

    def referrers(self, repository: str, digest: str, artifact_type: str = "") -> list[Descriptor]:
        """What points at a manifest; by its tag where the registry does not know the call."""
        words = f"?{urlencode({'artifactType': artifact_type})}" if artifact_type else ""
        answer = self.request("GET", f"/v2/{repository}/referrers/{digest}{words}",
                              scope=scope_of(repository, "pull"), wanted=(200, 404))  # fmt: skip
        if answer.status == 200:
            data = self.bounded(answer, documents.LARGEST, "the list of referrers")
        else:
            answer.drain_conn()
            answer.release_conn()
            try:
                data, _ = self.manifest(repository, digest.replace(":", "-"))
            except MissingError:
                return []
        found = documents.parse_manifest(data, documents.OCI_INDEX)
        if not isinstance(found, documents.Index):
            raise RegistryError(f"{self.place.registry}: the list of referrers is no index")
        return [one for one in found.manifests
                if not artifact_type or one.artifact_type == artifact_type]  # fmt: skip


def scope_of(repository: str, actions: str, also_from: str = "") -> str:
    """What a token must allow."""
    scope = f"repository:{repository}:{actions}"
    return f"{scope} repository:{also_from}:pull" if also_from else scope


def _next(link: str) -> str:
    """The address in `<…>; rel="next"` (RFC 8288), "" at the last page."""
    target, _, rest = link.partition(">")
    return target.lstrip("<") if 'rel="next"' in rest or "rel=next" in rest else ""
