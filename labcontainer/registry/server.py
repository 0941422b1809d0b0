"""The HTTP side of a registry: OCI distribution-spec 1.1, one function for each of its calls.

A handler reads what was asked, makes one call of `repositories`, and writes what came of it. All
refusals go through one place, in the specification's JSON.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlencode, urlsplit

from labcontainer import errors
from labcontainer.image import documents
from labcontainer.image.documents import Descriptor, Index
from labcontainer.record import Record
from labcontainer.registry.access import Passwords
from labcontainer.registry.bodies import Body
from labcontainer.registry.repositories import RefusedError, Repositories

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

QUIET = 60  # seconds without a byte before a connection is closed
LONGEST_LIST = 1000
JSON = "application/json"


class Options(Record):
    """How a registry is served; paths of files, "" where not wanted."""

    host: str = "127.0.0.1"
    port: int = 5000
    htpasswd: str = ""
    cert: str = ""
    key: str = ""
    read_only: bool = False
    verbose: bool = False


class Server(ThreadingHTTPServer):
    """A registry that listens. Each connection has a thread of its own."""

    daemon_threads = True
    request_queue_size = 128
    allow_reuse_address = True

    def __init__(self, repositories: Repositories, options: Options) -> None:
        if ":" in options.host:
            self.address_family = socket.AF_INET6
        self.repositories = repositories
        self.options = options
        self.passwords = Passwords(options.htpasswd) if options.htpasswd else None
        self._tls: ssl.SSLContext | None = None
        if options.cert:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(options.cert, options.key or None)
        super().__init__((options.host, options.port), Handler)

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = self.server_address[:2]
        shown = f"[{host!s}]" if ":" in str(host) else str(host)
        return f"{'https' if self._tls else 'http'}://{shown}:{port}"

    def finish_request(self, request: object, client_address: object) -> None:
        """In the connection's own thread: a slow TLS handshake keeps nobody else waiting."""
        if self._tls is not None:
            request.settimeout(QUIET)  # type: ignore[attr-defined]
            request = self._tls.wrap_socket(request, server_side=True)  # type: ignore[arg-type]
        try:
            super().finish_request(request, client_address)  # type: ignore[arg-type]
        finally:
            if self._tls is not None:
                request.close()  # type: ignore[attr-defined]

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away in the middle is no error of ours."""
        del request, client_address
        import sys
        import traceback

        if self.options.verbose and not isinstance(sys.exc_info()[1], OSError):
            traceback.print_exc()

    def start(self) -> threading.Thread:
        """Serve in a thread of its own; `shutdown` ends it."""
        thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        return thread


class Handler(BaseHTTPRequestHandler):
    """One connection: request after request."""

    protocol_version = "HTTP/1.1"
    server_version = "labcontainer-registry"
    sys_version = ""
    timeout = QUIET
    wbufsize = 64 << 10  # unbuffered, each header line would be a packet, and wait for its answer
    disable_nagle_algorithm = True
    server: Server

    # --- the way in -------------------------------------------------------------------------------

    def do_GET(self) -> None:
        """Find the call and make it; HEAD, PUT and the others come here too."""
        self.body = Body(self.rfile)
        try:
            path = self._read_head()
            self._authorize()
            call, parts = _find(self.command, path)
            if self.server.options.read_only and self.command not in ("GET", "HEAD"):
                raise RefusedError("DENIED", "this registry can only be read", 403)
            call(self, *parts)
        except RefusedError as refused:
            self._refuse(refused)
        except errors.NotFoundError as error:
            self._refuse(RefusedError("BLOB_UNKNOWN", str(error), 404))
        except errors.LabError as error:
            self._refuse(RefusedError("MANIFEST_INVALID", str(error), 400))
        except (ConnectionError, TimeoutError):
            self.close_connection = True
        except OSError as error:
            self._refuse(RefusedError("UNKNOWN", f"the registry's disk: {error.strerror}", 507))
        if self.body.is_long:  # what a refused request still sends: a little is read
            self.close_connection = True
        elif not self.close_connection:
            self.body.pass_over()

    do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = do_GET

    def _read_head(self) -> str:
        """What the first lines say: the path, the words behind it, the length of the body."""
        try:
            url = urlsplit(self.path)
            self.words = {name: values[-1] for name, values in
                          parse_qs(url.query, keep_blank_values=True).items()}  # fmt: skip
        except ValueError as error:
            self.close_connection = True
            raise RefusedError("UNSUPPORTED", f"a bad address: {error}", 400) from None
        try:
            self.body = Body.of(self.rfile, self.headers)
        except RefusedError:
            self.close_connection = True  # nobody knows where the next request would begin
            raise
        return url.path

    def _authorize(self) -> None:
        passwords = self.server.passwords
        if passwords is not None and not passwords.allows(self.headers.get("Authorization", "")):
            raise RefusedError("UNAUTHORIZED", "authentication required", 401)

    def handle_expect_100(self) -> bool:
        """Say `100 Continue` at once: the client waits for it."""
        super().handle_expect_100()
        self.wfile.flush()
        return True

    # --- answers ----------------------------------------------------------------------------------

    def answer(self, status: int, headers: dict[str, str] | None = None, data: bytes = b"") -> None:
        """A whole answer; for HEAD without its body."""
        self.send_response(status)
        found = {"Docker-Distribution-Api-Version": "registry/2.0", **(headers or {})}
        if status != 204:
            found.setdefault("Content-Length", str(len(data)))
        for name, value in found.items():
            self.send_header(name, value)
        if self.close_connection or self.body.is_long:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
        self.wfile.flush()

    def _refuse(self, refused: RefusedError) -> None:
        data = json.dumps({"errors": [{"code": refused.code, "message": str(refused),
                                       "detail": None}]}).encode()  # fmt: skip
        headers = {"Content-Type": JSON}
        if refused.status == 401:
            headers["WWW-Authenticate"] = 'Basic realm="labcontainer registry"'
        self.answer(refused.status, headers, data)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """A line for each request, when asked for; never a header, which may hold a password."""
        del size
        if self.server.options.verbose:
            print(f"{self.command} {self.path} {int(code)}", flush=True)

    def log_message(self, format: str, *args: object) -> None:
        """Silent: what clients do wrong is their own to read."""

    # --- the calls --------------------------------------------------------------------------------

    def base(self) -> None:
        """Is this a registry?"""
        self.answer(200, {"Content-Type": JSON}, b"{}")

    def catalog(self) -> None:
        """All repositories."""
        names, link = self._page(self.server.repositories.names(), "/v2/_catalog")
        self.answer(200, {"Content-Type": JSON, **link}, _json({"repositories": names}))

    def tags(self, name: str) -> None:
        """All tags of one."""
        tags, link = self._page(self.server.repositories.tags(name), f"/v2/{name}/tags/list")
        self.answer(200, {"Content-Type": JSON, **link}, _json({"name": name, "tags": tags}))

    def _page(self, found: list[str], path: str) -> tuple[list[str], dict[str, str]]:
        """`n` entries after `last`, and where the next page is."""
        last = self.words.get("last", "")
        rest = [one for one in found if one > last] if last else found
        text = self.words.get("n", str(LONGEST_LIST))
        if not text.isdecimal() or len(text) > 18:
            raise RefusedError("PAGINATION_NUMBER_INVALID", f"invalid n {text[:20]!r}", 400)
        count = min(int(text), LONGEST_LIST)
        page = rest[:count]
        if len(rest) <= count or not page:
            return page, {}
        following = urlencode({"n": count, "last": page[-1]})
        return page, {"Link": f'<{path}?{following}>; rel="next"'}

    def get_manifest(self, name: str, tag_or_digest: str) -> None:
        """A manifest's bytes, as they came."""
        found = self.server.repositories.manifest(name, tag_or_digest)
        data = self.server.repositories.blobs.read(found.digest)
        self.answer(200, _described(found), data)

    def put_manifest(self, name: str, tag_or_digest: str) -> None:
        """Store a manifest."""
        data = b""
        for part in self.body:
            data += part
            if len(data) > documents.LARGEST:
                raise RefusedError("SIZE_INVALID", "the manifest is too large", 413)
        kind = self.headers.get("Content-Type", "").partition(";")[0].strip()
        repositories = self.server.repositories
        found = repositories.put_manifest(name, tag_or_digest, data, kind)
        headers = {"Location": f"/v2/{name}/manifests/{found.digest}",
                   "Docker-Content-Digest": found.digest}  # fmt: skip
        if subject := repositories.subject(data):
            headers["OCI-Subject"] = subject
        self.answer(201, headers)

    def delete_manifest(self, name: str, tag_or_digest: str) -> None:
        """Delete a tag, or a manifest."""
        self.server.repositories.delete_manifest(name, tag_or_digest)
        self.answer(202)

    def referrers(self, name: str, digest: str) -> None:
        """What points at a manifest, as an index."""
        kind = self.words.get("artifactType", "")
        found = self.server.repositories.referrers(name, digest, kind)
        headers = {"Content-Type": documents.OCI_INDEX}
        if kind:
            headers["OCI-Filters-Applied"] = "artifactType"
        self.answer(200, headers, Index(documents.OCI_INDEX, tuple(found)).encode())

    def get_blob(self, name: str, digest: str) -> None:
        """A blob's bytes, or some of them."""
        size = self.server.repositories.blob(name, digest)
        first, last = _range(self.headers.get("Range", ""), size)
        headers = {**_described(Descriptor("application/octet-stream", digest, size)),
                   "Accept-Ranges": "bytes", "Content-Length": str(last - first + 1)}  # fmt: skip
        part = (first, last) != (0, size - 1)
        if part:
            headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        self.answer(206 if part else 200, headers)
        if self.command == "HEAD" or not size:
            return
        with open(self.server.repositories.blobs.path(digest), "rb") as file:
            self.connection.sendfile(file, first, last - first + 1)

    def delete_blob(self, name: str, digest: str) -> None:
        """Take a blob from a repository."""
        self.server.repositories.delete_blob(name, digest)
        self.answer(202, {"Docker-Content-Digest": digest})

    # --- uploads ----------------------------------------------------------------------------------

    def start_upload(self, name: str) -> None:
        """Begin an upload; mount another repository's blob, or take it all at once, if asked."""
        repositories = self.server.repositories
        if mounted := self.words.get("mount", ""):
            if repositories.mount(name, mounted, self.words.get("from", "")):
                self._created(name, mounted)
                return
        identity = repositories.start_upload(name)
        if digest := self.words.get("digest", ""):
            self._finish(name, identity, digest)
            return
        self._accepted(name, identity, 0)

    def upload_status(self, name: str, identity: str) -> None:
        """How much of an upload is here."""
        with self.server.repositories.upload(name, identity) as writer:
            size = writer.written
        self._accepted(name, identity, size, 204)

    def patch_upload(self, name: str, identity: str) -> None:
        """The next bytes of an upload. What came stays, however the connection ends."""
        with self.server.repositories.upload(name, identity) as writer:
            fits = self._goes_on_at(writer.written)
            if fits:
                for data in self.body:
                    writer.write(data)
            size = writer.written
        # Answered once the upload is free again: whoever hears it may go on at once.
        self._accepted(name, identity, size, 202 if fits else 416)

    def _goes_on_at(self, size: int) -> bool:
        """Whether what comes, where it says which part it is, follows the bytes that are here."""
        said = self.headers.get("Content-Range", "")
        match = re.fullmatch(r"(?:bytes )?(\d{1,18})-(\d+)(?:/.*)?", said) if said else None
        return not said or bool(match and int(match[1]) == size)

    def finish_upload(self, name: str, identity: str) -> None:
        """The last bytes, if there are any, and the digest of all."""
        digest = self.words.get("digest", "")
        if not digest:
            raise RefusedError("DIGEST_INVALID", "the digest is missing", 400)
        self._finish(name, identity, digest)

    def _finish(self, name: str, identity: str, digest: str) -> None:
        with self.server.repositories.upload(name, identity, digest) as writer:
            fits, size = self._goes_on_at(writer.written), writer.written
            if fits:
                for data in self.body:
                    writer.write(data)
                self.server.repositories.finish_upload(name, identity, writer, digest)
        if fits:
            self._created(name, digest)
        else:
            self._accepted(name, identity, size, 416)

    def cancel_upload(self, name: str, identity: str) -> None:
        """Forget an upload."""
        with self.server.repositories.upload(name, identity):
            self.server.repositories.cancel_upload(name, identity)
        self.answer(204)

    def _accepted(self, name: str, identity: str, size: int, status: int = 202) -> None:
        headers = {"Location": f"/v2/{name}/blobs/uploads/{identity}",
                   "Range": f"0-{max(size - 1, 0)}", "Docker-Upload-UUID": identity}  # fmt: skip
        self.answer(status, headers)

    def _created(self, name: str, digest: str) -> None:
        headers = {"Location": f"/v2/{name}/blobs/{digest}", "Docker-Content-Digest": digest}
        self.answer(201, headers)


