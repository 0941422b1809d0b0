"""The registry's client against our server, and against servers that lie."""

from __future__ import annotations

import base64
import gzip
import io
import json
import os
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from labcontainer import errors
from labcontainer.image import (
    auth,
    documents,
    progress,
    pull,
    push,
    reference,
    registries,
    registry,
    session,
)
from labcontainer.image.progress import Event
from labcontainer.image.store import Store
from labcontainer.registry.repositories import Repositories
from labcontainer.registry.server import Handler, Options, Server
from tests.unit import images

FILES = {"etc/": None, "etc/hello": b"hello" * 1000}


@pytest.fixture(autouse=True)
def nobodys_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file of this machine's user is read or written."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setenv("LABCONTAINER_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(session, "PAUSES", (0.01, 0.01, 0.01))
    monkeypatch.setattr(pull, "PAUSES", (0.01, 0.01, 0.01))
    monkeypatch.setattr(registry, "PAUSES", (0.01, 0.01, 0.01))


def serve(place: Path, **options: Any) -> Server:
    server = Server(Repositories(str(place)), Options(port=0, **options))
    server.start()
    return server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = serve(tmp_path / "registry")
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def host(server: Server) -> str:
    return server.url.partition("://")[2]


@pytest.fixture
def client(host: str) -> registry.Registry:
    return registry.Registry(registries.place(host))


@pytest.fixture
def lab(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "lab"))


@pytest.fixture
def other(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "other"))


def name(host: str, text: str) -> reference.Reference:
    return reference.parse(f"{host}/{text}")


# --- there and back -----------------------------------------------------------------------------


def test_an_image_goes_there_and_comes_back(lab: Store, other: Store, host: str) -> None:
    made = images.image(lab, FILES, {"b": b"2"}, names=(f"{host}/team/app:1",), Cmd=["sh"])
    push.push(lab, name(host, "team/app:1"))
    found = pull.pull(other, name(host, "team/app:1"))
    assert (found.new, found.image.id, found.digest) == (True, made.id, made.descriptor.digest)
    assert found.image.tags == (f"{host}/team/app:1",)
    assert found.image.digests == (f"{host}/team/app@{made.descriptor.digest}",)
    assert not pull.pull(other, name(host, "team/app:1")).new
    by_digest = pull.pull(other, name(host, f"team/app@{made.descriptor.digest}"))
    assert by_digest.image.id == made.id


def test_only_what_is_missing_is_sent_and_what_is_near_is_mounted(lab: Store, host: str) -> None:
    said: list[Event] = []
    images.image(lab, FILES, names=(f"{host}/one",))
    push.push(lab, name(host, "one"), tell=said.append)
    push.push(lab, name(host, "one"), tell=said.append)
    images.image(lab, FILES, {"more": b"m"}, names=(f"{host}/two",))
    push.push(lab, name(host, "two"), tell=said.append)
    words = [event.status for event in said if event.id and not event.moving]
    assert words.count("Pushed") == 2
    assert words.count("Layer already exists") == 1
    assert words.count("Mounted from one") == 1


def test_an_image_for_several_platforms(lab: Store, other: Store, host: str) -> None:
    made = images.image(lab, FILES, names=(f"{host}/app:mine",))
    push.push(lab, name(host, "app:mine"))
    client = registry.Registry(registries.place(host))
    here = made.descriptor.replace(platform=documents.host_platform())
    alien = documents.Descriptor(documents.OCI_MANIFEST, "sha256:" + "0" * 64, 2,
                                 documents.Platform("linux", "s390x"))  # fmt: skip
    index = documents.Index(documents.OCI_INDEX, (alien, here)).encode()
    client.put_manifest("app", "all", index, documents.OCI_INDEX)
    found = pull.pull(other, name(host, "app:all"))
    assert (found.image.id, found.digest) == (made.id, documents.digest_of(index))
    with pytest.raises(errors.NotFoundError, match="no matching manifest for linux/riscv64"):
        pull.pull(other, name(host, "app:all"), platform=documents.parse_platform("riscv64"))


def test_a_mirror_is_asked_first_and_missed_without_harm(
    lab: Store, other: Store, host: str, tmp_path: Path
) -> None:
    images.image(lab, FILES, names=(f"{host}/library/app", f"{host}/app"))
    push.push(lab, name(host, "library/app"))
    push.push(lab, name(host, "app"))
    settings = {"mirrors": {"docker.io": [f"http://{host}"], host: ["http://127.0.0.1:1"]}}
    (tmp_path / "home").mkdir()
    (tmp_path / "home/registries.json").write_text(json.dumps(settings))
    assert pull.pull(other, reference.parse("app")).image.tags == ("app:latest",)
    said: list[Event] = []
    pull.pull(other, name(host, "app"), tell=said.append)
    assert any("mirror http://127.0.0.1:1 did not help" in event.status for event in said)


