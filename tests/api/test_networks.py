"""Networks by the docker command, looked at from outside: namespaces, netlink, sockets."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api import plain, shapes
from tests.api.world import Daemon, wait_for

pytestmark = pytest.mark.requires("root", "docker", "busybox", "nft")

JSON = {"Content-Type": "application/json"}
SERVE = "echo here > /tmp/index.html; httpd -f -p 80 -h /tmp"  # a process a connection


@pytest.fixture(autouse=True)
def no_networks(daemon: Daemon) -> Any:
    yield
    daemon.clean()
    daemon.docker("network", "prune", "-f")


@pytest.fixture
def other_daemon(place: Path, clean_machine: None) -> Iterator[Daemon]:
    """A second one, with the same images, that goes with its containers however a test ends."""
    made = Daemon(place / "other")
    shutil.copytree(place / "home" / "images", made.home / "images", symlinks=True)
    made.start()
    yield made
    assert made.process is not None
    if made.process.poll() is None:
        made.clean()
        made.stop()


def settings(daemon: Daemon, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        daemon.docker("inspect", "-f", "{{json .NetworkSettings}}", name)
    )
    return found


def run(daemon: Daemon, name: str, *flags: str, script: str = "sleep 1000") -> None:
    daemon.docker("run", "-d", "--name", name, *flags, "busybox", "sh", "-c", script)


def links() -> set[str]:
    return set(os.listdir("/sys/class/net"))


def rules() -> str:
    """The packet rules of this machine."""
    done = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True)
    return done.stdout


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


def is_free(port: int) -> bool:
    """Whether nobody has a port: the kernel's memory of connections that have ended is nobody."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
            sock.listen()
        except OSError:
            return False
    return True


def test_three_networks_are_there_and_stay(daemon: Daemon) -> None:
    found = daemon.docker("network", "ls", "--format", "{{.Name}} {{.Driver}}").splitlines()
    assert found == ["bridge bridge", "host host", "none null"]
    assert "is a pre-defined network" in daemon.fails("network", "rm", "bridge")[1]


def test_a_bridge_comes_with_a_container_and_goes_with_the_daemon(other_daemon: Daemon) -> None:
    """Its name is its own, so that other engines on this machine are not mistaken for it."""
    own = other_daemon
    option = "com.docker.network.bridge.name=lcgoes"
    own.docker("network", "create", "-o", option, "mine")
    assert "lcgoes" not in links()
    run(own, "on", "--network", "mine", "-p", "127.0.0.1::80")
    address = settings(own, "on")["Networks"]["mine"]["IPAddress"]
    assert f"inet {address}/24" in own.docker("exec", "on", "ip", "addr", "show", "eth0")
    assert address in rules()
    cable = set(os.listdir("/sys/class/net/lcgoes/brif"))
    own.docker("rm", "-f", "on")
    assert "lcgoes" in links()  # the next container finds it
    wait_for(lambda: not cable & links())  # the kernel ends a network namespace in its own time
    assert address not in rules()
    own.kill()
    own.start()
    assert "lcgoes" not in links()  # nobody keeps it any more
    run(own, "on", "--network", "mine")
    own.clean()
    assert own.stop() == 0
    assert "lcgoes" not in links()
    assert "lcgoes" not in rules()


def test_none_and_host(daemon: Daemon) -> None:
    assert (
        daemon.docker("run", "--rm", "--network", "none", "busybox", "ls", "/sys/class/net") == "lo"
    )
    call = ("run", "--rm", "--network", "none", "busybox", "ping", "-c", "1", "127.0.0.1")
    assert "1 packets received" in daemon.docker(*call)
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
    daemon.docker("run", "--rm", "--network", "back", "busybox", "ping", "-c1", "-W30", "store")
    daemon.docker("restart", "-t", "0", "store")
    daemon.docker("run", "--rm", "--network", "back", "busybox", "ping", "-c1", "-W30", "store")
    assert daemon.call("docker", "run", "--rm", "busybox", "ping", "-c1", "-W1", "store").returncode


