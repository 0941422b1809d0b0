"""Programs that nobody here wrote, for a real purpose: a database from Debian, a web page, Compose.

Redis comes from Debian's packages into an image that our daemon builds; a page counts its visitors
in it. docker-compose 1.29, our own Compose and Testcontainers run them.
"""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.world import Daemon, wait_for

pytestmark = [
    pytest.mark.requires("root", "docker", "busybox", "debootstrap", "docker-compose"),
    pytest.mark.timeout(900),
]

MIRROR = "deb.debian.org"
DOCKERFILE = """\
FROM localhost/debian:12
ENV DEBIAN_FRONTEND=noninteractive
RUN apt-get -o Acquire::Check-Valid-Until=false -o Acquire::Check-Date=false update \\
 && apt-get install -y --no-install-recommends redis-server && rm -rf /var/lib/apt/lists/* \\
 && mkdir /data && chown redis:redis /data
VOLUME /data
WORKDIR /data
EXPOSE 6379
HEALTHCHECK --interval=200ms --retries=50 CMD redis-cli ping
USER redis
CMD ["redis-server", "--bind", "0.0.0.0", "--protected-mode", "no", "--dir", "/data", \
"--appendonly", "yes"]
"""
COUNTER = """\
while true; do
    n=$(printf 'INCR visits\\r\\n' | nc -w 1 db 6379)
    printf 'HTTP/1.0 200 OK\\r\\n\\r\\nvisit %s\\n' "${n#:}" | nc -l -p 80
done
"""
COMPOSE = """\
services:
  db:
    image: redis-here
    healthcheck:
      test: ["CMD", "redis-cli", "ping"]
      interval: 200ms
      retries: 50
    volumes: ["data:/data"]
  web:
    image: busybox
    command: ["sh", "/counter.sh"]
    volumes: ["./counter.sh:/counter.sh:ro"]
    depends_on:
      db:
        condition: service_healthy
    ports: ["127.0.0.1:${PORT}:80"]
volumes:
  data:
"""


@pytest.fixture(scope="module")
def redis(running: Daemon, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image with Redis from Debian's packages, built by the daemon."""
    try:
        socket.create_connection((MIRROR, 80), 10).close()
    except OSError as error:
        pytest.skip(f"network: {MIRROR} cannot be reached: {error}")
    place = tmp_path_factory.mktemp("debian")
    words = ["debootstrap", "--variant=minbase", "bookworm", "root", f"http://{MIRROR}/debian"]
    done = subprocess.run(words, cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    line = f"tar -C {place}/root -c . | docker import - localhost/debian:12"
    done_import = running.call("sh", "-c", line, seconds=300)
    assert done_import.returncode == 0, done_import.stderr.decode()
    subprocess.run(["rm", "-rf", place / "root"], check=True)
    (place / "Dockerfile").write_text(DOCKERFILE)
    running.docker("build", "-q", "-t", "redis-here", str(place), seconds=600)
    return "redis-here"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def fetch(port: int) -> str:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
            data = b""
            while part := sock.recv(4096):
                data += part
        return data.decode().partition("\r\n\r\n")[2].strip()
    except OSError:
        return ""


def health(daemon: Daemon, name: str) -> str:
    return daemon.docker("inspect", "-f", "{{.State.Health.Status}}", name)


def test_a_database_keeps_its_volume(daemon: Daemon, redis: str) -> None:
    start = ("run", "-d", "--name", "store", "-v", "kept:/data", redis)
    daemon.docker(*start)
    wait_for(lambda: health(daemon, "store") == "healthy")
    assert daemon.docker("exec", "store", "id", "-un") == "redis"
    assert daemon.docker("exec", "store", "redis-cli", "set", "answer", "42") == "OK"
    daemon.docker("stop", "store")
    assert daemon.docker("inspect", "-f", "{{.State.ExitCode}}", "store") == "0"
    daemon.docker("rm", "store")
    daemon.docker(*start)
    wait_for(lambda: health(daemon, "store") == "healthy")
    assert daemon.docker("exec", "store", "redis-cli", "get", "answer") == "42"
    daemon.docker("rm", "-f", "store")
    daemon.docker("volume", "rm", "kept")


@pytest.fixture
def project(daemon: Daemon, redis: str, tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "counter.sh").write_text(COUNTER)
    (tmp_path / "docker-compose.yml").write_text(COMPOSE)
    (tmp_path / ".env").write_text(f"PORT={free_port()}\n")
    yield tmp_path
    daemon.clean()
    daemon.docker("network", "prune", "-f")
    daemon.remove_volumes()


def port_of(project: Path) -> int:
    return int((project / ".env").read_text().strip().partition("=")[2])


def visit(project: Path) -> int:
    """Which visit the page says that this is; 0 without a page or a number."""
    word = fetch(port_of(project)).removeprefix("visit ")
    return int(word) if word.isdecimal() else 0


def compose(daemon: Daemon, project: Path, *words: str) -> str:
    done = subprocess.run(words, env=daemon.env, cwd=project, capture_output=True, text=True,
                          check=False, timeout=120)  # fmt: skip
    assert done.returncode == 0, f"{words}: {done.stderr}"
    return done.stdout + done.stderr


@pytest.mark.parametrize("command", ["docker-compose", "labcontainer"])
def test_a_project_of_both(daemon: Daemon, project: Path, command: str) -> None:
    own = ["docker-compose", "-p", "visits"]
    if command == "labcontainer":
        own = [*daemon.command("compose"), "-p", "visits"]
        daemon.env["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])
    compose(daemon, project, *own, "up", "-d")
    # A visit may be counted and its page never come: who counts waits no more than a second.
    wait_for(lambda: visit(project) > 0)
    before = visit(project)
    wait_for(lambda: visit(project) > before)
    assert "healthy" in daemon.docker("ps", "--format", "{{.Status}}")
    compose(daemon, project, *own, "restart", "-t", "1", "db")
    wait_for(lambda: visit(project) > before)
    assert "6379" in compose(daemon, project, *own, "ps")
    compose(daemon, project, *own, "exec", "-T", "db", "redis-cli", "get", "visits")
    compose(daemon, project, *own, "down", "-v")
    assert daemon.docker("ps", "-aq") == ""
    assert daemon.docker("volume", "ls", "-q") == ""
    assert daemon.docker("network", "ls", "-q", "--filter", "type=custom") == ""


def test_testcontainers(daemon: Daemon, redis: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{daemon.socket}")
    monkeypatch.setenv("TESTCONTAINERS_RYUK_DISABLED", "true")
    from testcontainers.core.container import DockerContainer

    found: Any = None
    with DockerContainer(redis).with_exposed_ports(6379) as box:
        port = int(box.get_exposed_port(6379))
        wait_for(lambda: answers(port))
        found = box.exec(["redis-cli", "ping"])
    assert found.output == b"PONG\n"


def answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as sock:
            sock.sendall(b"PING\r\n")
            return sock.recv(100) == b"+PONG\r\n"
    except OSError:
        return False
