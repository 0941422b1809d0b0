"""The daemon of an ordinary user: routers, volumes, and who comes after kill -9."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.test_networks import SERVE, answers
from tests.api.world import Daemon, wait_for

pytestmark = [
    pytest.mark.requires("root", "docker", "busybox", "overlay-userns", "slirp4netns"),
    pytest.mark.skipif(not os.path.exists("/dev/net/tun"), reason="no tun driver: /dev/net/tun"),
]

# The machine's own tun device may be root's alone: here it is everybody's, in a mount namespace.
AS_USER = """
test -e {place}/tun || mknod {place}/tun c 10 200
chmod 666 {place}/tun && mount --bind {place}/tun /dev/net/tun
exec setpriv --reuid=1000 --regid=1000 --clear-groups -- "$@"
"""


class UserDaemon(Daemon):
    """The daemon of uid 1000."""

    def start(self) -> Daemon:
        """Start it and wait until it listens."""
        self.env["HOME"] = str(self.place)
        return super().start()

    def command(self, *words: str) -> list[str]:  # type: ignore[override]
        """Our own command line, as that user."""
        script = AS_USER.format(place=self.place)
        return ["unshare", "--mount", "sh", "-ec", script, "sh", *Daemon.command(*words)]


@pytest.fixture(scope="module")
def running(clean_machine: None, image: Path) -> Iterator[Daemon]:
    """The module's daemon."""
    place = Path(tempfile.mkdtemp(prefix="api-"))
    shutil.copytree(image, place / "home", symlinks=True)
    place.chmod(0o755)
    subprocess.run(["chown", "-R", "1000:1000", place], check=True)
    started = UserDaemon(place).start()
    yield started
    started.clean()
    assert started.stop() == 0
    assert "Traceback" not in started.said(), started.said()
    shutil.rmtree(place)


def test_a_router_for_each_container(daemon: Daemon) -> None:
    shown = daemon.docker("run", "--rm", "busybox", "sh", "-c",
                          "ip -4 -o addr show eth0; ip route; cat /etc/resolv.conf")  # fmt: skip
    for words in ("10.0.2.100/24", "default via 10.0.2.2", "nameserver 10.0.2.3"):
        assert words in shown
    bridge = daemon.docker("network", "inspect", "bridge", "-f", "{{json .IPAM.Config}}")
    assert bridge == '[{"Subnet":"10.0.2.0/24","Gateway":"10.0.2.2"}]'


def test_published_ports(daemon: Daemon) -> None:
    daemon.docker("run", "-d", "--name", "web", "-p", "127.0.0.1::80", "busybox", "sh", "-c", SERVE)
    place, _, port = daemon.docker("port", "web", "80").rpartition(":")
    assert place == "127.0.0.1"
    wait_for(lambda: answers(int(port)))
    said = daemon.fails("run", "--rm", "-p", f"127.0.0.1:{port}:80", "busybox", "true")[1]
    assert f"Bind for 127.0.0.1:{port} failed: port is already allocated" in said
    daemon.docker("restart", "-t", "0", "web")
    again = int(daemon.docker("port", "web", "80").rpartition(":")[2])
    wait_for(lambda: answers(again))
    daemon.docker("rm", "-f", "web")
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", again))
        sock.listen()


def test_bridges_are_roots(daemon: Daemon) -> None:
    said = daemon.fails("network", "create", "own")[1]
    assert "a bridge network: an ordinary user's containers have a router each" in said


def test_volumes(daemon: Daemon) -> None:
    daemon.docker("run", "--rm", "-v", "kept:/etc", "busybox", "sh", "-c", "echo x > /etc/own")
    shown = daemon.docker("run", "--rm", "-v", "kept:/data", "busybox", "ls", "/data").split()
    assert {"own", "passwd"} <= set(shown)
    where = Path(daemon.docker("volume", "inspect", "kept", "-f", "{{.Mountpoint}}"))
    assert (where / "own").stat().st_uid == 1000
    daemon.docker("volume", "rm", "kept")


def test_who_comes_after_a_kill_takes_over(daemon: Daemon) -> None:
    """The next daemon enters the containers' user namespace, and starts their routers again."""
    # For each connection a process: one whose router was killed in the middle waits for ever.
    serve = "echo here > /tmp/index.html; httpd -f -p 80 -h /tmp"
    daemon.docker("run", "-d", "--name", "web", "-p", "127.0.0.1::80", "busybox", "sh", "-c", serve)
    port = int(daemon.docker("port", "web", "80").rpartition(":")[2])
    wait_for(lambda: answers(port))
    daemon.kill()
    daemon.start()
    assert daemon.docker("exec", "web", "id", "-u") == "0"
    assert "10.0.2.100" in daemon.docker("exec", "web", "ip", "-4", "addr", "show", "eth0")
    wait_for(lambda: answers(port))
