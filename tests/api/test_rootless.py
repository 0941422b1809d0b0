"""The daemon of an ordinary user: its network namespace, volumes, and who comes after kill -9.

Looked at from the host: /proc, nsenter(1), real connections to published ports.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from labcontainer.engine import leftovers
from tests.api import test_bridge_options as options
from tests.api import test_networks as networks
from tests.api.test_networks import SERVE, answers, is_free, run, settings
from tests.api.world import ROOT, Daemon, wait_for
from tests.system import net_world
from tests.system.net_world import HOST, OUTSIDE, World

pytestmark = [
    pytest.mark.requires(
        "root", "docker", "busybox", "overlay-userns", "slirp4netns", "nft", "bridge"
    ),
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

    SCRIPT = AS_USER

    def start(self) -> Daemon:
        """Start it and wait until it listens."""
        self.env["HOME"] = str(self.place)
        return super().start()

    def command(self, *words: str) -> list[str]:  # type: ignore[override]
        """Our own command line, as that user."""
        script = self.SCRIPT.format(place=self.place)
        return ["unshare", "--mount", "sh", "-ec", script, "sh", *Daemon.command(*words)]


class WithoutTun(UserDaemon):
    """One that may not open the tun device."""

    SCRIPT = AS_USER.replace("chmod 666", "chmod 600")


class WithoutRules(UserDaemon):
    """One that can't make packet rules: nft's library is hidden, and so are the commands."""

    SCRIPT = (
        "for one in $(ldconfig -p | awk '/libnftables/{{print $NF}}') $(which nft "
        "iptables-restore iptables-legacy-restore); do mount --bind /dev/null $one; done" + AS_USER
    )


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


@pytest.fixture
def other(running: Daemon, clean_machine: None) -> Iterator[Path]:
    """The place of one more daemon of that user, with the same images."""
    place = Path(tempfile.mkdtemp(prefix="api-"))
    shutil.copytree(running.home / "images", place / "home" / "images", symlinks=True)
    place.chmod(0o755)
    subprocess.run(["chown", "-R", "1000:1000", place], check=True)
    yield place
    shutil.rmtree(place)


# --- networks: what holds for root's daemon -------------------------------------------------------

no_networks = networks.no_networks
test_three_networks = networks.test_three_networks_are_there_and_stay
test_none_and_host = networks.test_none_and_host
test_the_network_of_another_container = networks.test_the_network_of_another_container
test_names = networks.test_names_on_a_network_of_ones_own
test_names_of_several = networks.test_a_container_of_several_networks_knows_the_names_of_all
test_links = networks.test_links_on_the_default_bridge
test_a_name_server_of_ones_own = networks.test_a_name_server_of_the_containers_own
test_connect_and_disconnect = networks.test_connect_and_disconnect_while_running
test_networks_do_not_reach_each_other = networks.test_networks_do_not_reach_each_other
test_subnets_addresses_and_ranges = networks.test_subnets_addresses_and_ranges
test_internal = networks.test_an_internal_network_has_no_way_out
test_the_way_out_goes_over = networks.test_the_way_out_goes_over_to_the_next_network
test_ports = networks.test_published_ports
test_all_exposed_ports_and_udp = networks.test_all_exposed_ports_and_udp
test_a_port_that_is_taken = networks.test_a_port_that_is_taken
test_localhost_by_ipv6 = options.test_a_container_without_ipv6_is_reached_by_it
test_localhost_of_a_network_with_ipv6 = options.test_localhost_of_a_network_with_ipv6
test_icc = options.test_without_icc_only_published_ports_are_reached
test_an_address_for_all_ports_and_an_mtu = options.test_an_address_for_all_ports_and_an_mtu
test_large_bodies_both_ways = options.test_large_bodies_both_ways_and_the_end_of_each
test_datagrams = options.test_datagrams
test_carried_again = options.test_it_is_carried_again_by_the_next_daemon
test_ipv6 = networks.test_an_ipv6_subnet
test_list_and_inspect = networks.test_list_and_inspect
test_events = networks.test_events
test_a_missing_network = networks.test_a_missing_network_is_missed_at_the_start


# --- networks: what is of an ordinary user's daemon -----------------------------------------------


def pid_of(daemon: Daemon, name: str) -> int:
    return int(daemon.docker("inspect", "-f", "{{.State.Pid}}", name))


def port_of(daemon: Daemon, name: str) -> int:
    return int(daemon.docker("port", name, "80").splitlines()[0].rpartition(":")[2])


def address(daemon: Daemon, name: str, network: str = "bridge") -> str:
    return str(settings(daemon, name)["Networks"][network]["IPAddress"])


def noted(daemon: Daemon, program: str) -> int:
    """The number of a program that the daemon has written down."""
    return int((daemon.home / "engine" / program).read_text().split()[0])


def in_network_of(pid: int, *words: str) -> subprocess.CompletedProcess[str]:
    """A command of the host's in a process's network namespace."""
    command = ["nsenter", "-t", str(pid), "--net", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def pings(pid: int, there: str, seconds: int = 30) -> bool:
    words = ("ping", "-c", "1", "-W", str(seconds), there)
    return in_network_of(pid, "busybox", *words).returncode == 0


def namespaces() -> set[str]:
    """Every network namespace that a process is in."""
    found = set()
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                found.add(os.readlink(f"/proc/{name}/ns/net"))
            except OSError:
                continue
    return found


def test_the_default_bridge(daemon: Daemon) -> None:
    """Containers reach one another by their addresses, as with Docker, and know no names."""
    run(daemon, "one")
    run(daemon, "two")
    daemon.docker("exec", "one", "ping", "-c", "1", "-W", "30", address(daemon, "two"))
    assert "bad address" in daemon.fails("exec", "one", "ping", "-c", "1", "two")[1]
    config = json.loads(daemon.docker("network", "inspect", "bridge"))[0]["IPAM"]["Config"][0]
    assert f"default via {config['Gateway']}" in daemon.docker("exec", "one", "ip", "route")
    assert "nameserver 10.0.2.3" in daemon.docker("exec", "one", "cat", "/etc/resolv.conf")


def test_bridges_are_in_a_namespace_of_the_daemons(daemon: Daemon) -> None:
    daemon.docker("network", "create", "-o", "com.docker.network.bridge.name=lcuser", "own")
    run(daemon, "on", "--network", "own")
    forwarder = noted(daemon, "forwarder")
    shown = in_network_of(forwarder, "ip", "-br", "link").stdout.splitlines()
    assert {"lcuser", "eth0"} <= {line.split()[0] for line in shown}
    assert 'iifname "lcuser" accept' in in_network_of(forwarder, "nft", "list", "ruleset").stdout
    assert "lcuser" not in networks.links()
    assert "lcuser" not in networks.rules()
    assert "Uid:\t1000\t1000" in Path(f"/proc/{forwarder}/status").read_text()
    as_user = ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", "--"]
    into = ["nsenter", "-t", str(forwarder), "-U", "-n", "--preserve-credentials", "ip", "link"]
    assert "lcuser" in subprocess.run([*as_user, *into], capture_output=True, text=True).stdout


def test_a_port_below_1024_is_roots(daemon: Daemon) -> None:
    if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) <= 81:
        pytest.skip("on this machine a port below 1024 is everybody's")
    said = daemon.fails("run", "--rm", "-p", "81:80", "busybox", "true")[1]
    assert "cannot bind 0.0.0.0:81: Permission denied" in said
    assert "net.ipv4.ip_unprivileged_port_start" in said


def test_programs_that_were_killed_are_started_again(daemon: Daemon) -> None:
    run(daemon, "web", "-p", "127.0.0.1::80", script=SERVE)
    wait_for(lambda: answers(port_of(daemon, "web")))
    before = {name: noted(daemon, name) for name in ("forwarder", "router")}
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not any(leftovers.start_time(pid) for pid in before.values()))
    run(daemon, "next")
    assert all(noted(daemon, name) != before[name] for name in before)
    wait_for(lambda: answers(port_of(daemon, "web")))
    routes = in_network_of(noted(daemon, "forwarder"), "ip", "route").stdout
    assert "default via 10.0.2.2" in routes


# --- the next daemon ------------------------------------------------------------------------------


def test_who_comes_after_a_kill_takes_over(daemon: Daemon) -> None:
    """It enters the containers' user namespace, and finds the network namespace there."""
    daemon.docker("network", "create", "own")
    run(daemon, "db", "--network", "own")
    run(daemon, "web", "--network", "own", "-p", "127.0.0.1::80", script=SERVE)
    port = port_of(daemon, "web")
    wait_for(lambda: answers(port))
    pid, there = pid_of(daemon, "web"), address(daemon, "db", "own")
    bridges = os.readlink(f"/proc/{noted(daemon, 'forwarder')}/ns/net")
    daemon.kill()
    assert pings(pid, there)  # nobody is needed for that
    daemon.start()
    assert os.readlink(f"/proc/{noted(daemon, 'forwarder')}/ns/net") == bridges
    assert address(daemon, "db", "own") == there
    daemon.docker("exec", "web", "ping", "-c", "1", "-W", "30", "db")
    wait_for(lambda: answers(port))
    run(daemon, "late", "--network", "own")
    daemon.docker("exec", "late", "ping", "-c", "1", "-W", "30", "web")
    daemon.docker("network", "disconnect", "own", "db")
    assert not pings(pid, there, 1)
    daemon.docker("network", "connect", "own", "db")
    daemon.docker("exec", "web", "ping", "-c", "1", "-W", "30", "db")
    daemon.docker("rm", "-f", "web")
    assert is_free(port)


