"""`labcontainer run` with a network: the bridge, published ports, and that both go."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator

import pytest

from labcontainer.lab import doctor
from tests.system import lab_home
from tests.system.lab_home import LabHome

pytestmark = pytest.mark.requires("root", "mount", "bridge", "busybox")


@pytest.fixture(scope="module")
def lab() -> Iterator[LabHome]:
    works, reason = doctor.probe("nft")
    if not works and not shutil.which("iptables"):  # a kernel may have one of the two only
        pytest.skip(f"nft: {reason}; and no iptables")
    yield from lab_home.home()


def test_container_has_an_address_and_its_hosts_file_says_it(lab: LabHome) -> None:
    script = "ip -o -4 addr show eth0; ping -c 1 -W 5 $GATEWAY > /dev/null && echo reached;"
    script = "GATEWAY=$(ip route | awk '/default/ {print $3}');" + script + "tail -1 /etc/hosts"
    done = lab.call("run", "--hostname", "lab", "busybox", "sh", "-c", script)
    assert done.returncode == 0, done.stderr
    shown = done.stdout.splitlines()
    address = shown[0].split()[3].split("/")[0]
    assert shown[1] == "reached"
    assert shown[2].split() == [address, "lab"]


def test_names(lab: LabHome) -> None:
    done = lab.call(
        *("run", "--dns", "192.0.2.1", "--dns-search", "lab.test", "--add-host", "db:192.0.2.2"),
        *("--add-host", "gateway:host-gateway", "busybox", "cat", "/etc/resolv.conf", "/etc/hosts"),
    )
    assert "nameserver 192.0.2.1\n" in done.stdout
    assert "search lab.test\n" in done.stdout
    assert "192.0.2.2\tdb\n" in done.stdout
    assert ".1\tgateway\n" in done.stdout


def test_published_port_and_its_clash(lab: LabHome) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = "echo ready; while :; do echo hello | nc -l -p 80; done"
    program = lab.start("-p", f"127.0.0.1:{port}:80", "busybox", "sh", "-c", script)
    try:

        def answers() -> bool:
            try:
                with socket.create_connection(("127.0.0.1", port), 2) as connection:
                    return connection.recv(16) == b"hello\n"
            except OSError:
                return False

        assert lab_home.eventually(answers)
        clash = lab.call("run", "-p", f"127.0.0.1:{port}:80", "busybox", "true")
        assert clash.returncode == 125
        assert "port is already allocated" in clash.stderr
        assert clash.stderr.count("\n") == 1
    finally:
        program.kill()
        program.communicate()
    assert lab_home.eventually(lambda: lab.running() == [])


def test_last_container_takes_the_bridge_away(lab: LabHome) -> None:
    done = lab.call("run", "busybox", "true")
    assert (done.returncode, done.stderr) == (0, "")
    assert lab.running() == []
    if not os.path.exists("/run/labcontainer/network.json"):  # nobody else's container is there
        assert not os.path.exists("/sys/class/net/lcbr0")


def test_host_network(lab: LabHome) -> None:
    done = lab.call("run", "--network", "host", "busybox", "readlink", "/proc/self/ns/net")
    assert done.stdout.strip() == os.readlink("/proc/self/ns/net")
    told = lab.call("run", "--network", "host", "-p", "80", "busybox", "true")
    assert told.stderr == "labcontainer: published ports are discarded with --network host\n"
