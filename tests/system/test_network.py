"""Networks in a world of their own (net_world.py): real packets; `ip`, `nft` and `ss` look on."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from labcontainer import nameserver, network, ports, topology
from labcontainer.errors import ExistsError, NotFoundError, StateError
from labcontainer.kernel import files, firewall, netlink, rtnetlink
from labcontainer.ledger import Ledger
from labcontainer.network import Bridge, Endpoint
from tests.system import net_world
from tests.system.lab_home import eventually
from tests.system.net_world import HOST, HOST6, OUTSIDE, OUTSIDE6, SOON, Place, World

pytestmark = pytest.mark.requires("root", "bridge", "ip", "busybox")
BRIDGE_NF = "/proc/sys/net/bridge/bridge-nf-call-iptables"


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(f"{tmp_path}/net/ledger.json")


def attach(ledger: Ledger, place: Place, name: str, **fields: Any) -> Endpoint:
    """Connect a place as a container of that name."""
    return network.attach(ledger, Endpoint(name, names=(name,), **fields), pid=place.pid)


# --- one bridge ---------------------------------------------------------------------------------


def two_talk_and_reach_out(world: World, ledger: Ledger) -> None:
    before = world.state()
    bridge = network.ensure_bridge(ledger, Bridge())
    one, two = world.place(), world.place()
    first, second = attach(ledger, one, "one"), attach(ledger, two, "two")
    assert (first.ip, second.ip) == ("10.231.0.2", "10.231.0.3")
    assert one.pings(second.ip) and two.pings(first.ip) and one.pings(bridge.gateway)
    assert one.pings(OUTSIDE)
    server = world.outside.listens(80)
    assert two.reaches(server, OUTSIDE, 80) == HOST  # NAT: the outside sees the host

    link = json.loads(one.run("ip", "-j", "address", "show", "eth0"))[0]
    assert link["address"] == "02:42:0a:e7:00:02"
    assert [a["local"] for a in link["addr_info"] if a["family"] == "inet"] == ["10.231.0.2"]
    assert "default via 10.231.0.1 dev eth0" in one.run("ip", "route")
    assert first.link in world.host.run("ip", "-o", "link", "show", "master", "lcbr0")

    network.detach(ledger, "one")
    assert not two.pings(first.ip, SOON)
    network.detach(ledger, "two")
    assert world.state() == before
    assert not os.path.exists(ledger.path)


def test_two_containers_talk_and_reach_the_outside_and_leave_nothing(ledger: Ledger) -> None:
    net_world.run(two_talk_and_reach_out, ledger)


def addresses_come_back(world: World, ledger: Ledger) -> None:
    network.ensure_bridge(ledger, Bridge(keep=True))
    places = [world.place() for _ in range(3)]
    given = [attach(ledger, place, f"c{n}").ip for n, place in enumerate(places)]
    network.detach(ledger, "c1")
    again = attach(ledger, places[1], "new")
    wanted = network.attach(
        ledger, Endpoint("fixed", ip="10.231.0.77", mac="02:00:00:00:00:01"), pid=world.place().pid
    )
    assert given == ["10.231.0.2", "10.231.0.3", "10.231.0.4"]
    assert (again.ip, wanted.ip) == ("10.231.0.3", "10.231.0.77")
    with pytest.raises(ExistsError, match=r"Address already in use: 10.231.0.77"):
        network.attach(ledger, Endpoint("late", ip="10.231.0.77"), pid=world.place().pid)
    with pytest.raises(ExistsError, match="container new is in network lcbr0 already"):
        attach(ledger, places[1], "new")
    with pytest.raises(StateError, match="has active endpoints: c0, c2, fixed, new"):
        network.remove_bridge(ledger, "lcbr0")
    for name in ("c0", "c2", "new", "fixed", "never-there"):
        network.detach(ledger, name)
    assert "lcbr0" in world.state()["links"]
    network.remove_bridge(ledger, "lcbr0")
    assert world.state()["links"] == ["lo", "up0"]
    with pytest.raises(NotFoundError, match="network lcbr0 does not exist"):
        network.remove_bridge(ledger, "lcbr0")


def test_addresses_are_given_and_come_back(ledger: Ledger) -> None:
    net_world.run(addresses_come_back, ledger)


def subnets_do_not_collide(world: World, ledger: Ledger) -> None:
    world.host.do(
        rtnetlink.add_address("up0", "10.231.0.77/24"),
        rtnetlink.add_route("10.231.2.0/23", via=OUTSIDE),
    )
    found = [network.ensure_bridge(ledger, Bridge(f"lcbr{n}")).subnet for n in range(2)]
    assert found == ["10.231.1.0/24", "10.231.4.0/24"]
    again = network.ensure_bridge(ledger, Bridge("lcbr0"))
    assert again.subnet == found[0]
    with pytest.raises(ExistsError, match=r"lcbr0 has the subnet 10.231.1.0/24"):
        network.ensure_bridge(ledger, Bridge("lcbr0", "10.9.0.0/24"))
    with pytest.raises(ExistsError, match="a link up0 exists, and is not of labcontainer"):
        network.ensure_bridge(ledger, Bridge("up0"))


def test_subnets_do_not_collide_with_what_is_there(ledger: Ledger) -> None:
    net_world.run(subnets_do_not_collide, ledger)


def ipv6_too(world: World, ledger: Ledger) -> None:
    bridge = network.ensure_bridge(ledger, Bridge(subnet6="auto"))
    one, two = world.place(), world.place()
    first = attach(ledger, one, "one", ports=ports.parse("8080:80"))
    second = attach(ledger, two, "two")
    assert first.ip6 == "fd6c:6162:0:e700::2" and bridge.subnet6 == "fd6c:6162:0:e700::/64"
    assert two.pings(first.ip6) and one.pings(second.ip6)
    outside = world.outside.listens(80, "::")
    assert one.reaches(outside, OUTSIDE6, 80) == HOST6
    server = one.listens(80, "::")
    assert world.outside.reaches(server, HOST6, 8080) == OUTSIDE6
    assert two.reaches(server, HOST6, 8080).startswith("fd6c:6162:0:e700::")  # masqueraded


@pytest.mark.requires("ipv6")
def test_ipv6_beside_ipv4(ledger: Ledger) -> None:
    net_world.run(ipv6_too, ledger)


# --- isolation ----------------------------------------------------------------------------------


def bridges_are_isolated(world: World, ledger: Ledger) -> None:
    for name in ("lcbr0", "lcbr1"):
        network.ensure_bridge(ledger, Bridge(name))
    network.ensure_bridge(ledger, Bridge("lcint", internal=True))
    one, two, inner = world.place(), world.place(), world.place()
    first = attach(ledger, one, "one")
    second = attach(ledger, two, "two", bridge="lcbr1", ports=ports.parse("8080:80"))
    third = attach(ledger, inner, "inner", bridge="lcint")
    fourth = attach(ledger, one, "one", bridge="lcint", interface="eth1", default_route=False)
    assert one.pings(OUTSIDE) and two.pings(OUTSIDE)
    assert not one.pings(second.ip, SOON) and not two.pings(first.ip, SOON)
    # An internal network has no way out, and the container that is in both is no way either.
    assert not inner.pings(OUTSIDE, SOON) and inner.pings(fourth.ip) and one.pings(third.ip)
    # A neighbour who knows the way in is not let in, but for what was published.
    world.outside.do(rtnetlink.add_route("10.231.0.0/16", via=HOST))
    assert not world.outside.pings(first.ip, SOON)
    server, hidden = two.listens(80), two.listens(81)
    assert world.outside.reaches(server, HOST, 8080) == OUTSIDE
    assert "error" in world.outside.reaches(hidden, second.ip, 81, SOON)
    assert one.reaches(server, HOST, 8080) == "10.231.1.1"  # by the published port, masqueraded


def test_networks_are_isolated_from_each_other_and_from_neighbours(ledger: Ledger) -> None:
    net_world.run(bridges_are_isolated, ledger)


# --- published ports ----------------------------------------------------------------------------


def ports_are_published(world: World, ledger: Ledger, bridge_nf: str) -> None:
    if os.path.exists(BRIDGE_NF):
        files.write(BRIDGE_NF, bridge_nf)
    bridge = network.ensure_bridge(ledger, Bridge())
    one, two = world.place(), world.place()
    held = [ports.hold(port) for text in ("8080:80", "81") for port in ports.parse(text)]
    random = held[1].port.host_port
    wanted = (
        *(each.port for each in held),
        *ports.parse("5000-5001:90-91/udp"),
        *ports.parse("127.0.0.1:8081:80"),
        *ports.parse(f"{HOST}:8082:80"),
    )
    first = attach(ledger, one, "one", ports=wanted)
    attach(ledger, two, "two")
    server, second = one.listens(80), one.listens(81)

    assert world.outside.reaches(server, HOST, 8080) == OUTSIDE  # its own address is kept
    assert world.outside.reaches(second, HOST, random) == OUTSIDE
    assert world.outside.reaches(server, HOST, 8082) == OUTSIDE
    assert "refused" in world.outside.reaches(server, HOST, 8081)
    for address, port in (("127.0.0.1", 8080), ("127.0.0.1", 8081), (HOST, 8082), (HOST, 8080)):
        assert "error" not in world.host.reaches(server, address, port), (address, port)
    for place in (two, one):  # a neighbour, and the container itself
        assert place.reaches(server, HOST, 8080) == bridge.gateway
    assert "error" in two.reaches(server, "127.0.0.1", 8081, SOON)

    for port, inner in ((5000, 90), (5001, 91)):
        for client in (world.outside, world.host):
            target = "127.0.0.1" if client is world.host else HOST
            assert echo(one, inner, client, target, port) == b"hello"

    network.detach(ledger, "one")
    assert "refused" in world.outside.reaches(server, HOST, 8082)
    with pytest.raises(ExistsError, match="8080 failed: port is already allocated"):
        ports.hold(ports.parse("8080:80")[0])
    for each in held:
        each.release()
    attach(ledger, one, "one", ports=ports.parse("8080:80"))
    with pytest.raises(ExistsError, match=r"Bind for .*8080->80/tcp failed: port is already alloc"):
        attach(ledger, world.place(), "three", ports=ports.parse("127.0.0.1:8080:80"))
    assert first.ip == "10.231.0.2"


def echo(server: Place, inner: int, client: Place, address: str, port: int) -> bytes:
    """Send a datagram, and get it back."""
    with server.socket(socket.SOCK_DGRAM) as theirs, client.socket(socket.SOCK_DGRAM) as ours:
        theirs.bind(("0.0.0.0", inner))
        ours.connect((address, port))
        ours.send(b"hello")
        data, sender = theirs.recvfrom(100)
        theirs.sendto(data, sender)
        return ours.recv(100)


@pytest.mark.parametrize("bridge_nf", ["0", "1"])
def test_ports_are_reached_from_outside_from_localhost_and_from_neighbours(
    ledger: Ledger, bridge_nf: str
) -> None:
    net_world.run(ports_are_published, ledger, bridge_nf)


def loopback_is_closed(world: World, ledger: Ledger) -> None:
    """What route_localnet opens is closed again: the host's own services stay its own."""
    network.ensure_bridge(ledger, Bridge())
    one = world.place()
    attach(ledger, one, "one")
    secret = world.host.listens(6000, "127.0.0.1")
    one.do(
        rtnetlink.delete_address("lo", "127.0.0.1/8"),
        rtnetlink.add_route("127.0.0.0/8", via="10.231.0.1"),
    )
    one.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet")
    assert "error" in one.reaches(secret, "127.0.0.1", 6000, SOON)


