"""What must not be lost when the daemon, its zygote or a monitor is killed; many; garbage."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.api.world import Daemon, wait_for

pytestmark = pytest.mark.requires("root", "docker", "busybox")


OPEN: list[http.client.HTTPConnection] = []


@pytest.fixture(autouse=True)
def close_connections() -> Iterator[None]:
    yield
    while OPEN:
        OPEN.pop().close()


class Connection(http.client.HTTPConnection):
    """HTTP over the daemon's socket."""

    def __init__(self, daemon: Daemon) -> None:
        super().__init__("daemon", timeout=60)
        self.place = str(daemon.socket)
        OPEN.append(self)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.place)
        self.sock.settimeout(60)

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        data = json.dumps(body) if body is not None else None
        self.request(method, path, data, {"Content-Type": "application/json"})
        answer = self.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if text.strip() else None


def create(connection: Connection, name: str, *cmd: str, **host: Any) -> str:
    body = {"Image": "busybox", "Cmd": list(cmd), "HostConfig": {"NetworkMode": "none", **host}}
    status, found = connection.ask("POST", f"/containers/create?name={name}", body)
    assert status == 201, found
    return str(found["Id"])


def zygote_of(daemon: Daemon) -> int:
    assert daemon.process is not None
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
            command = (path.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if int(fields[1]) == daemon.process.pid and b"zygote" in command:
            return int(path.parent.name)
    raise AssertionError("the daemon has no zygote")


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_killed_at_random_it_loses_no_end_and_no_line(daemon: Daemon) -> None:
    chance = random.Random(11)
    wanted: dict[str, int] = {}
    for turn in range(6):
        connection = Connection(daemon)
        deadline = time.monotonic() + 0.3 + chance.random() * 0.7
        number = 0
        while number < 4 or time.monotonic() < deadline:
            name, status = f"t{turn}-{number}", number % 7
            script = f"echo one; sleep 0.{chance.randrange(1, 6)}; echo two; exit {status}"
            create(connection, name, "sh", "-c", script)
            assert connection.ask("POST", f"/containers/{name}/start")[0] == 204
            wanted[name] = status
            number += 1
        daemon.kill()
        time.sleep(chance.random() / 2)
        daemon.start()
    assert len(wanted) > 20
    connection = Connection(daemon)
    for name, status in wanted.items():
        assert connection.ask("POST", f"/containers/{name}/wait")[1] == {"StatusCode": status}, name
        found = connection.ask("GET", f"/containers/{name}/json")[1]
        lines = Path(found["LogPath"]).read_text().splitlines()
        assert [json.loads(line)["log"] for line in lines] == ["one\n", "two\n"], name


def test_a_start_that_was_cut_off_leaves_nothing_running(daemon: Daemon) -> None:
    """Killed between the creation of the first process and its start: the monitor ends it."""
    connection = Connection(daemon)
    chance = random.Random(5)
    for turn in range(8):
        create(connection, f"cut{turn}", "sleep", "1000")
        asked = threading.Thread(target=start_quietly, args=(daemon, f"cut{turn}"))
        asked.start()
        time.sleep(chance.random() * 0.04)
        daemon.kill()
        asked.join()
        daemon.start()
        connection = Connection(daemon)
        state = connection.ask("GET", f"/containers/cut{turn}/json")[1]["State"]
        assert state["Status"] in ("created", "running", "exited")
        if state["Running"] and not Path(f"/proc/{state['Pid']}").exists():
            daemon.docker("wait", f"cut{turn}")  # its monitor is just about to tell
        assert connection.ask("DELETE", f"/containers/cut{turn}?force=1")[0] == 204


def start_quietly(daemon: Daemon, name: str) -> None:
    try:
        with Connection(daemon) as connection:
            connection.ask("POST", f"/containers/{name}/start")
    except (OSError, http.client.HTTPException, ValueError):
        pass  # it was killed meanwhile


def test_without_its_zygote_it_starts_another(daemon: Daemon) -> None:
    daemon.docker("run", "-d", "--name", "before", "busybox", "sleep", "1000")
    os.kill(zygote_of(daemon), signal.SIGKILL)
    assert daemon.docker("run", "--rm", "busybox", "echo", "well") == "well"
    assert daemon.docker("exec", "before", "echo", "still there") == "still there"


def test_a_killed_monitor_ends_its_container(daemon: Daemon) -> None:
    daemon.docker("run", "-d", "--name", "orphan", "busybox", "sleep", "1000")
    pid = int(daemon.docker("inspect", "-f", "{{.State.Pid}}", "orphan"))
    os.kill(parent_of(pid), signal.SIGKILL)
    assert daemon.docker("wait", "orphan") == "137"
    wait_for(lambda: not Path(f"/proc/{pid}").exists())


def test_term_stops_containers_and_always_brings_them_back(daemon: Daemon) -> None:
    daemon.docker("run", "-d", "--restart", "always", "--name", "back", "busybox", "sleep", "1000")
    daemon.docker("run", "-d", "--name", "away", "busybox", "sleep", "1000")
    pid = int(daemon.docker("inspect", "-f", "{{.State.Pid}}", "back"))
    daemon.docker("update", "--restart", "always", "back")
    for name in ("back", "away"):
        daemon.docker("exec", name, "true")
    assert daemon.stop() == 0
    assert not Path(f"/proc/{pid}").exists()
    daemon.start()
    state = ("inspect", "-f", "{{.State.Running}}")
    wait_for(lambda: daemon.docker(*state, "back") == "true")
    assert daemon.docker(*state, "away") == "false"


def test_two_daemons_do_not_share_a_home(daemon: Daemon) -> None:
    done = daemon.call(*daemon.command("daemon", "-H", f"unix://{daemon.place}/other.sock"))
    assert done.returncode == 1
    assert b"another daemon works in" in done.stderr
    done = daemon.call(*daemon.command("daemon", "-H", f"unix://{daemon.socket}", "--data-root",
                                       f"{daemon.place}/h2"))  # fmt: skip
    assert b"a daemon listens at" in done.stderr
    assert daemon.docker("ps", "-q") == ""


def test_it_ends_when_nothing_runs_and_nobody_asks(daemon: Daemon) -> None:
    lazy = Daemon(daemon.place, "--data-root", f"{daemon.place}/lazy", "--idle", "2")
    lazy.socket = daemon.place / "lazy.sock"
    lazy.start()
    assert lazy.process is not None
    with Connection(lazy) as asked:
        assert asked.ask("GET", "/containers/json") == (200, [])
        time.sleep(2.5)
        assert lazy.process.poll() is None  # somebody is connected
    assert lazy.process.wait(60) == 0
    assert not lazy.socket.exists()


# --- many -----------------------------------------------------------------------------------------


def test_eight_create_at_once(daemon: Daemon) -> None:
    def life(number: int) -> int:
        with Connection(daemon) as connection:
            for turn in range(4):
                name = f"e{number}-{turn}"
                create(connection, name, "sh", "-c", f"exit {number}")
                assert connection.ask("POST", f"/containers/{name}/start")[0] == 204
                found = connection.ask("POST", f"/containers/{name}/wait")[1]
                assert found == {"StatusCode": number}
                assert connection.ask("DELETE", f"/containers/{name}")[0] == 204
        return number

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(life, range(8))) == list(range(8))