@pytest.mark.parametrize(
    ("registry_name", "url"),
    [
        ("localhost", "http://localhost"), ("localhost:5000", "http://localhost:5000"),
        ("127.0.0.1:5000", "http://127.0.0.1:5000"), ("127.9.9.9", "http://127.9.9.9"),
        ("[::1]:5000", "http://[::1]:5000"), ("ghcr.io", "https://ghcr.io"),
        ("registry.lab:5000", "https://registry.lab:5000"), ("10.0.0.1", "https://10.0.0.1"),
        ("docker.io", "https://registry-1.docker.io"), ("localhost.evil.com", "https://localhost.evil.com"),
    ],
)  # fmt: skip
def test_plain_http_is_for_this_machine_only(registry_name: str, url: str) -> None:
    assert registries.place(registry_name).url == url
    assert registries.place("x.io", insecure=True).url == "http://x.io"


NOTEBOOK = """
from labcontainer.image import pull, progress, reference
from labcontainer.image.store import Store
import sys
with progress.shown_on(sys.stdout) as tell:
    pull.pull(Store("{store}"), reference.parse("{name}"), tell=tell)
"""


def test_progress_in_a_terminal_a_file_and_a_notebook(
    lab: Store, host: str, tmp_path: Path
) -> None:
    images.image(lab, {"big": os.urandom(3 << 20)}, names=(f"{host}/app",))
    push.push(lab, name(host, "app"))
    written = io.StringIO()
    with progress.shown_on(written) as tell:
        pull.pull(Store(f"{tmp_path}/file"), name(host, "app"), tell=tell)
    assert "Pull complete" in written.getvalue()
    assert "%" not in written.getvalue()
    screen = io.StringIO()
    screen.isatty = lambda: True  # type: ignore[method-assign]
    with progress.shown_on(screen) as tell:
        pull.pull(Store(f"{tmp_path}/terminal"), name(host, "app"), tell=tell)
    assert "━" in screen.getvalue()
    code = NOTEBOOK.format(store=tmp_path / "notebook", name=f"{host}/app")
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    NotebookClient(book, timeout=60).execute()
    assert "widget-view" in json.dumps(book.cells[0].outputs)
    assert "━" in json.dumps(book, ensure_ascii=False)  # in the widget's own state


# --- the server's calls -------------------------------------------------------------------------


def ask(server: Server, method: str, path: str, data: bytes | None = None,
        **headers: str) -> tuple[int, dict[str, str], bytes]:  # fmt: skip
    spelled = {key.replace("_", "-"): value for key, value in headers.items()}
    asked = urllib.request.Request(server.url + path, data, spelled, method=method)
    try:
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers), error.read()


def code(answer: tuple[int, dict[str, str], bytes]) -> tuple[int, str]:
    return answer[0], json.loads(answer[2])["errors"][0]["code"]


BLOB = b"0123456789" * 10
DIGEST = documents.digest_of(BLOB)


def begin(server: Server, repository: str = "a/b") -> str:
    status, headers, _ = ask(server, "POST", f"/v2/{repository}/blobs/uploads/", b"")
    assert status == 202
    return headers["Location"]


def raw(server: Server, data: bytes) -> bytes:
    """A request as it is; all of the answer."""
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=60) as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        found = b""
        while part := sock.recv(65536):
            found += part
    return found


POST = b"POST /v2/a/b/blobs/uploads/ HTTP/1.1\r\nHost: r\r\n"


@pytest.mark.parametrize(
    "data",
    [
        POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
        POST + b"Content-Length: -1\r\n\r\n",
        POST + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n",
        POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"GET http://[::1/v2/ HTTP/1.1\r\nHost: r\r\n\r\n",
        b"GET /v2/_catalog?n=" + b"9" * 5000 + b" HTTP/1.1\r\nHost: r\r\n\r\n",
    ],
)
def test_a_request_that_is_none_gets_one_answer(server: Server, data: bytes) -> None:
    answer = raw(server, data)
    assert answer.startswith(b"HTTP/1.1 400 ") and answer.count(b"HTTP/1.1") == 1, answer[:200]


