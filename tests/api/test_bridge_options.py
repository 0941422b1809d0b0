"""Options of bridges, and ports that are published on IPv6 addresses, with real connections."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from typing import Any

import pytest

from tests.api import plain
from tests.api.world import Daemon, wait_for
from tests.system.net_world import Place

pytestmark = pytest.mark.requires("root", "docker", "busybox", "bridge")

JSON = {"Content-Type": "application/json"}
B = "com.docker.network.bridge"
SERVE = "while true; do echo hello | nc -l -p 80; done"


@pytest.fixture(autouse=True)
def no_networks(daemon: Daemon) -> Any:
    yield
    daemon.clean()
    daemon.docker("network", "prune", "-f")


def run(daemon: Daemon, name: str, *flags: str, script: str = "sleep 1000") -> str:
    """Start a container; its address."""
    daemon.docker("run", "-d", "--name", name, *flags, "busybox", "sh", "-c", script)
    shown = json.loads(daemon.docker("inspect", "-f", "{{json .NetworkSettings.Networks}}", name))
    (own,) = shown.values()
    return str(own["IPAddress"])


def create(daemon: Daemon, name: str, *flags: str, **options: str) -> None:
    words = [word for key, value in options.items() for word in ("-o", f"{B}.{key}={value}")]
    daemon.docker("network", "create", *words, *flags, name)


def port(daemon: Daemon, name: str, inner: str = "80/tcp") -> int:
    shown = json.loads(daemon.docker("inspect", "-f", "{{json .NetworkSettings.Ports}}", name))
    return int(shown[inner][0]["HostPort"])


def hears(address: str, number: int) -> str:
    """What a server says first; it may not be up yet."""
    found: list[str] = []

    def asked() -> bool:
        try:
            with socket.create_connection((address, number), timeout=2) as client:
                client.shutdown(socket.SHUT_WR)
                found.append(client.makefile().read())
        except OSError:
            return False
        return bool(found[-1])

    wait_for(asked)
    return found[-1]


@pytest.mark.parametrize("flags", [(), ("--ipv6",)])
def test_without_icc_only_published_ports_are_reached(
    daemon: Daemon, flags: tuple[str, ...]
) -> None:
    create(daemon, "apart", *flags, enable_icc="false")
    address = run(daemon, "one", "--network", "apart", "-p", "80", script=SERVE)
    run(daemon, "two", "--network", "apart")
    gateway = daemon.docker("network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}",
                            "apart")  # fmt: skip
    number = port(daemon, "one")
    assert hears("127.0.0.1", number) == "hello\n"
    ping = "for a in {}; do ping -c 1 -W 1 $a && echo in; done; true"
    names = f"{address} one"
    assert "in" not in daemon.docker("exec", "two", "sh", "-c", ping.format(names)).split()
    there = ("docker", "exec", "two", "nc", "-w", "5", gateway, str(number))
    wait_for(lambda: daemon.call(*there).stdout == b"hello\n")  # it serves one after the other
    create(daemon, "together", enable_icc="true")
    address = run(daemon, "three", "--network", "together")
    run(daemon, "four", "--network", "together")
    assert "in" in daemon.docker("exec", "four", "sh", "-c", ping.format(address)).split()


def test_without_masquerading_a_bridge_has_no_such_rule(daemon: Daemon) -> None:
    rules = []
    for name, value in (("plain", "true"), ("bare", "false")):
        create(daemon, name, enable_ip_masquerade=value)
        run(daemon, name, "--network", name)
        subnet = daemon.docker("network", "inspect", "-f", "{{(index .IPAM.Config 0).Subnet}}",
                               name)  # fmt: skip
        chain = ["nft", "list", "chain", "ip", "labcontainer", "postrouting"]
        done = subprocess.run(chain, capture_output=True, text=True, check=True)
        lines = done.stdout.splitlines()
        rules.append([one for one in lines if f"ip saddr {subnet}" in one and "oifname" in one])
    assert [len(one) for one in rules] == [1, 0]


def test_an_address_for_all_ports_and_an_mtu(daemon: Daemon) -> None:
    words = ("-o", "com.docker.network.driver.mtu=1300")
    create(daemon, "bound", *words, host_binding_ipv4="127.0.0.1")
    run(daemon, "web", "--network", "bound", "-p", "80", script=SERVE)
    shown = json.loads(daemon.docker("inspect", "-f", "{{json .NetworkSettings.Ports}}", "web"))
    assert [one["HostIp"] for one in shown["80/tcp"]] == ["127.0.0.1"]
    assert daemon.docker("exec", "web", "cat", "/sys/class/net/eth0/mtu") == "1300"


@pytest.mark.parametrize(
    ("option", "why"),
    [
        (f"{B}.enable_icc", 'strconv.ParseBool: parsing "maybe": invalid syntax'),
        (f"{B}.enable_ip_masquerade", 'strconv.ParseBool: parsing "maybe": invalid syntax'),
        ("com.docker.network.driver.mtu", 'strconv.Atoi: parsing "maybe": invalid syntax'),
        (f"{B}.host_binding_ipv4", "nil ip"),
    ],
)
def test_options_that_are_off(daemon: Daemon, option: str, why: str) -> None:
    asked = {"Name": "off", "Options": {option: "maybe"}}
    told = plain.refused(daemon, "POST", "/networks/create", json.dumps(asked).encode(), JSON)
    assert told == (400, f"failed to parse {option} value: maybe ({why})")


# --- IPv6 addresses of the host -------------------------------------------------------------------


@pytest.mark.requires("ipv6")
@pytest.mark.parametrize("where", ["::", "::1"])
def test_a_container_without_ipv6_is_reached_by_it(daemon: Daemon, where: str) -> None:
    run(daemon, "web", "-p", f"[{where}]::80", script=SERVE)
    number = port(daemon, "web")
    shown = daemon.docker("port", "web", "80").replace("[", "").replace("]", "")
    assert shown == f"{where}:{number}"  # docker 20.10 writes no brackets
    assert hears("::1", number) == "hello\n"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", number), timeout=2)


@pytest.mark.requires("ipv6")
def test_large_bodies_both_ways_and_the_end_of_each(daemon: Daemon) -> None:
    run(daemon, "echo", "-p", "[::1]::80", script="while true; do nc -l -p 80 -e cat; done")
    number, sent = port(daemon, "echo"), bytes(range(256)) * 8000
    client = ["busybox", "nc", "-w", "5", "::1", str(number)]

    def comes_back() -> bool:
        done = subprocess.run(client, input=sent, capture_output=True, timeout=30, check=False)
        return done.stdout == sent

    wait_for(comes_back)  # the server may not be up yet


@pytest.mark.requires("ipv6")
def test_datagrams(daemon: Daemon) -> None:
    run(daemon, "echo", "-p", "[::1]::90/udp")
    number = port(daemon, "echo", "90/udp")
    inside = Place(int(daemon.docker("inspect", "-f", "{{.State.Pid}}", "echo")))
    with (
        inside.socket(socket.SOCK_DGRAM) as server,
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as one,
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as other,
    ):
        server.bind(("0.0.0.0", 90))
        for word in (b"first", b"second"):
            for client in (one, other):
                client.settimeout(60)
                client.connect(("::1", number))
                client.send(word)
                data, sender = server.recvfrom(100)
                server.sendto(data[::-1], sender)
                assert client.recv(100) == word[::-1]
    os.close(inside.netns)


@pytest.mark.requires("ipv6")
def test_it_is_carried_again_by_the_next_daemon(daemon: Daemon) -> None:
    run(daemon, "web", "-p", "[::1]::80", script=SERVE)
    number = port(daemon, "web")
    assert hears("::1", number) == "hello\n"
    daemon.kill()
    daemon.start()
    assert hears("::1", number) == "hello\n"
    daemon.docker("rm", "-f", "web")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("::1", number), timeout=2)


@pytest.mark.requires("ipv6")
def test_localhost_of_a_network_with_ipv6(daemon: Daemon) -> None:
    daemon.docker("network", "create", "--ipv6", "six")
    daemon.docker("run", "-d", "--name", "web", "--network", "six", "-p", "80", "busybox", "sh",
                  "-c", SERVE)  # fmt: skip
    number = port(daemon, "web")
    assert hears("127.0.0.1", number) == hears("::1", number) == "hello\n"