def test_two_hundred_containers_and_five_hundred_streams(daemon: Daemon) -> None:
    def begin(number: int) -> None:
        with Connection(daemon) as connection:
            create(connection, f"many{number}", "sh", "-c", "read x; sleep 1000", AutoRemove=True)
            assert connection.ask("POST", f"/containers/many{number}/start")[0] == 204

    def remove(identity: str) -> None:
        with Connection(daemon) as connection:
            assert connection.ask("DELETE", f"/containers/{identity}?force=1")[0] == 204

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(begin, range(200)))
    connection = Connection(daemon)
    assert len(connection.ask("GET", "/containers/json")[1]) == 200
    create(connection, "loud", "sh", "-c", "while true; do echo tick; sleep 0.1; done")
    connection.ask("POST", "/containers/loud/start")
    streams = []
    for _ in range(500):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(daemon.socket))
        sock.settimeout(60)
        sock.sendall(b"POST /containers/loud/attach?stream=1&stdout=1 HTTP/1.1\r\nHost: d\r\n"
                     b"Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n")  # fmt: skip
        streams.append(sock)
    for sock in streams:
        data = b""
        while b"tick" not in data:
            part = sock.recv(4096)
            assert part
            data += part
        assert data.startswith(b"HTTP/1.1 101 UPGRADED")
    for sock in streams:
        sock.close()
    ids = [one["Id"] for one in connection.ask("GET", "/containers/json")[1]]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(remove, ids))
    assert connection.ask("GET", "/containers/json?all=1")[1] == []