def test_the_hosts_loopback_cannot_be_reached_from_a_container(ledger: Ledger) -> None:
    net_world.run(loopback_is_closed, ledger)


# --- other people's rules -----------------------------------------------------------------------


def docker_drops_forwarding(world: World, ledger: Ledger, chain: str) -> None:
    world.host.run("iptables-nft", "-P", "FORWARD", "DROP")
    if chain == "DOCKER-USER":
        world.host.run("iptables-nft", "-N", chain)
        world.host.run("iptables-nft", "-I", "FORWARD", "-j", chain)
    before = world.host.run("iptables-nft", "-S")
    network.ensure_bridge(ledger, Bridge())
    one = world.place()
    attach(ledger, one, "one", ports=ports.parse("8080:80"))
    assert one.pings(OUTSIDE)
    assert world.outside.reaches(one.listens(80), HOST, 8080) == OUTSIDE
    assert f"-A {chain} -i lcbr0 -j ACCEPT" in world.host.run("iptables-nft", "-S")
    network.detach(ledger, "one")
    assert world.host.run("iptables-nft", "-S") == before


@pytest.mark.requires("nft")
@pytest.mark.parametrize("chain", ["FORWARD", "DOCKER-USER"])
def test_a_forward_policy_of_drop_as_dockers_is_passed_and_left_as_it_was(
    ledger: Ledger, chain: str
) -> None:
    net_world.run(docker_drops_forwarding, ledger, chain)


