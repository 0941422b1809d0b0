"""Networks by the docker command, looked at from outside: namespaces, netlink, sockets."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from typing import Any

import pytest

from tests.api.world import Daemon, wait_for

pytestmark = pytest.mark.requires("root", "docker", "busybox", "nft")

SERVE = "while true; do printf 'HTTP/1.0 200 OK\\r\\n\\r\\nhere\\n' | nc -l -p 80; done"


@pytest.fixture(autouse=True)
def no_networks(daemon: Daemon) -> Any:
    yield
    daemon.clean()
    daemon.docker("network", "prune", "-f")


def settings(daemon: Daemon, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        daemon.docker("inspect", "-f", "{{json .NetworkSettings}}", name)
    )
    return found


def run(daemon: Daemon, name: str, *flags: str, script: str = "sleep 1000") -> None:
    daemon.docker("run", "-d", "--name", name, *flags, "busybox", "sh", "-c", script)


def links() -> set[str]:
    return set(os.listdir("/sys/class/net"))


def fetch(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        data = b""
        while part := sock.recv(4096):
            data += part
    return data


def answers(port: int) -> bool:
    try:
        return fetch(port).endswith(b"here\n")
    except OSError:
        return False


def test_three_networks_are_there_and_stay(daemon: Daemon) -> None:
    found = daemon.docker("network", "ls", "--format", "{{.Name}} {{.Driver}}").splitlines()
    assert found == ["bridge bridge", "host host", "none null"]
    assert "is a pre-defined network" in daemon.fails("network", "rm", "bridge")[1]


def test_a_bridge_is_there_while_somebody_is_on_it(daemon: Daemon) -> None:
    before = links()
    run(daemon, "on")
    assert "lcbr0" in links()
    address = settings(daemon, "on")["IPAddress"]
    assert f"inet {address}/24" in daemon.docker("exec", "on", "ip", "addr", "show", "eth0")
    daemon.docker("rm", "-f", "on")
    assert not links() - before


def test_none_and_host(daemon: Daemon) -> None:
    assert (
        daemon.docker("run", "--rm", "--network", "none", "busybox", "ls", "/sys/class/net") == "lo"
    )
    own = os.readlink("/proc/self/ns/net")
    command = ("run", "--rm", "--network", "host", "busybox", "readlink", "/proc/self/ns/net")
    assert daemon.docker(*command) == own


def test_the_network_of_another_container(daemon: Daemon) -> None:
    run(daemon, "first")
    run(daemon, "second", "--network", "container:first")
    pids = [daemon.docker("inspect", "-f", "{{.State.Pid}}", name) for name in ("first", "second")]
    assert len({os.readlink(f"/proc/{pid}/ns/net") for pid in pids}) == 1
    daemon.docker("stop", "-t", "0", "first")
    daemon.docker("stop", "-t", "0", "second")
    assert "non running container" in daemon.fails("start", "second")[1]


def test_names_on_a_network_of_ones_own(daemon: Daemon) -> None:
    daemon.docker("network", "create", "back")
    run(daemon, "db", "--network", "back", "--network-alias", "database")
    ask = "for n in db database; do nslookup $n | grep -A1 Name: | tail -1; done"
    address = settings(daemon, "db")["Networks"]["back"]["IPAddress"]
    found = daemon.docker("run", "--rm", "--network", "back", "busybox", "sh", "-c", ask)
    assert found.count(address) == 2
    daemon.docker("rename", "db", "store")
    daemon.docker("run", "--rm", "--network", "back", "busybox", "ping", "-c1", "-W2", "store")
    daemon.docker("restart", "-t", "0", "store")
    daemon.docker("run", "--rm", "--network", "back", "busybox", "ping", "-c1", "-W2", "store")
    assert daemon.call("docker", "run", "--rm", "busybox", "ping", "-c1", "-W1", "store").returncode


def test_connect_and_disconnect_while_running(daemon: Daemon) -> None:
    daemon.docker("network", "create", "one")
    daemon.docker("network", "create", "two")
    run(daemon, "mover", "--network", "one")
    run(daemon, "stayer", "--network", "two")
    daemon.docker("network", "connect", "--alias", "moved", "two", "mover")
    assert "eth1" in daemon.docker("exec", "mover", "ls", "/sys/class/net")
    daemon.docker("exec", "stayer", "ping", "-c1", "-W2", "moved")
    daemon.docker("exec", "mover", "ping", "-c1", "-W2", "stayer")
    assert "already exists in network" in daemon.fails("network", "connect", "two", "mover")[1]
    assert "has active endpoints" in daemon.fails("network", "rm", "two")[1]
    daemon.docker("network", "disconnect", "two", "mover")
    assert "eth1" not in daemon.docker("exec", "mover", "ls", "/sys/class/net")
    assert daemon.call("docker", "exec", "stayer", "ping", "-c1", "-W1", "moved").returncode
    assert "is not connected" in daemon.fails("network", "disconnect", "two", "mover")[1]


def test_networks_do_not_reach_each_other(daemon: Daemon) -> None:
    for name in ("left", "right"):
        daemon.docker("network", "create", name)
        run(daemon, f"on-{name}", "--network", name)
    there = settings(daemon, "on-right")["Networks"]["right"]["IPAddress"]
    assert daemon.call("docker", "exec", "on-left", "ping", "-c1", "-W1", there).returncode


def test_subnets_addresses_and_ranges(daemon: Daemon) -> None:
    words = "--subnet 10.233.7.0/24 --gateway 10.233.7.9 --ip-range 10.233.7.128/29"
    daemon.docker("network", "create", *words.split(), "--aux-address", "x=10.233.7.129", "sub")
    run(daemon, "ranged", "--network", "sub")
    assert settings(daemon, "ranged")["Networks"]["sub"]["IPAddress"] == "10.233.7.128"
    run(daemon, "ranged2", "--network", "sub")
    assert settings(daemon, "ranged2")["Networks"]["sub"]["IPAddress"] == "10.233.7.130"
    run(daemon, "fixed", "--network", "sub", "--ip", "10.233.7.77")
    assert settings(daemon, "fixed")["Networks"]["sub"]["IPAddress"] == "10.233.7.77"
    assert "via 10.233.7.9" in daemon.docker("exec", "fixed", "ip", "route")
    said = daemon.fails("run", "--rm", "--network", "sub", "--ip", "10.1.1.1", "busybox")[1]
    assert "no configured subnet" in said
    said = daemon.fails("network", "create", "--subnet", "10.233.7.0/25", "other")[1]
    assert "Pool overlaps" in said
    assert "invalid subnet" in daemon.fails("network", "create", "--subnet", "x", "other")[1]


def test_an_internal_network_has_no_way_out(daemon: Daemon) -> None:
    daemon.docker("network", "create", "--internal", "inner")
    assert "default" not in daemon.docker(
        "run", "--rm", "--network", "inner", "busybox", "ip", "route"
    )


def test_published_ports(daemon: Daemon) -> None:
    run(daemon, "web", "-p", "127.0.0.1::80", script=SERVE)
    port = int(daemon.docker("port", "web", "80").rpartition(":")[2])
    wait_for(lambda: answers(port))
    assert f"127.0.0.1:{port}->80/tcp" in daemon.docker("ps", "--format", "{{.Ports}}")
    status, said = daemon.fails("run", "-d", "--name", "late", "-p", f"{port}:80", "busybox")
    assert (status, "port is already allocated" in said) == (125, True)
    daemon.docker("stop", "-t", "0", "web")
    assert not answers(port)
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", port))


def test_all_exposed_ports_and_udp(daemon: Daemon) -> None:
    run(daemon, "all", "-P", "--expose", "80", "--expose", "53/udp", script=SERVE)
    found = daemon.docker("port", "all").splitlines()
    assert {line.split()[0] for line in found} == {"80/tcp", "53/udp"}
    port = next(int(line.rpartition(":")[2]) for line in found if line.startswith("80/"))
    wait_for(lambda: answers(port))


def test_ports_outlive_the_daemon(daemon: Daemon) -> None:
    run(daemon, "web", "-p", "127.0.0.1::80", script=SERVE)
    port = int(daemon.docker("port", "web", "80").rpartition(":")[2])
    wait_for(lambda: answers(port))
    daemon.kill()
    try:
        wait_for(lambda: answers(port))
    finally:
        daemon.start()
    wait_for(lambda: answers(port))
    with socket.socket() as sock, pytest.raises(OSError, match="in use"):
        sock.bind(("127.0.0.1", port))
    daemon.docker("rm", "-f", "web")
    assert not answers(port)


def test_files_about_names(daemon: Daemon) -> None:
    hosts = daemon.docker("run", "--rm", "-h", "me", "--add-host", "db:10.1.2.3", "--add-host",
                          "up:host-gateway", "busybox", "cat", "/etc/hosts")  # fmt: skip
    assert "10.1.2.3\tdb" in hosts
    assert "10.231.0.1\tup" in hosts
    assert hosts.splitlines()[-1].endswith("\tme")
    words = "--dns 10.9.9.9 --dns-search lab.test --dns-opt ndots:3 busybox cat /etc/resolv.conf"
    resolv = daemon.docker("run", "--rm", *words.split())
    assert resolv.splitlines() == ["nameserver 10.9.9.9", "search lab.test", "options ndots:3"]


def test_links_on_the_default_bridge(daemon: Daemon) -> None:
    run(daemon, "db")
    daemon.docker("run", "--rm", "--link", "db:store", "busybox", "ping", "-c1", "-W2", "store")


def test_an_ipv6_subnet(daemon: Daemon) -> None:
    if not os.path.exists("/proc/sys/net/ipv6"):
        pytest.skip("this kernel has no IPv6")
    daemon.docker("network", "create", "--ipv6", "--subnet", "fd00:7::/64", "six")
    run(daemon, "sixth", "--network", "six")
    address = settings(daemon, "sixth")["Networks"]["six"]["GlobalIPv6Address"]
    assert address.startswith("fd00:7::")
    daemon.docker("run", "--rm", "--network", "six", "busybox", "ping", "-6", "-c1", "-W3", address)


def test_list_and_inspect(daemon: Daemon) -> None:
    identity = daemon.docker("network", "create", "--label", "a=b", "seen")
    run(daemon, "inside", "--network", "seen")
    found = json.loads(daemon.docker("network", "inspect", identity[:6]))[0]
    assert found["Labels"] == {"a": "b"}
    (place,) = found["Containers"].values()
    assert place["Name"] == "inside"
    assert daemon.docker("network", "ls", "-q", "--no-trunc", "--filter", "label=a=b") == identity
    assert "already exists" in daemon.fails("network", "create", "seen")[1]
    assert "not found" in daemon.fails("run", "--network", "nosuch", "busybox")[1]
    said = daemon.fails("network", "create", "-d", "overlay", "o")[1]
    assert 'plugin "overlay" not found' in said


def test_rules_are_gone_with_the_last_container(daemon: Daemon) -> None:
    run(daemon, "one", "-p", "127.0.0.1::80")
    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True)
    assert "labcontainer" in tables.stdout
    daemon.docker("rm", "-f", "one")
    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True)
    assert "labcontainer" not in tables.stdout