def test_nothing_outlives_daemon_and_containers(daemon: Daemon) -> None:
    daemon.docker("network", "create", "own")
    run(daemon, "web", "--network", "own", "-p", "127.0.0.1::80", script=SERVE)
    port = port_of(daemon, "web")
    programs = [noted(daemon, name) for name in ("forwarder", "router")]
    bridges = os.readlink(f"/proc/{programs[0]}/ns/net")
    pid = pid_of(daemon, "web")
    daemon.kill()
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: bridges not in namespaces())
    wait_for(lambda: not any(os.path.exists(f"/proc/{one}") for one in programs))
    assert is_free(port)
    daemon.start()
    assert daemon.docker("ps", "-q") == ""
    daemon.docker("start", "web")  # in a new namespace, and nothing of the old one is in the way
    wait_for(lambda: answers(port_of(daemon, "web")))
    programs = [noted(daemon, name) for name in ("forwarder", "router")]
    assert daemon.stop() == 0
    assert not any(os.path.exists(f"/proc/{one}") for one in programs)
    left = {entry.name for entry in (daemon.home / "engine").iterdir()}
    assert not left & {"forwarder", "router", "netns", "network.json"}
    daemon.start()


# --- the way out ----------------------------------------------------------------------------------


def path_without(place: Path, *names: str) -> str:
    """A PATH with all programs but these."""
    place.mkdir()
    for folder in ("/usr/sbin", "/usr/bin"):
        for name in {*os.listdir(folder)} - {*names}:
            if not (place / name).is_symlink():
                (place / name).symlink_to(f"{folder}/{name}")
    return str(place)


