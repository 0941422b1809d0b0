"""ADD of a URL: what its server may say, and what is said of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from labcontainer import errors
from labcontainer.build import adding


class Stranger(BaseHTTPRequestHandler):
    """Answers with the status and the name (in hexadecimal) that the path says."""

    def do_GET(self) -> None:
        status, name = self.path[1:].split("/")
        self.send_response(int(status))
        name = bytes.fromhex(name).decode()
        self.send_header("Content-Disposition", f'attachment; filename="{name}"')
        self.send_header("Content-Length", "1")
        self.end_headers()
        self.wfile.write(b"x")

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture(scope="module")
def place() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Stranger)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("sent", "name"),
    [("f.txt", "f.txt"), ("../../etc/passwd", "passwd"), ("..", ""), (".", ""), ("a/..", "")],
)
def test_the_name_stays_in_the_directory(place: str, tmp_path: Path, sent: str, name: str) -> None:
    url = f"http://{place}/200/{sent.encode().hex()}"
    assert adding.fetch(url, "", str(tmp_path))[0] == name


@pytest.mark.parametrize("what", ["refused", "unreachable", "another digest"])
def test_a_password_in_the_address_is_not_told(place: str, tmp_path: Path, what: str) -> None:
    where = "127.0.0.1:1/200/66" if what == "unreachable" else f"{place}/200/66"
    url = f"http://ann:secret@{where}".replace("200", "403" if what == "refused" else "200")
    wanted = f"sha256:{'0' * 64}" if what == "another digest" else ""
    with pytest.raises(errors.LabError, match="ann:") as caught:
        adding.fetch(url, wanted, str(tmp_path))
    assert "secret" not in str(caught.value)