@pytest.mark.parametrize("size", [b"-5", b"0x5", b"5_0", b"", b"F" * 40, b"5\r\nhellothere"])
def test_a_chunk_that_is_none(server: Server, size: bytes) -> None:
    """A size below 0 was a read without end, into memory."""
    where = begin(server).encode()
    head = b"PATCH " + where + b" HTTP/1.1\r\nHost: r\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = raw(server, head + size + b"\r\nhello\r\n0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ") and answer.count(b"HTTP/1.1") == 1, answer[:200]


def test_a_range_of_endless_digits(server: Server) -> None:
    assert ask(server, "POST", f"/v2/a/b/blobs/uploads/?digest={DIGEST}", BLOB)[0] == 201
    asked = f"bytes=0-{'9' * 5000}"
    assert ask(server, "GET", f"/v2/a/b/blobs/{DIGEST}", Range=asked)[0] in (200, 206, 416)


def test_a_tag_that_ends_as_a_file_of_ours(server: Server, lab: Store, host: str) -> None:
    images.image(lab, FILES, names=(f"{host}/app:1.new",))
    push.push(lab, name(host, "app:1.new"))
    answer = ask(server, "GET", "/v2/app/tags/list")
    assert json.loads(answer[2])["tags"] == ["1.new"]


@pytest.mark.parametrize("way", ["at once", "post and put", "chunks", "after a restart"])
def test_uploads(server: Server, tmp_path: Path, way: str) -> None:
    if way == "at once":
        path = f"/v2/a/b/blobs/uploads/?digest={DIGEST}"
        assert ask(server, "POST", path, BLOB)[0] == 201
    else:
        where = begin(server)
        parts = [BLOB] if way == "post and put" else [BLOB[:30], BLOB[30:50], BLOB[50:]]
        for part in parts[:-1]:
            status, headers, _ = ask(server, "GET", where)
            assert status == 204
            done = 0 if headers["Range"] == "0-0" else int(headers["Range"][2:]) + 1
            answer = ask(server, "PATCH", where, part,
                         Content_Range=f"{done}-{done + len(part) - 1}")  # fmt: skip
            assert answer[0] == 202
            if way == "after a restart":
                server.shutdown()
                server.server_close()
                server = serve(tmp_path / "registry")
        status, headers, _ = ask(server, "PUT", f"{where}?digest={DIGEST}", parts[-1])
        assert status == 201
        assert headers["Docker-Content-Digest"] == DIGEST
    assert ask(server, "GET", f"/v2/a/b/blobs/{DIGEST}")[2] == BLOB
    server.shutdown()
    server.server_close()


def test_an_upload_goes_wrong_in_the_words_of_the_specification(server: Server) -> None:
    where = begin(server)
    status, headers, _ = ask(server, "PATCH", where, BLOB, Content_Range="50-149")
    assert (status, headers["Range"]) == (416, "0-0")
    wrong = documents.digest_of(b"else")
    assert code(ask(server, "PUT", f"{where}?digest={wrong}", BLOB)) == (400, "DIGEST_INVALID")
    assert code(ask(server, "GET", where)) == (404, "BLOB_UPLOAD_UNKNOWN")
    assert code(ask(server, "PUT", begin(server), BLOB)) == (400, "DIGEST_INVALID")
    where = begin(server)
    assert ask(server, "DELETE", where)[0] == 204
    assert code(ask(server, "PATCH", where, BLOB)) == (404, "BLOB_UPLOAD_UNKNOWN")
    assert code(ask(server, "GET", f"/v2/a/b/blobs/{DIGEST}")) == (404, "BLOB_UNKNOWN")