def from_outside(world: World, port: int) -> bytes:
    """What a published port of the host says to a neighbour; it may not be up yet."""
    with world.outside.socket(socket.SOCK_STREAM) as client:
        try:
            client.connect((HOST, port))
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return client.makefile("rb").read()
        except OSError:
            return b""


def goes_out(world: World, daemon: UserDaemon, own: str) -> None:
    """What comes out of a container is the host's; what is published is reached from outside."""
    world.host.run("ip", "route", "add", "default", "via", OUTSIDE)
    before = world.state()
    daemon.start()
    try:
        daemon.docker("network", "create", "own")
        server = world.outside.listens(99)
        server.settimeout(60)
        for network in ("bridge", "own"):
            run(daemon, network, "--network", network,
                script=f"echo from {network} | nc -w 60 {OUTSIDE} 99")  # fmt: skip
            connection, peer = server.accept()
            with connection:
                assert (connection.recv(99), peer[0]) == (f"from {network}\n".encode(), HOST)
        run(daemon, "web", "--network", "own", "-p", "8080:80", script=SERVE)
        wait_for(lambda: answers(8080))
        wait_for(lambda: from_outside(world, 8080).endswith(b"here\n"))
        shown = in_network_of(noted(daemon, "forwarder"), "ip", "-br", "addr").stdout
        assert f"{own}/24" in shown
        assert world.state() == before
        programs = [noted(daemon, name) for name in ("forwarder", "router")]
        daemon.kill()
        wait_for(lambda: not any(leftovers.start_time(one) for one in programs))
        daemon.start()
        wait_for(lambda: from_outside(world, 8080).endswith(b"here\n"))
    finally:
        daemon.clean()
        assert daemon.stop() == 0


