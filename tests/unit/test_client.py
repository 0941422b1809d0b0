"""The client of the Docker Engine API against a server that answers what a test wants."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labcontainer import errors
from labcontainer.cli import main
from labcontainer.client import address, api, daemon, http
from labcontainer.engine import moments


class Server:
    """Takes one connection after another, keeps what was asked, and says what it is told to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.asked: list[bytes] = []
        self.answers: list[bytes] = []
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        self._socket.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                data = connection.recv(65536)
                self.asked.append(data)
                if data:
                    self._answer(connection, self.answers.pop(0))
                    self._read_on(connection)

    def _answer(self, connection: socket.socket, data: bytes) -> None:
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client does not want it all

    def _read_on(self, connection: socket.socket) -> None:
        try:
            while more := connection.recv(65536):
                self.asked[-1] += more
        except ConnectionResetError:
            pass  # the client has gone without reading all

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    found = Server(tmp_path / "socket")
    yield found
    found.close()


@pytest.fixture
def client(server: Server) -> api.Client:
    return api.Client(address.Address(str(server.path)))


def answer(body: bytes, status: str = "200 OK", **headers: str) -> bytes:
    lines = [
        f"HTTP/1.1 {status}",
        *(f"{key.replace('_', '-')}: {value}" for key, value in headers.items()),
    ]
    if "Transfer_Encoding" not in headers:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def chunks(*parts: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def test_a_call(server: Server, client: api.Client) -> None:
    server.answers.append(answer(b'{"Id": "x"}'))
    found = client.post("/containers/a b/update", {"Memory": 1}, all=True, none=None, no=False,
                        filters={"a": ["b&c"]}, more=["1", "2"])  # fmt: skip
    assert found == {"Id": "x"}
    head, _, body = server.asked[0].partition(b"\r\n\r\n")
    line = head.split(b"\r\n")[0].decode()
    assert line == (f"POST /v{api.VERSION}/containers/a%20b/update?all=1"
                    "&filters=%7B%22a%22:%5B%22b%26c%22%5D%7D&more=1&more=2 HTTP/1.1")  # fmt: skip
    assert json.loads(body) == {"Memory": 1}
    assert b"Content-Length: 12" in head


def test_chunks_continue_and_no_body(server: Server, client: api.Client) -> None:
    body = chunks(b'{"a":', b"1}")
    server.answers.append(
        b"HTTP/1.1 100 Continue\r\n\r\n" + answer(body, Transfer_Encoding="chunked")
    )
    assert client.get("/info") == {"a": 1}
    server.answers.append(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert client.post("/containers/x/start") is None


def test_a_stream_of_objects(server: Server, client: api.Client) -> None:
    parts = (b'{"a":1}\r\n{"b"', b":2}\r\n", b'{"c":"\xc3', b'\xa9"}')
    server.answers.append(answer(chunks(*parts), Transfer_Encoding="chunked"))
    assert list(client.stream("GET", "/events")) == [{"a": 1}, {"b": 2}, {"c": "é"}]


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (answer(b'{"message":"No such container: x\\n"}', "404 Not Found"), "No such container: x"),
        (answer(b"<html>", "502 Bad Gateway"), "<html>"),
        (answer(b"", "500 Oops"), "the daemon answered 500"),
    ],
)
def test_a_refusal_in_the_daemons_words(
    server: Server, client: api.Client, said: bytes, message: str
) -> None:
    server.answers.append(said)
    with pytest.raises(api.ApiError, match=message) as caught:
        client.get("/containers/x/json")
    assert caught.value.status in (404, 500, 502)


@pytest.mark.parametrize(
    "said",
    [
        b"", b"SSH-2.0\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{[", b"H" * 200_000,
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n",
    ],
)  # fmt: skip
def test_what_is_no_answer_is_one_line(server: Server, client: api.Client, said: bytes) -> None:
    server.answers.append(said)
    with pytest.raises(http.ProtocolError) as caught:
        client.get("/info")
    assert "\n" not in str(caught.value)


def test_an_answer_without_end_is_given_up(
    server: Server, client: api.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "WHOLE", 1 << 20)
    server.answers.append(b"HTTP/1.1 200 OK\r\n\r\n" + b" " * (2 << 20) + b"{}")
    with pytest.raises(http.ProtocolError, match="over 1048576 bytes"):
        client.get("/info")


def test_nobody_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(http.ConnectError, match="is the daemon running"):
        api.Client(address.Address(str(tmp_path / "none"))).get("/info")
    monkeypatch.delenv("LABCONTAINER_HOST", raising=False)
    monkeypatch.setattr(address, "standard_path", lambda: str(tmp_path / "none"))
    started: list[str] = []
    monkeypatch.setattr(daemon, "start", started.append)
    daemon.client()
    assert started == [str(tmp_path / "none")]


def test_a_line_break_can_not_be_put_into_a_request(client: api.Client) -> None:
    with pytest.raises(errors.UsageError, match="a line break"):
        client.send("GET", "/x", {}, headers={"A": "b\r\nC: d"})


@given(st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=300)), max_size=8),
       st.integers(1, 50))  # fmt: skip