def somebody_else_forwards(world: World, ledger: Ledger) -> None:
    network.ensure_bridge(ledger, Bridge())
    world.host.do(rtnetlink.add_link("docker0", "bridge"))
    network.remove_bridge(ledger, "lcbr0")
    assert world.state()["values"]["ipv4/ip_forward"] == "1\n"


def test_forwarding_stays_on_for_an_engine_that_came_after_us(ledger: Ledger) -> None:
    net_world.run(somebody_else_forwards, ledger)


def the_old_tables(world: World, ledger: Ledger) -> None:
    """The other language: what a kernel without nftables' NAT is spoken to in."""
    firewall._state["language"] = "iptables"
    before = world.state()
    network.ensure_bridge(ledger, Bridge())
    one, two = world.place(), world.place()
    attach(ledger, one, "one", ports=ports.parse("8080:80"))
    attach(ledger, two, "two")
    server = one.listens(80)
    assert one.pings(OUTSIDE)
    assert world.outside.reaches(server, HOST, 8080) == OUTSIDE
    assert world.host.reaches(server, "127.0.0.1", 8080) == "10.231.0.1"
    assert two.reaches(server, HOST, 8080) == "10.231.0.1"
    assert firewall.listing("labcontainer").count("-j DNAT") == 2
    network.cleanup(ledger, set())
    assert world.state() == before


