"""Plans, addresses, ports and packet rules: all pure."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labcontainer import addresses, nat, network, ports
from labcontainer.errors import ExistsError, LabError, UsageError
from labcontainer.ledger import Ledger
from labcontainer.network import Bridge, Endpoint
from labcontainer.ports import Port

BRIDGE = Bridge("lcbr0", "10.231.0.0/24", "10.231.0.1", mtu=1500)
ENDPOINT = Endpoint("c1", ip="10.231.0.2", mac="02:42:0a:e7:00:02", link="lc1")

# --- plans --------------------------------------------------------------------------------------


def test_a_bridge_in_steps() -> None:
    assert [str(step) for step in network.plan_bridge(BRIDGE)] == [
        "sysctl -w net.ipv4.ip_forward=1",
        "ip link add lcbr0 address 02:42:0a:e7:00:01 mtu 1500 type bridge",
        "ip address add 10.231.0.1/24 dev lcbr0",
        "sysctl -w net.ipv4.conf.lcbr0.route_localnet=1",
        "ip link set lcbr0 up",
        "nft: table labcontainer, with the rules of lcbr0",
        "iptables: others' FORWARD chains accept lcbr0",
    ]


def test_an_endpoint_in_steps() -> None:
    published = ENDPOINT.replace(ports=(Port(80, host_port=8080),))
    assert [str(step) for step in network.plan_endpoint(BRIDGE, published)] == [
        "ip link add lc1 mtu 1500 type veth peer name eth0 address 02:42:0a:e7:00:02 mtu 1500",
        "ip link set lc1 master lcbr0 up",
        "bridge link set dev lc1 hairpin on",
        "in the container: ip link set lo up",
        "in the container: ip address add 10.231.0.2/24 dev eth0",
        "in the container: ip link set eth0 up",
        "in the container: ip route add default via 10.231.0.1",
        "nft: table labcontainer, with 0.0.0.0:8080->80/tcp",
    ]


def test_an_internal_network_changes_no_setting_and_has_no_way_out() -> None:
    internal = BRIDGE.replace(internal=True)
    steps = " ".join(map(str, network.plan_bridge(internal)))
    assert "ip_forward" not in steps
    assert "default" not in " ".join(map(str, network.plan_endpoint(internal, ENDPOINT)))
    assert not any(rule.verdict == "masquerade" for rule in nat.rules([internal], []))


def test_ipv6_comes_beside_ipv4() -> None:
    both = BRIDGE.replace(subnet6="fd00::/64")
    steps = [str(step) for step in network.plan_endpoint(both, ENDPOINT.replace(ip6="fd00::2"))]
    assert "in the container: ip address add fd00::2/64 dev eth0 nodad" in steps
    assert "in the container: ip route add default via fd00::1" in steps


# --- packet rules -------------------------------------------------------------------------------


def verdicts(bridges: list[Bridge], endpoints: list[Endpoint], chain: str) -> list[str]:
    rules = nat.rules(bridges, endpoints)
    return [rule.verdict for rule in rules if rule.chain == chain]


def test_all_drops_into_a_bridge_stand_before_any_accept_out_of_one() -> None:
    second = BRIDGE.replace(name="lcbr1", subnet="10.231.1.0/24")
    found = [rule for rule in nat.rules([BRIDGE, second], []) if rule.chain == "forward"]
    drops = [n for n, rule in enumerate(found) if rule.verdict == "drop"]
    ways_out = [n for n, rule in enumerate(found) if rule.in_link and not rule.out_link]
    assert max(drops) < min(ways_out)


@pytest.mark.parametrize(
    ("host_ip", "prerouting", "output"),
    [("", 1, 1), ("0.0.0.0", 1, 1), ("127.0.0.1", 0, 1), ("192.0.2.1", 1, 1), ("::1", 0, 0)],
)
def test_where_a_published_port_can_be_reached(host_ip: str, prerouting: int, output: int) -> None:
    published = ENDPOINT.replace(ports=(Port(80, host_port=8080, host_ip=host_ip),))
    assert len(verdicts([BRIDGE], [published], "prerouting")) == prerouting
    assert len(verdicts([BRIDGE], [published], "output")) == output


def test_no_packet_from_outside_is_turned_for_a_loopback_address() -> None:
    published = ENDPOINT.replace(ports=(Port(80, host_port=8080),))
    outside = [r for r in nat.rules([BRIDGE], [published]) if r.chain == "prerouting"]
    assert [rule.destination for rule in outside] == ["!127.0.0.0/8"]


# --- addresses ----------------------------------------------------------------------------------


def test_the_lowest_free_address_is_given() -> None:
    assert addresses.allocate("10.0.0.0/24", {"10.0.0.1"}) == "10.0.0.2"
    assert addresses.allocate("10.0.0.0/24", {"10.0.0.1", "10.0.0.2", "10.0.0.4"}) == "10.0.0.3"


@pytest.mark.parametrize(
    ("wanted", "error", "words"),
    [
        ("10.0.1.5", UsageError, "no address for a container"),
        ("10.0.0.0", UsageError, "no address for a container"),
        ("10.0.0.255", UsageError, "no address for a container"),
        ("10.0.0.1", ExistsError, "already in use"),
        ("10.0.0", UsageError, "invalid IP address"),
    ],
)
def test_an_address_that_cannot_be_had(wanted: str, error: type[LabError], words: str) -> None:
    with pytest.raises(error, match=words):
        addresses.allocate("10.0.0.0/24", {"10.0.0.1"}, wanted)


def test_a_full_subnet_says_so() -> None:
    with pytest.raises(LabError, match=r"no free address is left in 10.0.0.0/30 \(2 in use\)"):
        addresses.allocate("10.0.0.0/30", {"10.0.0.1", "10.0.0.2"})


@given(st.integers(20, 30), st.lists(st.booleans(), max_size=60))
def test_addresses_are_unique_in_the_subnet_and_come_back_lowest_first(
    prefix: int, takes: list[bool]
) -> None:
    subnet = ipaddress.IPv4Network((0x0AE70000, prefix))
    taken: dict[str, None] = {str(subnet[1]): None}
    for take in takes:
        if take:
            try:
                address = addresses.allocate(str(subnet), taken)
            except LabError:
                assert len(taken) == subnet.num_addresses - 2
                continue
            assert address not in taken
            assert ipaddress.ip_address(address) in list(subnet.hosts())
            lower = {str(host) for host in subnet.hosts() if host < ipaddress.IPv4Address(address)}
            assert lower <= set(taken)
            taken[address] = None
        elif len(taken) > 1:
            taken.popitem()


@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(8, 32)), max_size=20))
def test_a_free_subnet_overlaps_nothing_that_is_there(there: list[tuple[int, int]]) -> None:
    routes = [ipaddress.ip_network(each, strict=False) for each in there]
    try:
        found = addresses.free_subnet(["default", "fe80::/64", *map(str, routes)])
    except LabError:
        assert any(route.overlaps(ipaddress.ip_network("10.231.0.0/16")) for route in routes)
        return
    assert not any(route.overlaps(ipaddress.ip_network(found)) for route in routes)


def test_derived_addresses() -> None:
    assert addresses.mac("10.231.0.2") == "02:42:0a:e7:00:02"
    assert addresses.twin("10.231.0.9", "10.231.0.0/24", "fd00::/64") == "fd00::9"


# --- ports --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("80", [Port(80)]),
        ("8080:80", [Port(80, "tcp", 8080)]),
        ("127.0.0.1:8080:80/udp", [Port(80, "udp", 8080, "127.0.0.1")]),
        ("127.0.0.1::80", [Port(80, "tcp", 0, "127.0.0.1")]),
        ("[::1]:8080:80", [Port(80, "tcp", 8080, "::1")]),
        ("8000-8010:80", [Port(80, "tcp", 8000, "", 8010)]),
        ("7000-7001:5000-5001", [Port(5000, "tcp", 7000), Port(5001, "tcp", 7001)]),
    ],
)
def test_dockers_words_for_ports(text: str, found: list[Port]) -> None:
    assert list(ports.parse(text)) == found


@pytest.mark.parametrize(
    "text",
    ["", "x", "0", "65536", "80-", "-5", "9-5", "1:2:3:4", "[::1]80", "300.1.1.1:1:1", "1-2:1-3"]
    + ["80/sctp", "9" * 5000],
)
def test_other_words_are_refused_in_one_line(text: str) -> None:
    with pytest.raises(UsageError) as refused:
        ports.parse(text)
    assert "\n" not in str(refused.value)


def test_a_held_port_is_ours_until_it_is_released() -> None:
    held = ports.hold(Port(80, host_ip="127.0.0.1"))
    number = held.port.host_port
    assert number
    with pytest.raises(ExistsError, match=f"127.0.0.1:{number} failed: port is already allocated"):
        ports.hold(Port(80, "tcp", number, "127.0.0.1"))
    other = ports.hold(Port(80, "udp", number, "127.0.0.1"))
    following = ports.hold(Port(80, "tcp", number, "127.0.0.1", min(number + 50, 65535)))
    assert following.port.host_port > number
    for each in (held, other, following):
        each.release()
    ports.hold(Port(80, "tcp", number, "127.0.0.1")).release()


# --- the ledger ---------------------------------------------------------------------------------


def test_the_ledger_is_gone_when_nothing_is_left_in_it(tmp_path: Path) -> None:
    ledger = Ledger(f"{tmp_path}/net/ledger.json")
    with ledger:
        ledger.section("bridges")["a"] = {"name": "a"}
        ledger.save()
    with ledger:
        assert ledger.section("bridges") == {"a": {"name": "a"}}
        ledger.section("bridges").clear()
        ledger.save()
    with ledger, pytest.raises(FileNotFoundError):
        open(ledger.path)


def test_a_value_is_given_back_unless_somebody_changed_it_since(tmp_path: Path) -> None:
    one, two = f"{tmp_path}/one", f"{tmp_path}/two"
    for path in (one, two):
        with open(path, "w") as file:
            file.write("0\n")
    ledger = Ledger(f"{tmp_path}/ledger.json")
    with ledger:
        for path in (one, two):
            ledger.set_value(path, "1")
        ledger.set_value(one, "1")
    with open(two, "w") as file:
        file.write("5\n")
    with ledger:
        ledger.give_back()
    assert Path(one).read_text().strip() == "0"
    assert Path(two).read_text().strip() == "5"


def test_what_a_ledger_tells_of_another_boot_is_not_believed(tmp_path: Path) -> None:
    path = f"{tmp_path}/ledger.json"
    with open(path, "w") as file:
        file.write('{"boot": "another", "bridges": {"a": {}}}')
    with Ledger(path) as ledger:
        assert ledger.section("bridges") == {}


def test_a_torn_ledger_is_named(tmp_path: Path) -> None:
    path = f"{tmp_path}/ledger.json"
    with open(path, "w") as file:
        file.write('{"boot": ')
    with pytest.raises(LabError, match=r"ledger.json is torn .*; remove it"):
        Ledger(path).__enter__()
    with open(path, "w") as file:
        file.write("{}")
    with Ledger(path):  # the lock was given back
        pass
