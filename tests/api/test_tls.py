"""The daemon over TCP with TLS: clients with a certificate, streams that end one half first."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.world import Daemon

pytestmark = pytest.mark.requires("root", "docker", "busybox", "openssl")


def openssl(place: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=place, check=True, capture_output=True)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ca.pem, server and client certificates of it, and a client's of another authority."""
    place = tmp_path_factory.mktemp("certs")
    for authority in ("ca", "other"):
        words = f"-subj /CN={authority} -keyout {authority}-key.pem -out {authority}.pem"
        flags = "-x509 -newkey rsa:2048 -nodes -days 3650"
        openssl(place, "req", *flags.split(), *words.split())
    (place / "names").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    for name, authority in (("server", "ca"), ("client", "ca"), ("stranger", "other")):
        openssl(place, "req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout",
                f"{name}-key.pem", "-out", f"{name}.csr")  # fmt: skip
        openssl(place, "x509", "-req", "-in", f"{name}.csr", "-CA", f"{authority}.pem", "-CAkey",
                f"{authority}-key.pem", "-CAcreateserial", "-days", "3650", "-extfile", "names",
                "-out", f"{name}.pem")  # fmt: skip
    return place


@pytest.fixture(scope="module")
def port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.fixture(scope="module")
def secure(place: Path, certificates: Path, port: int) -> Iterator[Daemon]:
    words = ["--host", f"tcp://127.0.0.1:{port}", "--tlsverify", "--tlscacert",
             f"{certificates}/ca.pem", "--tlscert", f"{certificates}/server.pem", "--tlskey",
             f"{certificates}/server-key.pem"]  # fmt: skip
    started = Daemon(place, *words).start()
    yield started
    started.clean()
    assert started.stop() == 0
    assert "Traceback" not in started.said()


def over_tls(
    daemon: Daemon, certificates: Path, port: int, who: str, *words: str, stdin: bytes | None = None
) -> subprocess.CompletedProcess[bytes]:
    flags = ["--host", f"tcp://127.0.0.1:{port}", "--tlsverify", "--tlscacert",
             f"{certificates}/ca.pem", "--tlscert", f"{certificates}/{who}.pem", "--tlskey",
             f"{certificates}/{who}-key.pem"]  # fmt: skip
    return daemon.call("docker", *flags, *words, stdin=stdin)


def test_streams_over_tls(secure: Daemon, certificates: Path, port: int) -> None:
    def run(*words: str, stdin: bytes | None = None) -> bytes:
        done = over_tls(secure, certificates, port, "client", *words, stdin=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert run("run", "--rm", "busybox", "echo", "hello") == b"hello\n"
    data = os.urandom(2_000_000)
    assert run("run", "-i", "--rm", "busybox", "cat", stdin=data) == data
    run("run", "-d", "--name", "tls", "busybox", "sleep", "1000")
    assert run("exec", "-i", "tls", "wc", "-c", stdin=data) == b"2000000\n"
    run("rm", "-f", "tls")


def test_who_has_no_certificate_of_ours_is_not_heard(
    secure: Daemon, certificates: Path, port: int
) -> None:
    done = over_tls(secure, certificates, port, "stranger", "ps")
    assert done.returncode == 1
    assert b"certificate" in done.stderr
    done = secure.call("docker", "--host", f"tcp://127.0.0.1:{port}", "ps")
    assert done.returncode == 1
    with socket.create_connection(("127.0.0.1", port), timeout=5) as silent:
        silent.sendall(b"\x16\x03\x01")  # the beginning of a handshake, and nothing more
        assert over_tls(secure, certificates, port, "client", "ps").returncode == 0


def test_our_own_command_over_tls(secure: Daemon, certificates: Path, port: int) -> None:
    folder = certificates / "own"
    folder.mkdir(exist_ok=True)
    for name, source in (("ca", "ca"), ("cert", "client"), ("key", "client-key")):
        (folder / f"{name}.pem").write_bytes((certificates / f"{source}.pem").read_bytes())
    secure.env |= {"LABCONTAINER_HOST": f"tcp://127.0.0.1:{port}",
                   "LABCONTAINER_CERT_PATH": str(folder)}  # fmt: skip
    assert secure.own("run", "--rm", "-l", "a=b", "busybox", "echo", "hello") == "hello"
    data = os.urandom(500_000)
    secure.own("run", "-d", "--name", "own", "busybox", "sleep", "1000")
    assert secure.own("exec", "-i", "own", "wc", "-c", stdin=data) == "500000"
    secure.own("rm", "-f", "own")