@pytest.mark.parametrize("said", ["", "50-149"])
def test_an_upload_is_free_once_it_is_answered(
    server: Server, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    """The next request may come before the server's thread has gone on by one step."""
    answers = Handler._accepted

    def accepted(handler: Handler, name: str, identity: str, *more: int) -> None:
        with server.repositories.upload(name, identity):
            pass  # refused while somebody has it
        answers(handler, name, identity, *more)

    where = begin(server)
    monkeypatch.setattr(Handler, "_accepted", accepted)
    headers = {"Content_Range": said} if said else {}
    assert ask(server, "GET", where)[0] == 204
    assert ask(server, "PATCH", where, BLOB, **headers)[0] == (416 if said else 202)
    if said:
        assert ask(server, "PUT", f"{where}?digest={DIGEST}", BLOB, **headers)[0] == 416


@pytest.mark.parametrize(
    ("asked", "status", "got"),
    [
        ("bytes=0-9", 206, BLOB[:10]), ("bytes=95-", 206, BLOB[95:]), ("bytes=-5", 206, BLOB[-5:]),
        ("bytes=90-500", 206, BLOB[90:]), ("bytes=0-", 200, BLOB), ("lines=1-2", 200, BLOB),
        ("bytes=100-", 416, None),
    ],
)  # fmt: skip
def test_ranges(server: Server, asked: str, status: int, got: bytes | None) -> None:
    ask(server, "POST", f"/v2/a/b/blobs/uploads/?digest={DIGEST}", BLOB)
    answer = ask(server, "GET", f"/v2/a/b/blobs/{DIGEST}", Range=asked)
    assert answer[0] == status
    assert got is None or answer[2] == got


def test_a_blob_is_its_repositorys_alone_until_it_is_mounted(server: Server) -> None:
    ask(server, "POST", f"/v2/secret/blobs/uploads/?digest={DIGEST}", BLOB)
    assert code(ask(server, "GET", f"/v2/public/blobs/{DIGEST}")) == (404, "BLOB_UNKNOWN")
    path = f"/v2/public/blobs/uploads/?mount={DIGEST}&from="
    assert ask(server, "POST", path + "nowhere", b"")[0] == 202
    assert ask(server, "POST", path + "secret", b"")[0] == 201
    assert ask(server, "GET", f"/v2/public/blobs/{DIGEST}")[2] == BLOB


def test_manifests_tags_and_pages(server: Server, lab: Store, host: str) -> None:
    made = images.image(lab, FILES, names=tuple(f"{host}/app:t{n:02}" for n in range(7)))
    for tag in made.tags:
        push.push(lab, reference.parse(tag))
    status, headers, data = ask(server, "GET", "/v2/app/tags/list?n=3")
    assert (status, json.loads(data)["tags"]) == (200, ["t00", "t01", "t02"])
    assert headers["Link"] == '</v2/app/tags/list?n=3&last=t02>; rel="next"'
    client = registry.Registry(registries.place(host))
    assert client.tags("app") == [f"t{n:02}" for n in range(7)]
    assert json.loads(ask(server, "GET", "/v2/_catalog")[2]) == {"repositories": ["app"]}
    digest = made.descriptor.digest
    status, headers, data = ask(server, "HEAD", f"/v2/app/manifests/{digest}")
    assert (headers["Docker-Content-Digest"], data) == (digest, b"")
    assert ask(server, "DELETE", "/v2/app/manifests/t00")[0] == 202
    assert code(ask(server, "GET", "/v2/app/manifests/t00")) == (404, "MANIFEST_UNKNOWN")
    assert ask(server, "DELETE", f"/v2/app/manifests/{digest}")[0] == 202
    assert json.loads(ask(server, "GET", "/v2/app/tags/list")[2])["tags"] == []


def test_manifests_that_are_refused(server: Server, lab: Store, host: str) -> None:
    made = images.image(lab, FILES)
    data = made.manifest.encode()
    kind = {"Content_Type": documents.OCI_MANIFEST}
    put = ask(server, "PUT", "/v2/app/manifests/x", data, **kind)
    assert code(put) == (404, "MANIFEST_BLOB_UNKNOWN")
    assert code(ask(server, "PUT", "/v2/app/manifests/x", b"{}", **kind)) == (
        400,
        "MANIFEST_INVALID",
    )
    huge = b"{" + b" " * (documents.LARGEST + 1)
    assert ask(server, "PUT", "/v2/app/manifests/x", huge, **kind)[0] == 413
    assert code(ask(server, "GET", "/v2/BAD/tags/list")) == (400, "NAME_INVALID")
    assert code(ask(server, "GET", "/v2/nothing/tags/list")) == (404, "NAME_UNKNOWN")
    assert ask(server, "GET", "/v2/../../etc/passwd")[0] == 404
    assert ask(server, "PATCH", "/v2/")[0] == 405


def test_referrers(server: Server, lab: Store, host: str) -> None:
    made = images.image(lab, FILES, names=(f"{host}/app",))
    push.push(lab, name(host, "app"))
    client = registry.Registry(registries.place(host))
    empty = lab.blobs.write(b"{}")
    client.upload("app", empty, 2, lambda _start: iter([b"{}"]))
    note = documents.Manifest(
        documents.OCI_MANIFEST, documents.Descriptor(documents.OCI_EMPTY, empty, 2),
        (documents.Descriptor(documents.OCI_EMPTY, empty, 2),), {"by": "me"}, "text/note",
        made.descriptor,
    )  # fmt: skip
    answer = ask(server, "PUT", f"/v2/app/manifests/{documents.digest_of(note.encode())}",
                 note.encode(), Content_Type=documents.OCI_MANIFEST)  # fmt: skip
    assert answer[1]["OCI-Subject"] == made.descriptor.digest
    (found,) = client.referrers("app", made.descriptor.digest)
    assert (found.artifact_type, found.annotations) == ("text/note", {"by": "me"})
    assert client.referrers("app", made.descriptor.digest, "text/other") == []
    assert client.referrers("app", "sha256:" + "0" * 64) == []


def test_collection_keeps_what_a_manifest_needs(server: Server, lab: Store, host: str) -> None:
    made = images.image(lab, FILES, names=(f"{host}/app",))
    push.push(lab, name(host, "app"))
    ask(server, "POST", f"/v2/app/blobs/uploads/?digest={DIGEST}", BLOB)
    repositories = server.repositories
    for path in Path(repositories.path).rglob("*"):
        if path.is_file():
            os.utime(path, (1, 1))
    assert repositories.collect() == len(BLOB)
    for layer in made.manifest.layers:
        assert repositories.has_blob("app", layer.digest)
    assert not repositories.has_blob("app", DIGEST)


def test_two_pushes_of_the_same_at_once(lab: Store, host: str) -> None:
    images.image(lab, {"big": b"x" * (1 << 20)}, names=(f"{host}/app", f"{host}/app2"))
    problems: list[BaseException] = []

    def go(what: str) -> None:
        try:
            push.push(lab, name(host, what))
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=go, args=(one,)) for one in ("app", "app", "app2", "app2")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []


# --- who may ------------------------------------------------------------------------------------


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Server]:
    line = subprocess.run(["htpasswd", "-nbB", "ann", "p:w"], capture_output=True, text=True,
                          check=True).stdout  # fmt: skip
    (tmp_path / "htpasswd").write_text(line)
    server = serve(tmp_path / "registry", htpasswd=str(tmp_path / "htpasswd"))
    yield server
    server.shutdown()
    server.server_close()


def test_a_password_is_asked_for_and_kept_where_docker_keeps_it(
    guarded: Server, lab: Store, tmp_path: Path
) -> None:
    host = guarded.url.partition("://")[2]
    images.image(lab, FILES, names=(f"{host}/app",))
    with pytest.raises(session.DeniedError, match="labcontainer login") as caught:
        push.push(lab, name(host, "app"))
    assert "p:w" not in str(caught.value)
    wrong = auth.Credentials("ann", "wrong")
    with pytest.raises(session.DeniedError):
        registry.Registry(registries.place(host), wrong).ping()
    auth.remember(host, auth.Credentials("ann", "p:w"))
    kept = tmp_path / "docker/config.json"
    assert (
        json.loads(kept.read_text())["auths"][host]["auth"] == base64.b64encode(b"ann:p:w").decode()
    )
    assert kept.stat().st_mode & 0o777 == 0o600
    push.push(lab, name(host, "app"))
    assert "p:w" not in repr(auth.find(host))
    assert auth.forget(host)
    assert not auth.forget(host)


def test_tls_end_to_end(
    lab: Store, other: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A certificate where Docker has them; without it the registry is not believed."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
                    "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
                    "-out", cert, "-keyout", key], check=True, capture_output=True)  # fmt: skip
    server = serve(tmp_path / "tls", cert=str(cert), key=str(key))
    host = f"localhost:{server.server_address[1]}"
    monkeypatch.setattr(registries, "CERTIFICATES", str(tmp_path / "certs.d"))
    images.image(lab, FILES, names=(f"{host}/app",))
    with pytest.raises(session.RegistryError, match="cannot reach http://"):
        push.push(lab, name(host, "app"))
    trusted = tmp_path / "certs.d" / host / "ca.crt"
    trusted.parent.mkdir(parents=True)
    trusted.write_bytes(cert.read_bytes())
    push.push(lab, name(host, "app"))
    assert pull.pull(other, name(host, "app")).new
    other_key = tmp_path / "other.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
                    "-subj", "/CN=localhost", "-out", trusted, "-keyout", other_key],
                   check=True, capture_output=True)  # fmt: skip
    with pytest.raises(session.RegistryError, match="certificate verify failed"):
        push.push(lab, name(host, "app"))
    server.shutdown()
    server.server_close()