def test_connect_and_disconnect_while_running(daemon: Daemon) -> None:
    daemon.docker("network", "create", "one")
    daemon.docker("network", "create", "two")
    run(daemon, "mover", "--network", "one")
    run(daemon, "stayer", "--network", "two")
    daemon.docker("network", "connect", "--alias", "moved", "two", "mover")
    assert "eth1" in daemon.docker("exec", "mover", "ls", "/sys/class/net")
    daemon.docker("exec", "stayer", "ping", "-c1", "-W30", "moved")
    daemon.docker("exec", "mover", "ping", "-c1", "-W30", "stayer")
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
    assert is_free(port)


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
    assert not is_free(port)
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
    daemon.docker("run", "--rm", "--link", "db:store", "busybox", "ping", "-c1", "-W30", "store")


def test_an_ipv6_subnet(daemon: Daemon) -> None:
    if not os.path.exists("/proc/sys/net/ipv6"):
        pytest.skip("this kernel has no IPv6")
    daemon.docker("network", "create", "--ipv6", "--subnet", "fd00:7::/64", "six")
    run(daemon, "sixth", "--network", "six")
    address = settings(daemon, "sixth")["Networks"]["six"]["GlobalIPv6Address"]
    assert address.startswith("fd00:7::")
    words = ("ping", "-6", "-c1", "-W30", address)
    daemon.docker("run", "--rm", "--network", "six", "busybox", *words)


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


def test_the_way_out_goes_over_to_the_next_network(daemon: Daemon) -> None:
    """Default route and published ports, when a container leaves the network that had them."""
    for name in ("one", "two"):
        daemon.docker("network", "create", name)
    daemon.docker("network", "create", "--internal", "within")
    run(daemon, "web", "--network", "one", "-p", "127.0.0.1::80", script=SERVE)
    port = int(daemon.docker("port", "web", "80").rpartition(":")[2])
    daemon.docker("network", "connect", "within", "web")
    daemon.docker("network", "connect", "two", "web")
    wait_for(lambda: answers(port))
    daemon.docker("network", "disconnect", "one", "web")
    gateway = settings(daemon, "web")["Networks"]["two"]["Gateway"]
    assert f"default via {gateway}" in daemon.docker("exec", "web", "ip", "route")
    wait_for(lambda: answers(port))
    daemon.docker("network", "disconnect", "two", "web")
    assert "default" not in daemon.docker("exec", "web", "ip", "route")
    assert not answers(port)
    assert is_free(port)  # given back
    daemon.docker("network", "connect", "one", "web")
    assert "default via" in daemon.docker("exec", "web", "ip", "route")
    again = int(daemon.docker("port", "web", "80").rpartition(":")[2])
    wait_for(lambda: answers(again))


def test_an_internal_network_that_comes_first_is_not_the_way_out(daemon: Daemon) -> None:
    daemon.docker("network", "create", "--internal", "within")
    daemon.docker("network", "create", "out")
    run(daemon, "two", "--network", "within", "--network", "out")
    assert "dev eth1" in daemon.docker("exec", "two", "ip", "route", "show", "default")


def test_a_container_of_several_networks_knows_the_names_of_all(daemon: Daemon) -> None:
    for name in ("left", "right"):
        daemon.docker("network", "create", name)
    run(daemon, "both", "--network", "left", "--network", "right")
    run(daemon, "onleft", "--network", "left", "--network-alias", "same")
    run(daemon, "onright", "--network", "right", "--network-alias", "same")
    for name in ("onleft", "onright", "onleft.left", "same"):
        daemon.docker("exec", "both", "ping", "-c", "1", "-W", "30", name)
    assert "bad address" in daemon.fails("exec", "onleft", "ping", "-c", "1", "onright")[1]
    daemon.docker("rename", "onleft", "renamed")
    daemon.docker("exec", "both", "ping", "-c", "1", "-W", "30", "renamed")
    names = settings(daemon, "renamed")["Networks"]["left"].get("DNSNames", ["renamed"])
    assert "renamed" in names  # the API has them since 1.44
    daemon.docker("restart", "-t", "0", "onright")
    daemon.docker("exec", "both", "ping", "-c", "1", "-W", "30", "onright")
    daemon.docker("network", "disconnect", "right", "both")
    assert "bad address" in daemon.fails("exec", "both", "ping", "-c", "1", "onright")[1]


