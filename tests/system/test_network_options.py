"""What a bridge's containers reach, by its options: real packets in a world of their own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from labcontainer import network, ports
from labcontainer.kernel import files, rtnetlink
from labcontainer.ledger import Ledger
from labcontainer.network import Bridge, Endpoint
from tests.system import net_world
from tests.system.net_world import HOST, OUTSIDE, SOON, Place, World

pytestmark = pytest.mark.requires("root", "bridge", "ip", "busybox")
BRIDGE_NF = "/proc/sys/net/bridge/bridge-nf-call-iptables"


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(f"{tmp_path}/net/ledger.json")


def attach(ledger: Ledger, place: Place, name: str, **fields: Any) -> Endpoint:
    return network.attach(ledger, Endpoint(name, **fields), pid=place.pid)


def neighbours_are_apart(world: World, ledger: Ledger, how: str, bridge_nf: str) -> None:
    if os.path.exists(BRIDGE_NF):
        files.write(BRIDGE_NF, bridge_nf)
    if how == "ports":
        network._BRIDGE_RULES = "/nowhere"  # a kernel without br_netfilter
    bridge = network.ensure_bridge(ledger, Bridge(icc=False, subnet6="auto"))
    assert bridge.isolated == (how == "ports" or not os.path.exists(BRIDGE_NF))
    one, two = world.place(), world.place()
    first = attach(ledger, one, "one", ports=ports.parse("8080:80"))
    second = attach(ledger, two, "two")
    server, hidden = one.listens(80), one.listens(81)
    for address in (first.ip, first.ip6):
        assert not two.pings(address, SOON), address
    assert not one.pings(second.ip, SOON)
    assert "error" in two.reaches(hidden, first.ip, 81, SOON)
    assert two.pings(bridge.gateway) and one.pings(OUTSIDE) and world.host.pings(first.ip)
    assert world.outside.reaches(server, HOST, 8080) == OUTSIDE
    if how == "rules" or bridge_nf == "0":
        assert two.reaches(server, HOST, 8080) == bridge.gateway


@pytest.mark.parametrize("bridge_nf", ["0", "1"])
@pytest.mark.parametrize("how", ["rules", "ports"])
@pytest.mark.requires("ipv6")
def test_without_icc_neighbours_reach_only_what_is_published(
    ledger: Ledger, how: str, bridge_nf: str
) -> None:
    net_world.run(neighbours_are_apart, ledger, how, bridge_nf)


def sources_are_kept(world: World, ledger: Ledger) -> None:
    network.ensure_bridge(ledger, Bridge(masquerade=False))
    network.ensure_bridge(ledger, Bridge("lcbr1"))
    one, two = world.place(), world.place()
    first = attach(ledger, one, "one", ports=ports.parse("8080:80"))
    attach(ledger, two, "two", bridge="lcbr1")
    server = world.outside.listens(80)
    assert two.reaches(server, OUTSIDE, 80) == HOST
    assert "error" in one.reaches(server, OUTSIDE, 80, SOON)  # nobody there knows the way back
    world.outside.do(rtnetlink.add_route("10.231.0.0/16", via=HOST))
    assert one.reaches(server, OUTSIDE, 80) == first.ip
    assert world.outside.reaches(one.listens(80), HOST, 8080) == OUTSIDE


def test_without_masquerading_the_container_is_seen_as_it_is(ledger: Ledger) -> None:
    net_world.run(sources_are_kept, ledger)


def an_internal_network_has_rules_for_ipv6(world: World, ledger: Ledger) -> None:
    network.ensure_bridge(ledger, Bridge("lcint", subnet6="auto", internal=True))
    inner = world.place()
    attach(ledger, inner, "inner", bridge="lcint")
    assert "table ip6 labcontainer" in net_world.nft_rules(world.host)


@pytest.mark.requires("ipv6")
def test_an_internal_network_with_ipv6_is_internal_there_too(ledger: Ledger) -> None:
    net_world.run(an_internal_network_has_rules_for_ipv6, ledger)