@pytest.mark.parametrize(
    ("absent", "own"),
    [
        ("pasta", "10.0.2.100"),
        pytest.param("slirp4netns", HOST, marks=pytest.mark.requires("pasta")),
    ],
)
def test_the_way_out(other: Path, absent: str, own: str) -> None:
    daemon = UserDaemon(other)
    daemon.env["PATH"] = path_without(other / "bin", absent)
    net_world.run(goes_out, daemon, own)


def test_without_a_way_out(other: Path) -> None:
    """Containers have networks all the same, and it is told what is missing."""
    daemon = WithoutTun(other).start()
    why = "/dev/net/tun may not be opened by this user; as root: chmod 0666 /dev/net/tun"
    try:
        daemon.docker("network", "create", "own")
        told = daemon.call("docker", "create", "--name", "db", "--network", "own", "busybox",
                           "sleep", "1000")  # fmt: skip
        assert f"{why}\n" in told.stderr.decode()
        daemon.docker("start", "db")
        run(daemon, "web", "--network", "own", "-p", "127.0.0.1::80", script=SERVE)
        daemon.docker("exec", "web", "ping", "-c", "1", "-W", "30", "db")
        wait_for(lambda: answers(port_of(daemon, "web")))
        assert daemon.said().count(why) == 1
    finally:
        daemon.clean()
        assert daemon.stop() == 0


def test_without_packet_rules(other: Path) -> None:
    """Who asked for no network runs without, and is told so; who did gets the reason."""
    daemon = WithoutRules(other).start()
    why = "nft rules: neither libnftables.so.1 nor nft is installed; install the package nftables"
    try:
        assert daemon.docker("run", "--rm", "busybox", "ls", "/sys/class/net") == "lo"
        assert f"containers have no network: {why}" in daemon.said()
        assert why in daemon.call("docker", "info").stderr.decode()
        daemon.docker("network", "create", "own")
        assert why in daemon.fails("run", "--rm", "--network", "own", "busybox", "true")[1]
        assert why in daemon.fails("run", "--rm", "-p", "80", "busybox", "true")[1]
    finally:
        daemon.clean()
        assert daemon.stop() == 0


# --- Compose --------------------------------------------------------------------------------------

PROJECT = """
version: "3.7"
services:
  web:
    image: busybox
    command: sh -c "until wget -qO /tmp/index.html http://db/; do sleep 0.1; done; httpd -fh /tmp"
    ports: ["127.0.0.1::80"]
    networks: [front, back]
  db:
    image: busybox
    command: sh -c "mkdir /w; echo here > /w/index.html; exec httpd -fh /w"
    networks: [back]
networks: {front: , back: {internal: true}}
"""


@pytest.mark.parametrize(
    "command",
    [pytest.param("docker-compose", marks=pytest.mark.requires("docker-compose")), "labcontainer"],
)
def test_a_project_of_two_services(daemon: Daemon, tmp_path: Path, command: str) -> None:
    """They find each other by name, and the published one is reached from the host."""
    (tmp_path / "docker-compose.yml").write_text(PROJECT)
    own = ["docker-compose"] if command == "docker-compose" else Daemon.command("compose")

    def compose(*words: str) -> str:
        env = {**daemon.env, "PYTHONPATH": str(ROOT)}
        done = subprocess.run([*own, "-p", "two", *words], env=env, cwd=tmp_path, text=True,
                              capture_output=True, check=False, timeout=100)  # fmt: skip
        assert done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout

    compose("up", "-d")
    port = int(compose("port", "web", "80").rpartition(":")[2])
    wait_for(lambda: answers(port))
    compose("exec", "-T", "web", "ping", "-c", "1", "-W", "30", "db")
    compose("restart", "-t", "0", "db")
    compose("exec", "-T", "web", "ping", "-c", "1", "-W", "30", "db")
    compose("down", "-t", "0")
    assert daemon.docker("ps", "-aq") == ""
    assert daemon.docker("network", "ls", "-q", "--filter", "type=custom") == ""
    assert is_free(port)


# --- volumes --------------------------------------------------------------------------------------


def test_volumes(daemon: Daemon) -> None:
    daemon.docker("run", "--rm", "-v", "kept:/etc", "busybox", "sh", "-c", "echo x > /etc/own")
    shown = daemon.docker("run", "--rm", "-v", "kept:/data", "busybox", "ls", "/data").split()
    assert {"own", "passwd"} <= set(shown)
    where = Path(daemon.docker("volume", "inspect", "kept", "-f", "{{.Mountpoint}}"))
    assert (where / "own").stat().st_uid == 1000
    daemon.docker("volume", "rm", "kept")
