"""`labcontainer run` as an ordinary user with a network: out, in by a published port, the end."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from labcontainer.kernel import syscalls
from labcontainer.kernel.flags import MS
from tests.system import lab_home, net_world
from tests.system.lab_home import LabHome
from tests.system.net_world import HOST, OUTSIDE, World

GATEWAY = "192.0.2.254"  # nobody is there
pytestmark = [
    pytest.mark.requires("root", "overlay-userns", "bridge", "busybox"),
    pytest.mark.skipif(not os.path.exists("/dev/net/tun"), reason="no tun driver: /dev/net/tun"),
]
SLIRP = pytest.param("slirp4netns", marks=pytest.mark.requires("slirp4netns"))
PASTA = pytest.param("pasta", marks=pytest.mark.requires("pasta"))


@pytest.fixture(scope="module")
def lab() -> Iterator[LabHome]:
    yield from lab_home.home(1000)


def open_the_tun_device(lab: LabHome) -> None:
    """The machine's own may be root's alone: one of the same number, for everybody."""
    Path(f"{lab.home}/tun").unlink(missing_ok=True)
    os.mknod(f"{lab.home}/tun", stat.S_IFCHR | 0o666, os.makedev(10, 200))
    os.chmod(f"{lab.home}/tun", 0o666)
    syscalls.mount(f"{lab.home}/tun", "/dev/net/tun", None, MS.BIND)


def stage(world: World, lab: LabHome) -> None:
    """A host with a gateway, which both tools look for."""
    open_the_tun_device(lab)
    world.host.run("ip", "route", "add", "default", "via", GATEWAY)


def routers() -> list[str]:
    """The living processes of both tools."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                name, _, rest = Path(f"/proc/{entry}/stat").read_text().rpartition(")")
            except OSError:
                continue
            if rest.split()[0] != "Z":  # of ours nobody collects: PID 1 here is the test
                found.append(name.partition("(")[2])
    return [name for name in found if name.startswith(("slirp4netns", "pasta", "passt"))]


def folders() -> set[str]:
    return {str(path) for path in Path("/tmp").glob("labcontainer-net-*")}


def goes_out(world: World, lab: LabHome, tool: str) -> None:
    stage(world, lab)
    server = world.outside.listens(99)
    server.settimeout(60)
    script = f"echo from inside | nc -w 50 {OUTSIDE} 99; tail -n 1 /etc/hosts; cat /etc/resolv.conf"
    words = lab.words("run", "--network", tool, "--hostname", "web", "busybox", "sh", "-c", script)
    program = subprocess.Popen(
        words, env=lab.env, cwd=lab.home, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        connection, peer = server.accept()
    except TimeoutError:
        raise AssertionError(lab_home.finish(program)) from None
    with connection:
        assert (connection.recv(99), peer[0]) == (b"from inside\n", HOST)
    status, out, err = lab_home.finish(program)
    assert (status, err) == (0, "")
    own = {"slirp4netns": "10.0.2.100", "pasta": HOST}[tool]
    assert out.startswith(f"{own}\tweb\n")
    assert "nameserver 10.0.2.3\n" in out
    assert routers() == []


@pytest.mark.parametrize("tool", [SLIRP, PASTA])
def test_the_way_out(lab: LabHome, tool: str) -> None:
    before = folders()
    net_world.run(goes_out, lab, tool)
    assert folders() == before


SERVES = "echo ready; while :; do echo hello | nc -l -p 80; done"


def answer(world: World) -> bytes:
    client = world.outside.socket(socket.SOCK_STREAM)
    client.settimeout(2)  # asked again and again
    try:
        client.connect((HOST, 8080))
        return client.recv(16)
    except OSError:
        return b""


def comes_in(world: World, lab: LabHome, tool: str) -> None:
    stage(world, lab)
    program = lab.start("--network", tool, "-p", "8080:80", "busybox", "sh", "-c", SERVES)
    try:
        assert lab_home.eventually(lambda: answer(world) == b"hello\n")
        clash = lab.call("run", "--network", tool, "-p", "8080:80", "busybox", "true")
        assert clash.returncode == 125
        assert clash.stderr == (
            "labcontainer: Bind for 0.0.0.0:8080 failed: port is already allocated\n"
        )
        assert len(routers()) >= 1
    finally:
        program.send_signal(signal.SIGKILL)
        program.communicate()
    assert lab_home.eventually(lambda: lab.running() == [] and routers() == []), routers()
    assert answer(world) == b""


# pasta of 2023 stops working at the first connection from outside: docs/networks.md.
@pytest.mark.parametrize("tool", [SLIRP])
def test_a_published_port_and_that_all_ends_with_the_command(lab: LabHome, tool: str) -> None:
    before = folders()
    net_world.run(comes_in, lab, tool)
    assert folders() == before
