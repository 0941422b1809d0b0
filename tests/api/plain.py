"""Requests as no honest client sends them, and small archives to send."""

from __future__ import annotations

import base64
import http.client
import io
import json
import socket
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from labcontainer.registry.repositories import Repositories
from labcontainer.registry.server import Options, Server
from tests.api.world import Daemon

TAR = {"Content-Type": "application/x-tar"}
USER, PASSWORD = "alice", "correct-horse"


class Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: object) -> None:
        super().__init__("localhost", timeout=30)
        self._path = str(path)

    def connect(self) -> None:
        """Connect to the path."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(self._path)


def ask(
    daemon: Daemon, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> tuple[int, bytes]:
    """A plain request: (status, body of the answer)."""
    connection = Connection(daemon.socket)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def refused(
    daemon: Daemon, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> tuple[int, str]:
    """A plain request that fails: (status, the one line that it says)."""
    status, data = ask(daemon, method, path, body, headers)
    message = json.loads(data)["message"]
    assert status >= 400, data
    assert "\n" not in message
    return status, message


def encoded(document: Any) -> str:
    """A value of the X-Registry headers."""
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode()


def login(user: str, password: str) -> dict[str, str]:
    """The header of who asks a registry."""
    return {"X-Registry-Auth": encoded({"username": user, "password": password})}


def archive(files: dict[str, bytes]) -> bytes:
    """A tar archive."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as written:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            written.addfile(info, io.BytesIO(data))
    return out.getvalue()


def member(data: bytes, name: str) -> bytes:
    """A file of a tar archive."""
    with tarfile.open(fileobj=io.BytesIO(data)) as read:
        file = read.extractfile(name)
        assert file is not None
        return file.read()


def served(place: Path, **options: Any) -> Iterator[str]:
    """A registry of ours; for a fixture."""
    server = Server(Repositories(str(place / "data")), Options(port=0, **options))
    server.start()
    yield server.url.partition("://")[2]
    server.shutdown()
    server.server_close()


def served_in_private(place: Path) -> Iterator[str]:
    """One that lets in only who knows the password."""
    line = subprocess.run(["htpasswd", "-Bbn", USER, PASSWORD], capture_output=True, check=True)
    (place / "passwords").write_bytes(line.stdout)
    yield from served(place, htpasswd=str(place / "passwords"))


def only_busybox(running: Daemon) -> None:
    """Remove all images but busybox, and all containers."""
    running.clean()
    keep = running.docker("images", "-q", "--no-trunc", "busybox")
    for identity in set(running.docker("images", "-aq", "--no-trunc").split()) - {keep}:
        running.docker("rmi", "-f", identity)
    names = running.docker("images", "--format", "{{.Repository}}:{{.Tag}}").split()
    if extra := [name for name in names if name != "busybox:latest"]:
        running.docker("rmi", *extra)


def web() -> Iterator[tuple[str, dict[str, bytes]]]:
    """A web server: its address, and the files that it has; for a fixture."""
    files: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = files.get(self.path)
            self.send_response(404 if data is None else 200)
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            self.wfile.write(data or b"")

        def log_message(self, format: str, *args: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", files
    server.shutdown()
    server.server_close()