def test_names_are_answered_again_after_a_daemon_was_killed(daemon: Daemon) -> None:
    daemon.docker("network", "create", "named")
    run(daemon, "asks", "--network", "named")
    run(daemon, "answers", "--network", "named")
    daemon.kill()
    daemon.start()
    daemon.docker("exec", "asks", "ping", "-c", "1", "-W", "30", "answers")


def test_a_name_server_of_the_containers_own(daemon: Daemon) -> None:
    """Ours takes no port 53 away from it."""
    daemon.docker("network", "create", "named")
    run(daemon, "dns", "--network", "named", script="nc -l -p 53 >/dev/null; sleep 1000")
    wait_for(lambda: ":::53 " in daemon.docker("exec", "dns", "netstat", "-ltn"))
    daemon.docker("exec", "dns", "ping", "-c", "1", "dns")
    asked = daemon.docker("exec", "dns", "nslookup", "dns")
    assert "127.0.0.11:53" in asked


def test_ports_on_both_kinds_of_addresses(daemon: Daemon) -> None:
    daemon.docker("network", "create", "--ipv6", "six")
    run(daemon, "web", "--network", "six", "-p", "80", script=SERVE)
    shown = settings(daemon, "web")["Ports"]["80/tcp"]
    assert [one["HostIp"] for one in shown] == ["0.0.0.0", "::"]
    assert shown[0]["HostPort"] == shown[1]["HostPort"]
    six = settings(daemon, "web")["Networks"]["six"]["GlobalIPv6Address"]
    assert six in rules()
    assert daemon.docker("exec", "web", "ping", "-6", "-c", "1", "-W", "30", "web")


NETWORKS = [
    ({"Name": "bridge"}, 403, "operation is not permitted on predefined bridge network"),
    ({"Name": "x", "Driver": "host"}, 403, 'only one instance of "host" network is allowed'),
    ({"Name": "x", "Driver": "nosuch"}, 404, 'plugin "nosuch" not found'),
    ({"Name": "", "Driver": "bridge"}, 400, "invalid name"),
    ({"Name": "x", "IPAM": {"Driver": "nosuch"}}, 404, 'plugin "nosuch" not found'),
    ({"Name": "x", "IPAM": {"Config": [{"Subnet": "zz"}]}}, 400, "invalid CIDR block notation"),
    ({"Name": "x", "IPAM": {"Config": [{"Subnet": "10.9.8.1/24"}]}}, 400, "should be 10.9.8.0/24"),
    ({"Name": "x", "IPAM": {"Config": [{"Subnet": "127.0.0.0/16"}]}}, 403, "Pool overlaps"),
    ({"Name": "x", "Options": {"com.docker.network.bridge.enable_icc": "so"}}, 400, "ParseBool"),
]


@pytest.mark.parametrize(("asked", "status", "words"), NETWORKS)
def test_networks_that_can_not_be(
    daemon: Daemon, asked: dict[str, Any], status: int, words: str
) -> None:
    told = plain.refused(daemon, "POST", "/networks/create", json.dumps(asked).encode(), JSON)
    assert told[0] == status
    assert words in told[1]


CONFLICTS = [
    (("-p", "80:80"), "port publishing and the container type network mode"),
    (("--hostname", "x"), "hostname and the network mode"),
    (("--dns", "192.0.2.1"), "dns and the network mode"),
    (("--add-host", "a:192.0.2.1"), "custom host-to-IP mapping and the network mode"),
    (("--expose", "80"), "port exposing and the container type network mode"),
    (("--link", "other"), "container type network can't be used with links"),
]