def _described(found: Descriptor) -> dict[str, str]:
    return {"Content-Type": found.media_type, "Docker-Content-Digest": found.digest,
            "Etag": f'"{found.digest}"'}  # fmt: skip


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _range(text: str, size: int) -> tuple[int, int]:
    """(first, last) byte of a Range header (RFC 9110, 14.2); all of it for several ranges."""
    match = re.fullmatch(r"bytes=(\d{0,18})-(\d{0,18})", text.strip())
    if match is None or not (match[1] or match[2]):
        return 0, size - 1
    if match[1]:
        first, last = int(match[1]), min(int(match[2] or size - 1), size - 1)
    else:
        first, last = max(size - int(match[2]), 0), size - 1
    if first > last:
        raise RefusedError("RANGE_INVALID", f"bytes {text[:60]!r} of {size}", 416)
    return first, last


_N = r"(?P<name>.+)"
_ROUTES: tuple[tuple[str, re.Pattern[str], Callable[..., None]], ...] = tuple(
    (method, re.compile(pattern), call)
    for methods, pattern, call in (
        ("GET HEAD", r"/v2/?", Handler.base),
        ("GET", r"/v2/_catalog", Handler.catalog),
        ("GET", rf"/v2/{_N}/tags/list", Handler.tags),
        ("GET HEAD", rf"/v2/{_N}/manifests/([^/]+)", Handler.get_manifest),
        ("PUT", rf"/v2/{_N}/manifests/([^/]+)", Handler.put_manifest),
        ("DELETE", rf"/v2/{_N}/manifests/([^/]+)", Handler.delete_manifest),
        ("GET", rf"/v2/{_N}/referrers/([^/]+)", Handler.referrers),
        ("POST", rf"/v2/{_N}/blobs/uploads/?", Handler.start_upload),
        ("GET", rf"/v2/{_N}/blobs/uploads/([^/]+)", Handler.upload_status),
        ("PATCH", rf"/v2/{_N}/blobs/uploads/([^/]+)", Handler.patch_upload),
        ("PUT", rf"/v2/{_N}/blobs/uploads/([^/]+)", Handler.finish_upload),
        ("DELETE", rf"/v2/{_N}/blobs/uploads/([^/]+)", Handler.cancel_upload),
        ("GET HEAD", rf"/v2/{_N}/blobs/([^/]+)", Handler.get_blob),
        ("DELETE", rf"/v2/{_N}/blobs/([^/]+)", Handler.delete_blob),
    )
    for method in methods.split()
)


def _find(method: str, path: str) -> tuple[Callable[..., None], tuple[str, ...]]:
    """The call for a method and path."""
    there = False
    for known, pattern, call in _ROUTES:
        if match := pattern.fullmatch(path):
            if known == method:
                return call, match.groups()
            there = True
    if there:
        raise RefusedError("UNSUPPORTED", f"{method} is not for {path[:100]}", 405)
    raise RefusedError("NOT_FOUND", "there is no such call", 404)
