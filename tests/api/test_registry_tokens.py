"""A registry that wants tokens: those that the client has, and those that a login gets."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.api import plain
from tests.api.plain import ask, encoded
from tests.api.world import Daemon

pytestmark = pytest.mark.requires("root", "docker", "busybox")

JSON = {"Content-Type": "application/json"}
GIVEN = "given-by-the-client"


class Guard(ThreadingHTTPServer):
    """In front of a registry: lets in who has a token, and gives one to who has a password."""

    daemon_threads = True

    def __init__(self, behind: str) -> None:
        super().__init__(("127.0.0.1", 0), Guarded)
        self.behind = behind
        self.good = {GIVEN, "made"}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.shown: set[str] = set()

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class Guarded(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Guard

    def log_message(self, format: str, *args: Any) -> None:
        return

    def _all(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if self.path.startswith("/token"):
            self._token(body)
            return
        kind, _, token = self.headers.get("Authorization", "").partition(" ")
        if kind != "Bearer" or token not in self.server.good:
            realm = f'Bearer realm="http://{self.server.place}/token",service="guard"'
            self._say(401, b"{}", {"WWW-Authenticate": realm})
            return
        self.server.shown.add(token)
        self._pass_on(body)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _all

    def _token(self, body: bytes) -> None:
        words = parse_qs(body.decode() or urlsplit(self.path).query)
        asked = {name: value[0] for name, value in words.items()}
        self.server.asked.append((self.command, asked))
        found = {"token": "made"}
        if asked.get("offline_token") == "true":
            found["refresh_token"] = "kept"
        self._say(200, json.dumps(found).encode(), JSON)

    def _pass_on(self, body: bytes) -> None:
        connection = http.client.HTTPConnection(self.server.behind)
        kept = {name: value for name, value in self.headers.items()
                if name.lower() not in ("host", "authorization")}  # fmt: skip
        connection.request(self.command, self.path, body or None, kept)
        answer = connection.getresponse()
        data = answer.read()
        headers = {name: value.replace(self.server.behind, self.server.place)
                   for name, value in answer.getheaders()
                   if name.lower() not in ("content-length", "connection")}  # fmt: skip
        length = answer.getheader("Content-Length") if self.command == "HEAD" else None
        self._say(answer.status, data, headers, length)
        connection.close()

    def _say(
        self, status: int, data: bytes, headers: dict[str, str], length: str | None = None
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", length or str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


@pytest.fixture
def guard(tmp_path: Any) -> Iterator[Guard]:
    for behind in plain.served(tmp_path):
        server = Guard(behind)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
        server.server_close()


def documents(data: bytes) -> list[Any]:
    return [json.loads(line) for line in data.splitlines()]


def push(daemon: Daemon, guard: Guard, login: dict[str, str]) -> list[Any]:
    daemon.docker("tag", "busybox", f"{guard.place}/box:1")
    header = {"X-Registry-Auth": encoded({"serveraddress": guard.place, **login})}
    status, data = ask(daemon, "POST", f"/images/{guard.place}/box/push?tag=1", b"", header)
    daemon.docker("rmi", f"{guard.place}/box:1")
    assert status == 200, data
    return documents(data)


def pull(daemon: Daemon, guard: Guard, login: dict[str, str]) -> bytes:
    header = {"X-Registry-Auth": encoded({"serveraddress": guard.place, **login})}
    path = f"/images/create?fromImage={guard.place}/box&tag=1"
    return ask(daemon, "POST", path, b"", header)[1]


def test_a_registry_token_is_shown_as_it_is(daemon: Daemon, guard: Guard) -> None:
    login = {"registrytoken": GIVEN}
    assert "aux" in push(daemon, guard, login)[-1]
    assert b"Status: Downloaded newer image" in pull(daemon, guard, login)
    daemon.docker("rmi", f"{guard.place}/box:1")
    assert guard.shown == {GIVEN}
    assert guard.asked == []  # no token server was
    wrong = pull(daemon, guard, {"registrytoken": "wrong"})
    assert b"denied" in wrong or b"unauthorized" in wrong
    assert b"wrong" not in wrong


def test_an_identity_token_is_exchanged(daemon: Daemon, guard: Guard) -> None:
    assert "aux" in push(daemon, guard, {"identitytoken": "kept"})[-1]
    assert guard.shown == {"made"}
    for method, words in guard.asked:
        assert (method, words["grant_type"], words["refresh_token"]) == (
            "POST", "refresh_token", "kept"
        )  # fmt: skip


def test_a_login_gets_an_identity_token(daemon: Daemon, guard: Guard) -> None:
    asked = {"username": "ann", "password": "secret", "serveraddress": guard.place}
    status, data = ask(daemon, "POST", "/auth", json.dumps(asked).encode(), JSON)
    assert (status, json.loads(data)) == (
        200, {"IdentityToken": "kept", "Status": "Login Succeeded"}
    )  # fmt: skip
    ((method, words),) = guard.asked
    assert (method, words["service"], words["offline_token"]) == ("GET", "guard", "true")


def test_the_docker_command_keeps_it_and_uses_it(daemon: Daemon, guard: Guard) -> None:
    daemon.docker("login", "-u", "ann", "--password-stdin", guard.place, stdin=b"secret\n")
    kept = json.loads((daemon.place / "docker" / "config.json").read_text())
    assert kept["auths"][guard.place]["identitytoken"] == "kept"
    daemon.docker("tag", "busybox", f"{guard.place}/box:1")
    daemon.docker("push", f"{guard.place}/box:1")
    daemon.docker("rmi", f"{guard.place}/box:1")
    daemon.docker("pull", f"{guard.place}/box:1")
    daemon.docker("rmi", f"{guard.place}/box:1")
    daemon.docker("logout", guard.place)
    assert {words.get("refresh_token") for method, words in guard.asked if method == "POST"} == {
        "kept"
    }