def test_a_credential_helper_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper = tmp_path / "bin/docker-credential-lab"
    helper.parent.mkdir()
    helper.write_text('#!/bin/sh\nread -r host\necho \'{"Username":"u","Secret":"s-\'$host\'"}\'\n')
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{helper.parent}:/usr/bin:/bin")
    (tmp_path / "docker").mkdir()
    config = {"credHelpers": {"a.io": "lab", "b.io": "missing", "c.io": "../../bin/sh"}}
    (tmp_path / "docker/config.json").write_text(json.dumps(config))
    assert auth.find("a.io") == auth.Credentials("u", "s-a.io")
    with pytest.raises(errors.NotFoundError, match="docker-credential-missing"):
        auth.find("b.io")
    with pytest.raises(errors.SpecError, match="no credential helper"):
        auth.find("c.io")


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ('Bearer realm="https://a/t",service="s",scope="x y"',
         [("bearer", {"realm": "https://a/t", "service": "s", "scope": "x y"})]),
        ('Basic realm="a \\"b\\""', [("basic", {"realm": 'a "b"'})]),
        ('Basic realm=x, Bearer realm="y"',
         [("basic", {"realm": "x"}), ("bearer", {"realm": "y"})]),
        ("", []), ("=,=", []), ("Negotiate", [("negotiate", {})]),
    ],
)  # fmt: skip
def test_challenges(header: str, found: list[Any]) -> None:
    assert [(one.scheme, dict(one.parameters)) for one in auth.challenges(header)] == found


# --- registries that lie ------------------------------------------------------------------------

Answer = Callable[["Liar"], None]


class Liar(BaseHTTPRequestHandler):
    """A registry whose every answer is a test's."""

    protocol_version = "HTTP/1.1"
    answers: dict[str, Answer]

    def do_GET(self) -> None:
        for part, answer in self.answers.items():
            if part in self.path:
                answer(self)
                return
        self.say(404)

    do_HEAD = do_POST = do_PATCH = do_PUT = do_GET

    def say(
        self, status: int, data: bytes = b"", length: int | None = None, **headers: str
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data) if length is None else length))
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture
def liar() -> Iterator[tuple[str, dict[str, Answer]]]:
    answers: dict[str, Answer] = {}
    handler = type("Handler", (Liar,), {"answers": answers})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"127.0.0.1:{server.server_address[1]}", answers
    server.shutdown()
    server.server_close()


LAYER, DIFF_ID = images.archive({"f": b"x" * 5000})
PACKED = gzip.compress(LAYER, mtime=0)
CONFIG = documents.ImageConfig(documents.host_platform(), (DIFF_ID,)).encode()
MANIFEST = documents.Manifest(
    documents.OCI_MANIFEST,
    documents.Descriptor(documents.OCI_CONFIG, documents.digest_of(CONFIG), len(CONFIG)),
    (documents.Descriptor(documents.OCI_LAYER_GZIP, documents.digest_of(PACKED), len(PACKED)),),
).encode()
CONFIG_PATH, LAYER_PATH = documents.digest_of(CONFIG), documents.digest_of(PACKED)


def honest(answers: dict[str, Answer]) -> None:
    answers["manifests"] = lambda it: it.say(200, MANIFEST, Content_Type=documents.OCI_MANIFEST)
    answers[CONFIG_PATH] = lambda it: it.say(200, CONFIG)
    answers[LAYER_PATH] = lambda it: it.say(200, PACKED)


def loop(it: Liar) -> None:
    it.say(307, Location=it.path + "x")


def trickle(it: Liar) -> None:
    it.send_response(200)
    it.send_header("Content-Length", "1000000")
    it.end_headers()
    try:
        for _ in range(200):
            it.wfile.write(b"x")
            time.sleep(0.02)
    except OSError:
        it.close_connection = True


def endless(it: Liar) -> None:
    it.send_response(200)
    it.end_headers()
    it.close_connection = True
    try:
        while True:
            it.wfile.write(b" " * 65536)
    except OSError:
        pass


def torn(it: Liar) -> None:
    it.say(200, PACKED[:-9], length=len(PACKED))
    it.close_connection = True


DENIED = b'{"errors":[{"code":"DENIED","message":"a\\nb"}]}'


def changed(**fields: Any) -> bytes:
    return json.dumps({**json.loads(MANIFEST), **fields}).encode()


def lying_layer(**fields: Any) -> Answer:
    (layer,) = json.loads(MANIFEST)["layers"]
    data = changed(layers=[{**layer, **fields}])
    return lambda it: it.say(200, data, Content_Type=documents.OCI_MANIFEST)