@pytest.mark.requires("iptables-legacy")
def test_a_kernel_that_speaks_only_iptables(ledger: Ledger) -> None:
    net_world.run(the_old_tables, ledger)


# --- names --------------------------------------------------------------------------------------


def names_are_answered(world: World, ledger: Ledger) -> None:
    bridge = network.ensure_bridge(ledger, Bridge())
    web, db = world.place(), world.place()
    attach(ledger, web, "web")
    network.attach(ledger, Endpoint("0123456789abcdef", names=("db", "store")), pid=db.pid)
    table = nameserver.Names(network.names(ledger, "lcbr0"))
    upstream = nameserver.Names({"example.org": [OUTSIDE]})
    sockets = tuple(
        socket.socket(fileno=netlink.call_in(world.outside.netns, _bound(kind)))
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM)
    )
    sockets[1].listen()
    outside = nameserver.Server("", upstream, sockets=(sockets[0], sockets[1]))
    with outside, nameserver.Server(bridge.gateway, table, [OUTSIDE]):
        for name in ("db", "store", "0123456789ab", "DB"):
            assert "10.231.0.3" in lookup(web, name, bridge.gateway)
        assert "10.231.0.2" in lookup(db, "web", bridge.gateway)
        assert "name = db" in lookup(web, "10.231.0.3", bridge.gateway)
        assert OUTSIDE in lookup(web, "example.org", bridge.gateway)
        network.detach(ledger, "0123456789abcdef")
        table.replace(network.names(ledger, "lcbr0"))
        assert "10.231.0.3" not in lookup(web, "db", bridge.gateway)


def _bound(kind: int) -> Callable[[], int]:
    def make() -> int:
        made = socket.socket(socket.AF_INET, kind)
        made.bind(("0.0.0.0", 53))
        return made.detach()

    return make


def lookup(place: Place, name: str, server: str) -> str:
    """What busybox's nslookup prints, without the lines about the server."""
    shown = place.run(net_world.BUSYBOX, "nslookup", name, server, check=False)
    return shown.partition("\n\n")[2]


def test_containers_find_each_other_by_name(ledger: Ledger) -> None:
    net_world.run(names_are_answered, ledger)


# --- when things go wrong -----------------------------------------------------------------------


def every_step_fails_once(world: World, ledger: Ledger) -> int:
    """Make the first, the second, … change of the kernel fail: each time nothing may be left."""
    before = world.state()
    one = world.place()
    real = (netlink.Netlink.do, firewall.replace, files.write, firewall.open_gate)
    for failing in range(100):
        made = [0]

        def counted(function: Callable[..., Any], at: int, made: list[int]) -> Callable[..., Any]:
            def call(*args: Any, **options: Any) -> Any:
                made[0] += 1
                if made[0] == at + 1:
                    raise OSError(5, "made to fail")
                return function(*args, **options)

            return call

        _patch(*(counted(function, failing, made) for function in real))
        try:
            network.ensure_bridge(ledger, Bridge())
            attach(ledger, one, "one", ports=ports.parse("8080:80"))
        except OSError as error:
            met = error.errno
        else:
            return failing
        finally:
            _patch(*real)
        assert met == 5
        network.cleanup(ledger, set())
        assert world.state() == before, failing
        assert not os.path.exists(ledger.path)
        one = world.place()
    return -1