def test_frames_however_they_are_cut(sent: list[tuple[int, bytes]], size: int) -> None:
    data = b"".join(struct.pack(">BxxxL", stream, len(part)) + part for stream, part in sent)

    class Pieces:
        place = 0

        def read(self, most: int = 0) -> bytes:
            del most
            self.place += size
            return data[self.place - size : self.place]

    assert list(http.frames(Pieces())) == sent  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("unix:///run/x.sock", "unix:///run/x.sock"), ("/run/x.sock", "unix:///run/x.sock"),
        ("tcp://h:1", "tcp://h:1"), ("h:1", "tcp://h:1"), ("tcp://h", "tcp://h:2375"),
        ("tcp://[::1]:5", "tcp://[::1]:5"),
    ],
)  # fmt: skip
def test_addresses(word: str, shown: str) -> None:
    assert str(address.parse(word)) == shown


@pytest.mark.parametrize(
    "word", ["unix://x", "tcp://", "ssh://h", "tcp://h:0", "tcp://h:x", "::1", ""]
)
def test_what_is_no_address(word: str) -> None:
    with pytest.raises(errors.UsageError, match="invalid host"):
        address.parse(word)


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("/run/x", ("/run/x", "", 0)), ("unix:///run/x", ("/run/x", "", 0)),
        ("tcp://h", ("", "h", 5000)), ("h:80/", ("", "h", 80)), (":80", ("", "127.0.0.1", 80)),
        ("http://[::1]", ("", "::1", 5000)), ("[::1]:0", ("", "::1", 0)),
    ],
)  # fmt: skip
def test_where_to_listen(word: str, found: tuple[str, str, int]) -> None:
    assert address.split(word, 5000) == found


@pytest.mark.parametrize(
    ("length", "said"),
    [
        (0.2, "Less than a second"), (1, "1 second"), (59, "59 seconds"), (60, "About a minute"),
        (150, "2 minutes"), (3600, "About an hour"), (7200, "2 hours"), (86400 * 3, "3 days"),
        (86400 * 20, "2 weeks"), (86400 * 100, "3 months"), (86400 * 800, "2 years"),
    ],
)  # fmt: skip
def test_spans_in_dockers_words(length: float, said: str) -> None:
    assert moments.span(length) == said


# --- versions of the API --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [("1.44", "1.44"), ("1.53", "1.44"), ("1.41", "1.41"), ("1.9", "1.24"), ("", "1.24")],
)
def test_the_newest_version_that_both_know(theirs: str, ours: str) -> None:
    assert api.agreed(theirs) == ours


def test_a_call_asks_for_no_version_first(server: Server, client: api.Client) -> None:
    server.answers = [answer(b"[]", Api_Version="1.53")]
    assert client.get("/containers/json") == []
    assert [one.split()[1] for one in server.asked] == [b"/v1.41/containers/json"]


TOO_NEW = "client version 1.41 is too new. Maximum supported API version is 1.30"
TOO_OLD = "client version 1.41 is too old. Minimum supported API version is 1.44, please upgrade"


@pytest.mark.parametrize(
    ("theirs", "problem", "spoken"), [("1.30", TOO_NEW, b"v1.30"), ("1.53", TOO_OLD, b"v1.44")]
)
def test_a_daemon_that_refuses_our_version_is_spoken_to_in_another(
    server: Server, client: api.Client, theirs: str, problem: str, spoken: bytes
) -> None:
    refused = answer(json.dumps({"message": problem}).encode(), "400 Bad Request",
                     Api_Version=theirs)  # fmt: skip
    server.answers = [refused, answer(b"1", Api_Version=theirs), answer(b"2", Api_Version=theirs)]
    assert client.post("/containers/create", {"Image": "x"}, name="web") == 1
    assert client.get("/info") == 2
    path = b"/" + spoken + b"/containers/create?name=web"
    assert [one.split()[1] for one in server.asked[1:]] == [path, b"/" + spoken + b"/info"]
    assert server.asked[1].endswith(b'{"Image":"x"}')


def test_a_daemon_that_knows_none_of_our_versions(server: Server, client: api.Client) -> None:
    problem = b'{"message": "client version 1.44 is too old. Minimum supported is 1.60"}'
    server.answers = [answer(problem, "400 Bad Request", Api_Version="1.70")] * 2
    with pytest.raises(api.ApiError, match="Minimum supported is 1"):
        client.get("/info")
    assert len(server.asked) == 2


def test_named_volumes_are_spared_where_the_daemon_can(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LABCONTAINER_HOST", f"unix://{server.path}")
    gone = answer(b'{"VolumesDeleted": ["v"], "SpaceReclaimed": 1500}')

    def pruned(version: str, *words: str) -> tuple[int, list[bytes]]:
        server.asked = []
        server.answers = [answer(b"OK", Api_Version=version), gone]
        status = main.main(["volume", "prune", "--force", *words])
        return status, [one.split()[1] for one in server.asked]

    assert pruned("1.48") == (0, [b"/_ping", b"/v1.44/volumes/prune"])
    assert capsys.readouterr().out == "Deleted Volumes:\nv\n\nTotal reclaimed space: 1.5kB\n"
    status, paths = pruned("1.48", "--all")
    assert status == 0 and b"all%22:[%22true%22]" in paths[1].replace(b"%5B", b"[").replace(
        b"%5D", b"]"
    )
    assert pruned("1.41") == (0, [b"/_ping", b"/v1.41/volumes/prune"])
    assert pruned("1.41", "--all") == (1, [b"/_ping"])
    assert '"--all" requires API version 1.42' in capsys.readouterr().err