@pytest.mark.parametrize(
    ("part", "answer", "said"),
    [
        ("manifests", lambda it: it.say(404), "404|HTTP status"),
        ("manifests", lambda it: it.say(200, b"<html>"), "no JSON"),
        ("manifests", endless, "larger than"),
        ("manifests", loop, "without end"),
        ("manifests", lambda it: it.say(200, changed(config=1)), "no JSON object"),
        ("manifests", lying_layer(mediaType="application/x-evil"), "is not known here"),
        ("manifests", lying_layer(size=3), "longer than 3"),
        ("manifests", lying_layer(size=10**6), "broke off|announced"),
        (CONFIG_PATH, lambda it: it.say(200, b"x" * len(CONFIG)), "sent something else"),
        (LAYER_PATH, lambda it: it.say(200, b"x" * len(PACKED)), "sent something else"),
        (LAYER_PATH, lambda it: it.say(200, PACKED + b"more"), "longer than"),
        (LAYER_PATH, torn, "cannot reach|broke off"),
        (LAYER_PATH, lambda it: it.say(200, PACKED[:-9]), "broke off"),
        (LAYER_PATH, loop, "without end"),
        (LAYER_PATH, lambda it: it.say(403, DENIED), "DENIED: a b"),
        (LAYER_PATH, lambda it: it.say(500), "500"),
        (LAYER_PATH, trickle, "less than|cannot reach"),
    ],
)  # fmt: skip
def test_a_lie_costs_one_line_and_leaves_no_image(
    liar: tuple[str, dict[str, Answer]], lab: Store, monkeypatch: pytest.MonkeyPatch,
    part: str, answer: Answer, said: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(session, "LOOKED_AT", 0.3)
    monkeypatch.setattr(session, "SLOWEST", 1000)
    host, answers = liar
    answers[part] = answer
    for known, right in (("manifests", None), (CONFIG_PATH, None), (LAYER_PATH, None)):
        del right
        if known not in answers:
            rest: dict[str, Answer] = {}
            honest(rest)
            answers[known] = rest[known]
    with pytest.raises(errors.LabError, match=said) as caught:
        pull.pull(lab, name(host, "app"))
    assert "\n" not in str(caught.value)
    assert (lab.images(), lab.names()) == ([], {})


def test_what_broke_off_goes_on_where_it_ended(
    liar: tuple[str, dict[str, Answer]], lab: Store
) -> None:
    host, answers = liar
    honest(answers)
    ranges: list[str] = []

    def breaks_once(it: Liar) -> None:
        ranges.append(it.headers.get("Range", ""))
        if len(ranges) == 1:
            it.say(200, PACKED[:20], length=len(PACKED))
            it.close_connection = True
        else:
            it.say(206, PACKED[20:], Content_Range=f"bytes 20-{len(PACKED) - 1}/{len(PACKED)}")

    answers[LAYER_PATH] = breaks_once
    found = pull.pull(lab, name(host, "app"))
    assert ranges == ["", "bytes=20-"]
    assert found.image.config.diff_ids == (DIFF_ID,)


def test_a_password_does_not_follow_to_another_host(
    liar: tuple[str, dict[str, Answer]], lab: Store
) -> None:
    host, answers = liar
    seen: list[str | None] = []

    def caught(it: Liar) -> None:
        seen.append(it.headers.get("Authorization"))
        it.say(200, PACKED)

    trap = ThreadingHTTPServer(("127.0.0.1", 0), type("Trap", (Liar,), {"answers": {"": caught}}))
    threading.Thread(target=trap.serve_forever, args=(0.05,), daemon=True).start()
    honest(answers)
    inner = answers["manifests"]

    def guarded(it: Liar) -> None:
        if it.headers.get("Authorization"):
            inner(it)
        else:
            it.say(401, WWW_Authenticate='Basic realm="x"')

    answers["manifests"] = guarded
    answers[LAYER_PATH] = lambda it: it.say(
        307, Location=f"http://127.0.0.1:{trap.server_address[1]}/blob"
    )
    auth.remember(host, auth.Credentials("ann", "secret"))
    pull.pull(lab, name(host, "app"))
    assert seen == [None]
    trap.shutdown()
    trap.server_close()


@pytest.fixture
def trap() -> Iterator[tuple[str, list[str | None], dict[str, Answer]]]:
    """Another host: its address, the Authorization of each request to it, its answers."""
    seen: list[str | None] = []
    answers: dict[str, Answer] = {}

    class Trap(Liar):
        def do_GET(self) -> None:
            seen.append(self.headers.get("Authorization"))
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            super().do_GET()

        do_HEAD = do_POST = do_PATCH = do_PUT = do_GET

    Trap.answers = answers
    server = ThreadingHTTPServer(("127.0.0.1", 0), Trap)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", seen, answers
    server.shutdown()
    server.server_close()


def test_a_password_does_not_follow_an_upload_to_another_host(
    liar: tuple[str, dict[str, Answer]],
    trap: tuple[str, list[str | None], dict[str, Answer]],
    lab: Store,
) -> None:
    (host, answers), (elsewhere, seen, _) = liar, trap
    images.image(lab, FILES, names=(f"{host}/app",))
    auth.remember(host, auth.Credentials("ann", "secret"))

    def upload(it: Liar) -> None:
        if it.headers.get("Authorization"):
            it.say(202, Location=f"{elsewhere}/upload")
        else:
            it.say(401, WWW_Authenticate='Basic realm="x"')

    answers["uploads"] = upload
    with pytest.raises(session.RegistryError):
        push.push(lab, name(host, "app"))
    assert seen and set(seen) == {None}


def test_another_host_gets_no_password_by_asking_for_it(
    liar: tuple[str, dict[str, Answer]],
    trap: tuple[str, list[str | None], dict[str, Answer]],
    lab: Store,
) -> None:
    (host, answers), (elsewhere, seen, theirs) = liar, trap
    honest(answers)
    answers[LAYER_PATH] = lambda it: it.say(307, Location=f"{elsewhere}/blob")
    ask_for_it = f'Bearer realm="{elsewhere}/token",service="lab"'
    theirs["/blob"] = lambda it: it.say(401, WWW_Authenticate=ask_for_it)
    theirs["/token"] = lambda it: it.say(200, b'{"token": "t"}')
    auth.remember(host, auth.Credentials("ann", "secret"))
    with pytest.raises(session.RegistryError):
        pull.pull(lab, name(host, "app"))
    assert seen and set(seen) == {None}


def test_what_a_registry_says_does_not_move_the_cursor(
    liar: tuple[str, dict[str, Answer]],
) -> None:
    host, answers = liar
    message = "no\x1b]0;title\x07\x1b[2Jsuch\u009b31m\u202ething"
    data = json.dumps({"errors": [{"code": "\x1b[1mDENIED", "message": message}]}).encode()
    answers["tags/list"] = lambda it: it.say(400, data)
    with pytest.raises(session.RegistryError) as caught:
        registry.Registry(registries.place(host)).tags("a")
    assert str(caught.value).isprintable() and "such" in str(caught.value)


def test_tokens_by_both_ways(liar: tuple[str, dict[str, Answer]], lab: Store) -> None:
    host, answers = liar
    asked: list[tuple[str, str]] = []

    def token(it: Liar) -> None:
        length = int(it.headers.get("Content-Length", 0))
        asked.append((it.command, it.path + it.rfile.read(length).decode()))
        it.say(
            200, json.dumps({"token" if it.command == "GET" else "access_token": "t0k"}).encode()
        )

    honest(answers)
    plain = dict(answers)

    def guarded(inner: Answer) -> Answer:
        def answer(it: Liar) -> None:
            if it.headers.get("Authorization") == "Bearer t0k":
                inner(it)
            else:
                realm = f'Bearer realm="http://{host}/token",service="lab"'
                it.say(401, WWW_Authenticate=realm)

        return answer

    for part, inner in plain.items():
        answers[part] = guarded(inner)
    answers["/token"] = token
    pull.pull(lab, name(host, "app"))
    assert asked[0] == ("GET", "/token?service=lab&scope=repository%3Aapp%3Apull")
    assert len(asked) == 1
    asked.clear()
    auth.remember(host, auth.Credentials(identity_token="idt"))
    pull.pull(Store(f"{lab.path}2"), name(host, "app"))
    assert asked[0][0] == "POST"
    assert "refresh_token=idt" in asked[0][1]


def test_a_list_of_tags_without_end(liar: tuple[str, dict[str, Answer]]) -> None:
    host, answers = liar
    answers["tags/list"] = lambda it: it.say(
        200, b'{"tags": []}', Link='</v2/a/tags/list?n=1&last=x>; rel="next"'
    )
    with pytest.raises(session.RegistryError, match="no end"):
        registry.Registry(registries.place(host)).tags("a")


def test_nobody_there_and_nobody_knows() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(session.RegistryError, match=r"cannot reach .*refused"):
            registry.Registry(registries.place(host)).ping()
    with pytest.raises(session.RegistryError, match=r"cannot reach https://no-such-host\.invalid"):
        registry.Registry(registries.place("no-such-host.invalid")).ping()