def _patch(do: Any, replace: Any, write: Any, gate: Any) -> None:
    netlink.Netlink.do = do  # type: ignore[method-assign]
    firewall.replace, files.write, firewall.open_gate = replace, write, gate


def test_each_step_fails_and_nothing_is_left(ledger: Ledger) -> None:
    assert net_world.run(every_step_fails_once, ledger) > 12


def killed_at_each_step(world: World, ledger: Ledger) -> int:
    """kill -9 in the middle, at each change of the kernel; the next one to come cleans up."""
    before = world.state()
    real = (netlink.Netlink.do, firewall.replace, files.write, firewall.open_gate)
    for at in range(100):
        one = world.place()
        pid = os.fork()
        if pid == 0:
            _patch(*(_deadly(function, at, made) for made in [[0]] for function in real))
            network.ensure_bridge(ledger, Bridge())
            attach(ledger, one, "one", ports=ports.parse("8080:80"))
            os._exit(0)
        _pid, status = os.waitpid(pid, 0)
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0
            assert network.cleanup(ledger, {"one"}) == []
            assert network.cleanup(ledger, set()) == ["one"]
            assert world.state() == before
            return at
        network.cleanup(ledger, set())
        assert world.state() == before, at
        assert not os.path.exists(ledger.path)
        os.kill(one.pid, signal.SIGKILL)
    return -1


def _deadly(function: Callable[..., Any], at: int, made: list[int]) -> Callable[..., Any]:
    def call(*args: Any, **options: Any) -> Any:
        result = function(*args, **options)
        made[0] += 1
        if made[0] == at + 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return call


def test_kill_9_at_each_step_and_the_next_start_gives_all_back(ledger: Ledger) -> None:
    assert net_world.run(killed_at_each_step, ledger) > 12


def the_container_is_gone_already(world: World, ledger: Ledger) -> None:
    before = world.state()
    network.ensure_bridge(ledger, Bridge())
    one = world.place()
    attach(ledger, one, "one")
    os.close(one.netns)
    os.kill(one.pid, signal.SIGKILL)
    os.waitpid(one.pid, 0)
    # The kernel ends a namespace in its own time.
    assert eventually(lambda: len(world.state()["links"]) == 3)
    network.detach(ledger, "one")
    assert world.state() == before


def test_detach_after_the_kernel_took_the_cable_away(ledger: Ledger) -> None:
    net_world.run(the_container_is_gone_already, ledger)


def many_at_once(world: World, ledger: Ledger) -> None:
    network.ensure_bridge(ledger, Bridge())
    children = []
    for n in range(6):
        place = world.place()
        pid = os.fork()
        if pid == 0:
            attach(ledger, place, f"c{n}", ports=ports.parse(f"{9000 + n}:80"))
            os._exit(0)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 6
    with ledger:
        found = network.endpoints(ledger).values()
    assert sorted(each.ip for each in found) == [f"10.231.0.{n}" for n in range(2, 8)]
    listing = firewall.listing("labcontainer")
    assert all(listing.count(f"dport {9000 + n} ") == 2 for n in range(6))


def test_six_processes_attach_at_once(ledger: Ledger) -> None:
    net_world.run(many_at_once, ledger)


# --- a picture, and netlink against iproute2 ------------------------------------------------------


def the_picture_is_true(world: World, ledger: Ledger) -> None:
    network.ensure_bridge(ledger, Bridge())
    one = world.place()
    endpoint = attach(ledger, one, "one")
    places = {"host": world.host.netns, "outside": world.outside.netns, "one": one.netns}
    found = topology.topology(places)
    assert found.cables == (
        (("host", endpoint.link), ("one", "eth0")),
        (("host", "up0"), ("outside", "eth0")),
    )
    host = found.places[0]
    bridge = next(link for link in host.links if link.name == "lcbr0")
    assert bridge.kind == "bridge"
    assert [link.name for link in host.links if link.master == bridge.index] == [endpoint.link]


def test_the_picture_shows_both_ends_of_each_cable(ledger: Ledger) -> None:
    net_world.run(the_picture_is_true, ledger)