# --- garbage --------------------------------------------------------------------------------------


def raw(daemon: Daemon, data: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(30)
        sock.connect(str(daemon.socket))
        try:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
        except BrokenPipeError:
            pass  # it has refused before it had read everything
        found = b""
        try:
            while part := sock.recv(65536):
                found += part
        except ConnectionResetError:
            pass
    return found


JSON_POST = b"POST /containers/create HTTP/1.1\r\nContent-Type: application/json\r\n"


def post(body: bytes, path: bytes = b"/containers/create") -> bytes:
    head = b"POST " + path + b" HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\n"
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00" * 10 + b"\r\n\r\n", b"400"),
        (b"GET " + b"/x" * 40000 + b" HTTP/1.1\r\n\r\n", b"414"),
        (b"GET /_ping HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n", b"431"),
        (b"GET /v9.99/info HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /v1.2/info HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /nosuch HTTP/1.1\r\n\r\n", b"404"),
        (b"PATCH /containers/json HTTP/1.1\r\n\r\n", b"405"),
        (post(b"{"), b"400"),
        (post(b"[" * 100_000), b"400"),
        (post(b'{"Image": "' + b"x" * (5 << 20) + b'"}'), b"400"),
        (post(b'{"Image": 5}'), b"400"),
        (post(b'{"Image": "busybox", "HostConfig": {"Binds": [{}]}}'), b"400"),
        (post(b"\xff\xfe"), b"400"),
        (JSON_POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", b"400"),
        (JSON_POST + b"Content-Length: 50\r\n\r\n{", b"400"),
        (b"GET /containers/json?filters=nonsense HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /containers/%2e%2e%2fetc/json HTTP/1.1\r\n\r\n", b"404"),
        (b"GET /containers/json?filters=" + b"[" * 30_000 + b" HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /v1." + b"9" * 5000 + b"/info HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /v1.\xb2/info HTTP/1.1\r\n\r\n", b"404"),
        (b"GET http://[::1/info HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /events?until=1e300 HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /events?until=" + b"9" * 20 + b" HTTP/1.1\r\n\r\n", b"400"),
        # Where a body ends must be no matter of opinion (RFC 9112, 6.3): who is in front of us may
        # have another, and then what one takes for a body is the next request of the other.
        (JSON_POST + b"Content-Length: \xb2\r\n\r\n{}", b"400"),
        (JSON_POST + b"Content-Length: -2\r\n\r\n{}", b"400"),
        (JSON_POST + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n{}", b"400"),
        (JSON_POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", b"400"),
        (JSON_POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"400"),
        (JSON_POST + b"Transfer-Encoding: unchunked\r\n\r\n0\r\n\r\n", b"400"),
        (JSON_POST + b"Transfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n", b"400"),
        (JSON_POST + b"Transfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n", b"400"),
        (JSON_POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}xx0\r\n\r\n", b"400"),
    ],
)  # fmt: skip
def test_garbage_gets_one_clear_answer(daemon: Daemon, data: bytes, status: bytes) -> None:
    answer = raw(daemon, data)
    assert answer.split(b" ")[1] == status, answer[:300]
    assert answer.count(b"HTTP/1.1") == 1 and b"invalid literal" not in answer, answer[:300]
    assert "Traceback" not in daemon.said()
    assert daemon.docker("ps", "-q") == ""


def test_events_until_a_day_far_ahead(daemon: Daemon) -> None:
    """poll(2) counts milliseconds in 31 bits: 24 days."""
    request = f"GET /events?until={int(time.time()) + 90 * 86_400} HTTP/1.1\r\n\r\n"
    assert b" 200 OK" in raw(daemon, request.encode())
    assert "Traceback" not in daemon.said()


def test_noise(daemon: Daemon) -> None:
    chance = random.Random(3)
    for _ in range(100):
        raw(daemon, chance.randbytes(chance.randrange(1, 3000)))
    assert daemon.docker("ps", "-q") == ""
    assert "Traceback" not in daemon.said()


def test_the_socket_is_not_for_everybody(daemon: Daemon) -> None:
    assert daemon.socket.stat().st_mode & 0o777 == 0o660
    assert (daemon.home / "engine/state.db").stat().st_mode & 0o777 == 0o600
    done = daemon.call(*daemon.command("daemon", "-H", "tcp://0.0.0.0:0", "--data-root",
                                       f"{daemon.place}/h3"))  # fmt: skip
    assert b"would make everybody who reaches it root" in done.stderr