@pytest.mark.parametrize(("flags", "words"), CONFLICTS)
def test_what_a_shared_network_excludes(daemon: Daemon, flags: tuple[str, ...], words: str) -> None:
    run(daemon, "other")
    said = daemon.fails("run", "--rm", "--network", "container:other", *flags, "busybox", "true")[1]
    own = "links are only supported for user-defined networks"  # the command's, before 23
    assert f"conflicting options: {words}" in said or own in said


def test_a_missing_network_is_missed_at_the_start(daemon: Daemon) -> None:
    """`create` goes well, as with Docker: its command takes a 404 of it for a missing image."""
    status, said = daemon.fails("run", "--name", "late", "--network", "nosuch", "busybox", "true")
    assert status == 125
    assert "docker: Error response from daemon: network nosuch not found" in said
    assert "Unable to find image" not in said
    daemon.docker("network", "create", "nosuch")
    daemon.docker("start", "-a", "late")


def test_places_that_can_not_be(daemon: Daemon) -> None:
    daemon.docker("network", "create", "plain")
    daemon.docker("network", "create", "--subnet", "10.77.4.0/24", "sub")
    run(daemon, "one", "--network", "sub", "--ip", "10.77.4.9")
    run(daemon, "alone", "--network", "none")
    for words, *call in (
        ("already exists in network sub", "connect", "sub", "one"),
        ("only when connecting to networks with user configured subnets",
         "connect", "--ip", "10.77.4.7", "plain", "one"),
        ("aliases are only supported for user-defined", "connect", "--alias", "x", "bridge", "one"),
        ("or connected to host network", "connect", "host", "one"),
        ("networks in private (none) mode", "connect", "plain", "alone"),
        ("is not connected to network plain", "disconnect", "plain", "one"),
        ("has active endpoints", "rm", "sub"),
    ):  # fmt: skip
        assert words in daemon.fails("network", *call)[1]
    taken = daemon.fails("run", "--rm", "--network", "sub", "--ip", "10.77.4.9", "busybox", "true")
    assert "Address already in use" in taken[1]
    clash = daemon.fails("run", "--rm", "-p", "80:zz", "busybox", "true")[1]
    assert "invalid" in clash.lower()


def test_a_port_that_is_taken(daemon: Daemon) -> None:
    with socket.socket() as sock:
        sock.bind(("0.0.0.0", 0))
        port = sock.getsockname()[1]
        said = daemon.fails("run", "--name", "late", "-p", f"{port}:80", "busybox", "true")[1]
    assert "driver failed programming external connectivity on endpoint late (" in said
    assert f"Bind for 0.0.0.0:{port} failed: port is already allocated" in said
    daemon.docker("start", "-a", "late")


def test_events(daemon: Daemon) -> None:
    since = str(time.time())
    identity = daemon.docker("network", "create", "told")
    run(daemon, "here", "--network", "told")
    daemon.docker("rm", "-f", "here")
    daemon.docker("network", "rm", "told")
    shown = daemon.docker("events", "--since", since, "--until", str(time.time()), "--filter",
                          "type=network", "--format", "{{.Action}} {{.Actor.ID}}")  # fmt: skip
    actions = [f"{word} {identity}" for word in ("create", "connect", "disconnect", "destroy")]
    assert shown.splitlines() == actions


def test_who_is_on_a_network_in_the_shape_of_the_api(daemon: Daemon) -> None:
    daemon.docker("network", "create", "--ipv6", "shown")
    run(daemon, "one", "--network", "shown")
    found = json.loads(plain.ask(daemon, "GET", "/networks/shown")[1])
    shapes.check(found, shapes.NETWORK)
    shapes.check(found["Containers"], {str: shapes.NETWORK_MEMBER})
    (place,) = found["Containers"].values()
    assert place["IPv4Address"].endswith("/24")
    assert place["IPv6Address"].endswith("/64")