def netlink_and_iproute2_agree(world: World) -> None:
    place = world.place()
    with netlink.Netlink() as host:
        host.do(rtnetlink.add_link("lc0", "bridge", address="02:00:00:00:00:07", mtu=1400))
        host.do(rtnetlink.add_address("lc0", "10.9.0.1/24"))
        host.do(rtnetlink.set_link("lc0", up=True))
        host.do(rtnetlink.add_route("10.77.0.0/16", dev="lc0"))
        host.do(rtnetlink.add_veth("lc1", "lc2"))
        host.do(rtnetlink.set_link("lc1", master="lc0", up=True))
        host.do(rtnetlink.set_link("lc2", netns=place.netns))
        seen = json.loads(world.host.run("ip", "-j", "-d", "address"))
        ours = {link.name: link for link in host.links()}
        for theirs in seen:
            link = ours[theirs["ifname"]]
            assert (link.index, link.mtu) == (theirs["ifindex"], theirs["mtu"])
            assert link.mac == theirs.get("address", link.mac)
            assert link.up is ("UP" in theirs["flags"])
            assert link.kind == theirs.get("linkinfo", {}).get("info_kind", "")
        told = {(a.index, a.address) for a in host.addresses()}
        assert told == {
            (each["ifindex"], f"{a['local']}/{a['prefixlen']}")
            for each in seen
            for a in each["addr_info"]
        }
        routes = json.loads(world.host.run("ip", "-j", "-4", "route"))
        assert {r.destination for r in host.routes() if ":" not in r.destination} == {
            r["dst"] for r in routes
        }
        host.do(rtnetlink.delete_route("10.77.0.0/16", dev="lc0"))
        host.do(rtnetlink.delete_address("lc0", "10.9.0.1/24"))
        host.do(rtnetlink.set_link("lc1", master="", up=False))
        host.do(rtnetlink.set_link("lc1", new_name="lc9"))
        assert world.host.run("ip", "-4", "address", "show", "lc0").count("inet") == 0
        assert "10.77" not in world.host.run("ip", "route")
        assert "master" not in world.host.run("ip", "link", "show", "lc9")
        place.do(rtnetlink.set_link("lc2", address="02:00:00:00:00:09", mtu=1300))
        assert "mtu 1300" in place.run("ip", "link", "show", "lc2")
        host.do(rtnetlink.delete_link("lc9"))
        assert "lc2" not in place.run("ip", "link")


def test_netlink_and_iproute2_agree() -> None:
    net_world.run(netlink_and_iproute2_agree)


def refusals_say_what(_world: World) -> None:
    with netlink.Netlink() as host:
        for request, number, words in (
            (rtnetlink.add_link("lc0", "nosuch"), 95, "ip link add lc0 type nosuch"),
            (rtnetlink.set_link("nope", up=True), 19, "ip link set nope up"),
            (rtnetlink.add_address("nope", "10.0.0.1/8"), 19, "ip link show nope"),
            (rtnetlink.add_route("default", via="10.8.0.1"), 101, "ip route add default via 10.8"),
            (rtnetlink.add_veth("lc0", "lc0"), 17, "ip link add lc0 type veth peer name lc0"),
        ):
            with pytest.raises(OSError, match=words) as refused:
                host.do(request)
            assert refused.value.errno == number
    with pytest.raises(OSError, match="setns"):
        netlink.connect_in(os.open("/dev/null", os.O_RDONLY))


def test_a_refusal_names_the_request_and_the_reason() -> None:
    net_world.run(refusals_say_what)


def the_plan_is_what_ip_would_do(world: World, ledger: Ledger) -> None:
    """The printed plan, run by iproute2, gives the same network as `ensure_bridge`."""

    def looks() -> Any:
        shown = json.loads(world.host.run("ip", "-j", "address", "show", "lcbr0"))[0]
        return shown["address"], shown["mtu"], [a["local"] for a in shown["addr_info"]][:1]

    bridge = network.ensure_bridge(ledger, Bridge())
    ours = looks()
    network.remove_bridge(ledger, "lcbr0")
    for step in network.plan_bridge(bridge):
        if str(step).startswith("ip "):
            world.host.run(*str(step).split())
    assert looks() == ours


def test_a_printed_plan_can_be_typed(ledger: Ledger) -> None:
    net_world.run(the_plan_is_what_ip_would_do, ledger)
