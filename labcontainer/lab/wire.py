"""Registries beside a lesson, and one HTTP request at a time: what goes over the wire, counted.

    with wire.serve("/mnt/registry") as registry:
        wire.ask("GET", f"{registry.url}/v2/").status
        registry.log()

A server is a process of its own on a free port of the loopback, and ends with its block. It writes
a line of its log before it answers, so that whoever has the answer can read the line.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import secrets
import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

from labcontainer.image import documents
from labcontainer.kernel import netlink, rtnetlink
from labcontainer.record import Record
from labcontainer.registry.repositories import Repositories
from labcontainer.registry.server import Handler, Options, Server

SECONDS = 5


class Answer(Record):
    """What a server answered. The names of `headers` are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes
    url: str

    @property
    def location(self) -> str:
        """The whole address of the Location header."""
        return urljoin(self.url, self.headers.get("location", ""))


def ask(
    method: str, url: str, headers: Mapping[str, str] | None = None, body: bytes = b""
) -> Answer:
    """One request on a connection of its own."""
    where = urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=SECONDS)
    try:
        path = where.path + (f"?{where.query}" if where.query else "")
        connection.request(method, path, body, dict(headers or {}))
        answer = connection.getresponse()
        names = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, names, answer.read(), url)
    finally:
        connection.close()


class Line(Record):
    """One request of a log; `received` and `sent` are bytes of the bodies."""

    method: str
    path: str
    status: int
    received: int = 0
    sent: int = 0
    authorization: str = ""  # the scheme alone

    def __str__(self) -> str:
        return f"{self.method} {self.path} {self.status}"


class Serving(Record):
    """A running server: its address, its storage, and the file that it logs to."""

    url: str
    folder: str
    file: str

    def log(self) -> list[Line]:
        """What was asked so far."""
        with open(self.file, encoding="utf-8") as file:
            return [Line(**json.loads(line)) for line in file]

    def received(self) -> int:
        """Bytes of all bodies that clients have sent."""
        return sum(line.received for line in self.log())

    def has(self, repository: str, digest: str) -> bool:
        """Whether a repository has a blob, looked up on disk."""
        return Repositories(self.folder).has_blob(repository, digest)


@contextmanager
def serve(folder: str, port: int = 0) -> Iterator[Serving]:
    """A registry that keeps its images in `folder`; port 0 is any free one."""
    server = Server(Repositories(folder), Options(port=port))
    with _running(server, _Traced, server.url, folder) as serving:
        yield serving


@contextmanager
def guarded(documents_by_path: Mapping[str, str], user: str, password: str) -> Iterator[Serving]:
    """A server of some documents that gives them only for a token, and tokens for a password."""
    server = HTTPServer(("127.0.0.1", 0), _Door)
    server.lab_documents = dict(documents_by_path)  # type: ignore[attr-defined]
    server.lab_basic = base64.b64encode(f"{user}:{password}".encode()).decode()  # type: ignore[attr-defined]
    server.lab_tokens = {}  # type: ignore[attr-defined]
    with _running(server, _Door, f"http://127.0.0.1:{server.server_port}", "") as serving:
        yield serving


@contextmanager
def _running(
    server: HTTPServer, handler: Callable[..., BaseHTTPRequestHandler], url: str, folder: str
) -> Iterator[Serving]:
    _loopback_up()
    log, path = tempfile.mkstemp(prefix="requests-")
    child = os.fork()
    if child == 0:
        server.lab_log = log  # type: ignore[attr-defined]
        server.RequestHandlerClass = handler
        try:
            server.serve_forever(0.05)
        finally:
            os._exit(1)
    server.server_close()
    os.close(log)
    try:
        yield Serving(url, folder, path)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.unlink(path)


def _loopback_up() -> None:
    """A fresh network namespace has a loopback that is down."""
    try:
        with netlink.Netlink() as link:
            link.do(rtnetlink.set_link("lo", up=True))
    except OSError:
        pass  # outside of a namespace of our own it is up, and not ours to change


def keep(folder: str, repository: str, data: bytes) -> str:
    """Put a blob into a registry's storage from behind; its digest."""
    repositories, digest = Repositories(folder), documents.digest_of(data)
    identity = repositories.start_upload(repository)
    with repositories.upload(repository, identity, digest) as writer:
        writer.write(data)
        repositories.finish_upload(repository, identity, writer, digest)
    return digest


def half(folder: str, repository: str, data: bytes) -> str:
    """An upload that stopped after `data`; its path at the server."""
    repositories = Repositories(folder)
    identity = repositories.start_upload(repository)
    with repositories.upload(repository, identity) as writer:
        writer.write(data)
    return f"/v2/{repository}/blobs/uploads/{identity}"


# --- handlers, in the server's process ------------------------------------------------------------


class _Logged(BaseHTTPRequestHandler):
    """Writes a line when the head of an answer is ready, which is before anything of it is sent."""

    status = size = 0

    def received(self) -> int:
        """Bytes of the request's body, where the server takes one."""
        return 0

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        del size
        self.status = int(code)

    def send_header(self, keyword: str, value: str) -> None:
        if keyword == "Content-Length" and self.command != "HEAD":
            self.size = int(value)
        super().send_header(keyword, value)

    def end_headers(self) -> None:
        scheme = self.headers.get("Authorization", "").partition(" ")[0]
        line = Line(self.command, self.path, self.status, self.received(), self.size, scheme)
        data = json.dumps(line.as_dict()) + "\n"
        os.write(self.server.lab_log, data.encode())  # type: ignore[attr-defined]
        self.status = self.size = 0
        super().end_headers()


class _Traced(_Logged, Handler):
    """The package's registry, with a log."""

    def received(self) -> int:
        return self.body.taken


class _Door(_Logged):
    """A token server and what it guards (distribution, "Token Authentication Specification")."""

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        scheme, _, word = self.headers.get("Authorization", "").partition(" ")
        if url.path == "/token":
            scope = parse_qs(url.query).get("scope", [""])[0]
            self._give_token(scope, scheme == "Basic" and word == self._of("lab_basic"))
            return
        name = re.sub(r"^/v2/(.*)/manifests/.*$", r"\1", url.path)
        wanted = f"repository:{name}:pull"
        if scheme == "Bearer" and self._of("lab_tokens").get(word) == wanted:
            text = self._of("lab_documents").get(url.path, "")
            self._answer(200 if text else 404, text)
        else:
            self._answer(
                401, "", f'Bearer realm="{self._token_url()}",service="lab",scope="{wanted}"'
            )

    def _give_token(self, scope: str, known: bool) -> None:
        if not known:
            self._answer(401, "")
            return
        token = secrets.token_hex(16)
        self._of("lab_tokens")[token] = scope
        self._answer(200, json.dumps({"token": token}))

    def _token_url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/token"  # type: ignore[attr-defined]

    def _of(self, name: str) -> Any:
        return getattr(self.server, name)

    def _answer(self, status: int, text: str, challenge: str = "") -> None:
        self.send_response(status)
        if challenge:
            self.send_header("WWW-Authenticate", challenge)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())
