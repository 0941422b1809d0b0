"""The engine's networks as far as they need no kernel: words, plans, names, files, ports."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from labcontainer import errors, keepers, nameserver, network
from labcontainer.daemon import wire
from labcontainer.engine import networkspec, places, resolving
from labcontainer.engine.container import Container, State
from labcontainer.engine.events import Events
from labcontainer.engine.networks import Networks
from labcontainer.engine.networkspec import ForbiddenError
from labcontainer.engine.records import Records
from labcontainer.kernel import netlink
from labcontainer.ledger import Ledger
from labcontainer.ports import Port

Document = dict[str, Any]


class Few:
    """Some containers, as `Containers` finds them."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.found: list[Container] = []

    def all(self) -> list[Container]:
        return self.found

    def find(self, word: str) -> Container:
        for one in self.found:
            if word in (one.name, one.id):
                return one
        raise errors.NotFoundError(f"No such container: {word}")

    def save(self, container: Container) -> None:
        assert container in self.found

    def add(self, name: str, *, running: bool = False, **host: Any) -> Container:
        folder = self.home / name
        folder.mkdir()
        _, settled, _ = wire.Create(host_config=wire.HostConfig(**host)).parts()
        config, _, _ = wire.Create().parts()
        made = Container(str(folder), id=f"{len(self.found):064x}"[::-1], name=name, config=config,
                         host={**settled, "NetworkMode": settled["NetworkMode"] or "default"},
                         state={"status": "running" if running else "created"})  # fmt: skip
        self.found.append(made)
        return made


@pytest.fixture
def few(tmp_path: Path) -> Few:
    return Few(tmp_path)


@pytest.fixture
def networks(tmp_path: Path, few: Few) -> Iterator[Networks]:
    records = Records(f"{tmp_path}/state.db")
    made = Networks(records, Events(), f"{tmp_path}/ledger.json", str(tmp_path))
    made.containers = few  # type: ignore[assignment]
    yield made
    records.close()


def plan(networks: Networks, given: Document | None = None, **host: Any) -> dict[str, Document]:
    config, settled, _ = wire.Create(host_config=wire.HostConfig(**host)).parts()
    settled["NetworkMode"] = settled["NetworkMode"] or "default"
    return networks.plan(config, settled, {"EndpointsConfig": given or {}})


def on(container: Container, networks: Networks, name: str, ip: str, *aliases: str) -> None:
    """Put a container on a network as if it ran there."""
    found = networks.find(name)
    own = places.place(found, {"Aliases": list(aliases)} if aliases else {})
    container.endpoints[name] = own | {"IPAddress": ip, "IPPrefixLen": 24, "Gateway": "10.9.0.1"}
    container.state = State(status="running", pid=1)


# --- networks -------------------------------------------------------------------------------------


def test_three_are_there_and_remembered(networks: Networks, tmp_path: Path) -> None:
    shown = [(one["Name"], one["Driver"]) for one in networks.select({})]
    assert shown == [("bridge", "bridge"), ("host", "host"), ("none", "null")]
    identity = networks.create({"Name": "own", "Labels": {"a": "b"}})["Id"]
    again = Networks(
        Records(f"{tmp_path}/state.db"), Events(), f"{tmp_path}/ledger.json", str(tmp_path)
    )
    assert again.find(identity[:7])["Labels"] == {"a": "b"}
    assert len(again.select({})) == 4


def test_subnets_are_chosen_apart_from_those_of_bridges_to_come(networks: Networks) -> None:
    chosen = []
    for name in ("one", "two"):
        networks.create({"Name": name})
        chosen.append(networks.find(name)["IPAM"]["Config"][0])
    assert chosen[0]["Subnet"] != chosen[1]["Subnet"]
    for one in chosen:
        assert one["Subnet"].startswith("10.231.")
        assert int(one["Subnet"].split(".")[2]) >= 128
        assert one["Gateway"] == one["Subnet"].replace(".0/24", ".1")


def test_a_subnet_that_another_network_has(networks: Networks) -> None:
    networks.create({"Name": "one", "IPAM": {"Config": [{"Subnet": "10.99.0.0/16"}]}})
    with pytest.raises(ForbiddenError, match="Pool overlaps"):
        networks.create({"Name": "two", "IPAM": {"Config": [{"Subnet": "10.99.7.0/24"}]}})


def test_all_of_a_subnet(networks: Networks) -> None:
    config = {"Subnet": "10.98.0.0/16", "IPRange": "10.98.4.0/24", "Gateway": "10.98.4.254",
              "AuxiliaryAddresses": {"router": "10.98.4.1"}}  # fmt: skip
    networks.create(
        {
            "Name": "own",
            "Internal": True,
            "IPAM": {"Config": [config]},
            "Options": {networkspec.MTU: "1400", networkspec.BRIDGE_NAME: "lcown"},
        }
    )
    assert networks.inspect("own")["IPAM"]["Config"] == [config]
    assert networkspec.bridge_of(networks.find("own")) == network.Bridge(
        "lcown", "10.98.0.0/16", "10.98.4.254", ip_range="10.98.4.0/24", reserved=("10.98.4.1",),
        mtu=1400, internal=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"Subnet": "10.1.2.3/24"}, "invalid subnet 10.1.2.3/24: it should be 10.1.2.0/24"),
        ({"Subnet": "x"}, "invalid CIDR block notation"),
        ({"Subnet": "10.1.2.0/24", "Gateway": "10.1.3.1"}, "no matching subnet for gateway"),
        ({"Subnet": "10.1.2.0/24", "Gateway": "x"}, "invalid gateway"),
        ({"Subnet": "10.1.2.0/24", "IPRange": "10.1.0.0/16"}, "is not in 10.1.2.0/24"),
        ({"Subnet": "10.1.2.0/24", "AuxiliaryAddresses": {"a": "10.1.3.1"}}, "auxiliary address"),
    ],
)
def test_subnets_that_are_none(networks: Networks, config: Document, words: str) -> None:
    with pytest.raises(errors.UsageError, match=words):
        networks.create({"Name": "own", "IPAM": {"Config": [config]}})


def test_filters(networks: Networks, few: Few) -> None:
    networks.create({"Name": "used", "Labels": {"a": "b"}})
    networks.create({"Name": "free"})
    few.add("one")
    few.found[0].endpoints["used"] = places.place(networks.find("used"), {})

    def names(**given: list[str]) -> list[str]:
        return [one["Name"] for one in networks.select(given)]

    assert names(label=["a"]) == ["used"]
    assert names(type=["custom"]) == ["used", "free"]
    assert names(dangling=["true"]) == ["free"]
    assert names(dangling=["0"]) == ["bridge", "host", "none", "used"]
    assert names(driver=["null"]) == ["none"]
    assert names(name=["us"]) == ["used"]
    assert names(scope=["swarm"]) == []
    with pytest.raises(errors.UsageError, match="'type'='x'"):
        names(type=["x"])
    assert networks.prune({}) == {"NetworksDeleted": ["free"]}
    assert networks.prune({}) == {"NetworksDeleted": None}


def test_what_is_removed(networks: Networks, few: Few) -> None:
    networks.create({"Name": "own"})
    on(few.add("one"), networks, "own", "10.9.0.2")
    with pytest.raises(ForbiddenError, match=r'has active endpoints \(name:"one"'):
        networks.remove("own")
    few.found[0].state = State(status="created")  # its start is under way
    few.found[0].endpoints["own"]["EndpointID"] = "e"
    with pytest.raises(ForbiddenError, match="has active endpoints"):
        networks.remove("own")
    few.found[0].endpoints["own"]["EndpointID"] = ""
    networks.remove("own")
    with pytest.raises(errors.NotFoundError, match="network own not found"):
        networks.remove("own")
    with pytest.raises(ForbiddenError, match="pre-defined"):
        networks.remove("none")


# --- places ---------------------------------------------------------------------------------------


def test_plans(networks: Networks, few: Few) -> None:
    networks.create({"Name": "own"})
    networks.create({"Name": "more"})
    assert list(plan(networks)) == ["bridge"]
    assert list(plan(networks, network_mode="own")) == ["own"]
    assert list(plan(networks, {"more": {}}, network_mode="own")) == ["own", "more"]
    assert list(plan(networks, {"more": {}, "own": {}}, network_mode="own")) == ["more", "own"]
    assert list(plan(networks, {"own": {}})) == ["own"]  # the default is not meant besides
    assert list(plan(networks, network_mode="none")) == ["none"]
    assert plan(networks, network_mode="nosuch")["nosuch"]["NetworkID"] == ""
    few.add("other")
    assert plan(networks, network_mode="container:other") == {}
    with pytest.raises(errors.UsageError, match="another container or host"):
        plan(networks, {"own": {}}, network_mode="host")
    with pytest.raises(errors.UsageError, match=r"private \(none\) mode"):
        plan(networks, {"own": {}}, network_mode="none")
    with pytest.raises(errors.UsageError, match="could not get container for gone"):
        plan(networks, links=["gone:x"])


def test_a_hardware_address_in_the_old_place_and_in_the_new(networks: Networks) -> None:
    """Until 1.44 it was the container's, since then it is of its place in a network."""
    config, host, _ = wire.Create(mac_address="02-42-AA-00-00-01").parts()
    host["NetworkMode"] = "default"
    assert networks.plan(config, host, {})["bridge"]["_mac"] == "02:42:aa:00:00:01"
    new = {"bridge": {"MacAddress": "02:42:aa:00:00:02"}}
    assert plan(networks, new)["bridge"]["_mac"] == "02:42:aa:00:00:02"


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"IPAMConfig": {"IPv4Address": "10.9.0.7"}}, "user configured subnets"),
        ({"IPAMConfig": {"IPv4Address": "x"}}, "invalid IP address: x"),
        ({"MacAddress": "02:42"}, "invalid MAC address"),
    ],
)
def test_places_that_can_not_be(networks: Networks, asked: Document, words: str) -> None:
    networks.create({"Name": "own"})
    with pytest.raises(errors.UsageError, match=words):
        plan(networks, {"own": asked}, network_mode="own")


def test_what_is_shown_has_the_short_id_among_the_aliases(networks: Networks, few: Few) -> None:
    """Clients before 1.45 look for it there: Compose 1.29 would connect the container again."""
    networks.create({"Name": "own"})
    one = few.add("one")
    on(one, networks, "own", "10.9.0.2", "alias")
    shown = places.settings(one)["Networks"]["own"]
    assert shown["Aliases"] == ["alias", one.id[:12]]
    assert not [key for key in shown if key.startswith("_")]
    assert one.endpoints["own"]["Aliases"] == ["alias"]


def bindings(*places_: Document) -> dict[str, list[Document]]:
    return {"80/tcp": list(places_)}


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"HostPort": "8080"}, Port(80, "tcp", 8080)),
        ({"HostPort": "8080", "HostIp": "127.0.0.1"}, Port(80, "tcp", 8080, "127.0.0.1")),
        ({"HostPort": "8080", "HostIp": "::1"}, Port(80, "tcp", 8080, "::1")),
        ({"HostPort": "8080-8090"}, Port(80, "tcp", 8080, "", 8090)),
        ({"HostPort": ""}, Port(80)),
        ({}, Port(80)),
    ],
)
def test_bindings(given: dict[str, str], found: Port) -> None:
    host = {"PortBindings": bindings(given), "PublishAllPorts": False}
    assert places.wanted_ports(host, ()) == [found]


def test_all_exposed_ports_but_those_that_are_bound() -> None:
    host = {"PortBindings": bindings({"HostPort": "1"}), "PublishAllPorts": True}
    wanted = places.wanted_ports(host, ("80/tcp", "53/udp"), "127.0.0.1")
    assert wanted == [Port(80, "tcp", 1, "127.0.0.1"), Port(53, "udp", 0, "127.0.0.1")]


@pytest.mark.parametrize(("word", "port"), [("80/tcp", "x"), ("x/tcp", "80"), ("80/sctp", "80")])
def test_bindings_that_are_none(word: str, port: str) -> None:
    host = {"PortBindings": {word: [{"HostPort": port}]}, "PublishAllPorts": False}
    with pytest.raises(errors.UsageError, match="invalid port specification"):
        places.wanted_ports(host, ())


def test_ports_as_they_are_listed(few: Few) -> None:
    one = few.add("one", running=True)
    one.config["ExposedPorts"] = {"80/tcp": {}, "53/udp": {}}
    one.ports = places.told([Port(80, "tcp", 8080), Port(80, "tcp", 8080, "::")])
    assert places.ports_list(one) == [
        {"IP": "0.0.0.0", "PublicPort": 8080, "PrivatePort": 80, "Type": "tcp"},
        {"IP": "::", "PublicPort": 8080, "PrivatePort": 80, "Type": "tcp"},
        {"PrivatePort": 53, "Type": "udp"},
    ]
    assert places.settings(one)["Ports"]["53/udp"] is None
    assert places.published(one) == [Port(80, "tcp", 8080, ip) for ip in ("0.0.0.0", "::")]


# --- names ----------------------------------------------------------------------------------------


def test_names_of_all_networks_that_are_shared(networks: Networks, few: Few) -> None:
    for name in ("left", "right"):
        networks.create({"Name": name})
    asks, one, two, apart = (few.add(name) for name in ("asks", "one", "two", "apart"))
    on(asks, networks, "left", "10.9.0.2")
    on(asks, networks, "right", "10.8.0.2")
    on(one, networks, "left", "10.9.0.3", "Same")
    on(two, networks, "right", "10.8.0.3", "Same")
    on(apart, networks, "bridge", "10.7.0.3")
    found = resolving.table(asks, few.all())
    assert found["one"] == found["one.left"] == found[one.id[:12]] == ["10.9.0.3"]
    assert found["same"] == ["10.9.0.3", "10.8.0.3"]
    assert "apart" not in found
    assert "two" not in resolving.table(one, few.all())


def test_names_while_a_container_leaves_a_network(networks: Networks, few: Few) -> None:
    """The name server's one thread would end with a KeyError."""

    class Leaving(dict[str, Any]):
        def items(self) -> Any:
            found = list(super().items())
            self.clear()
            return found

    networks.create({"Name": "left"})
    asks, leaves = few.add("asks"), few.add("leaves")
    on(asks, networks, "left", "10.9.0.2")
    on(leaves, networks, "left", "10.9.0.3")
    leaves.endpoints = Leaving(leaves.endpoints)
    assert "leaves" not in resolving.table(asks, few.all())


def test_names_are_made_anew_only_after_a_change() -> None:
    made = []

    def make() -> dict[str, list[str]]:
        made.append(1)
        return {"db": [f"10.0.0.{len(made)}"]}

    names = resolving.LiveNames(make)
    head = struct.pack(">6H", 1, 0x100, 1, 0, 0, 0)
    question = nameserver.parse(head + nameserver.encode_name("db") + struct.pack(">HH", 1, 1))
    for _ in range(3):
        assert (names.answer(question) or b"").endswith(bytes([10, 0, 0, 1]))
    names.stale = True
    assert (names.answer(question) or b"").endswith(bytes([10, 0, 0, 2]))


def written(container: Container, few: Few, mode: str, **more: Any) -> dict[str, str]:
    resolving.write_files(container, mode, "me", few, **{"rootless": False, **more})  # type: ignore[arg-type]
    return {name: Path(container.home, name).read_text() for name in ("hosts", "resolv.conf")}


def test_files(networks: Networks, few: Few) -> None:
    networks.create({"Name": "own"})
    one = few.add("one", extra_hosts=["a:192.0.2.1", "b=fd00::1", "c:host-gateway"],
                  dns_options=["ndots:2"], dns_search=["x.y"])  # fmt: skip
    on(one, networks, "own", "10.9.0.2")
    one.config["Domainname"] = "lab.test"
    found = written(one, few, "own")
    for line in ("192.0.2.1\ta", "fd00::1\tb", "10.9.0.1\tc", "10.9.0.2\tme.lab.test me"):
        assert line in found["hosts"].splitlines()
    lines = found["resolv.conf"].splitlines()
    assert lines == ["nameserver 127.0.0.11", "search x.y", "options ndots:2"]


def test_who_shares_a_network_shares_its_files(networks: Networks, few: Few) -> None:
    one, two = few.add("one"), few.add("two")
    written(one, few, "own")
    written(two, few, "container:one")
    Path(one.home, "hosts").write_text("changed\n")
    assert Path(two.home, "hosts").read_text() == "changed\n"
    assert written(two, few, "container:one")["hosts"] == "changed\n"


def test_links_on_the_default_bridge(networks: Networks, few: Few) -> None:
    other, one = few.add("other"), few.add("one", links=["other:alias"])
    on(one, networks, "bridge", "10.7.0.2")
    with pytest.raises(errors.StateError, match="Cannot link to a non running container: /other"):
        written(one, few, "own")
    on(other, networks, "bridge", "10.7.0.3")
    assert "10.7.0.3\talias other" in written(one, few, "own")["hosts"]


# --- bridges that stay ----------------------------------------------------------------------------


def test_a_killed_keeper_keeps_nothing(tmp_path: Path) -> None:
    ledger = Ledger(f"{tmp_path}/ledger.json")
    with ledger:
        assert not keepers.is_kept(ledger, "lc0")
        keepers.keep(ledger, "lc0")
        assert keepers.is_kept(ledger, "lc0")
        ledger.section("keepers")["lc1"] = {"1 7": True, "999999999 1": True}
        assert not keepers.is_kept(ledger, "lc1")  # another process has the number now
        keepers.let_go(ledger)
        assert not keepers.is_kept(ledger, "lc0")


def test_a_bridge_over_another_ones_subnet(tmp_path: Path) -> None:
    ledger = Ledger(f"{tmp_path}/ledger.json")
    with ledger, netlink.Netlink() as host:
        known = network.Bridge("lc0", "10.99.0.0/16", "10.99.0.1")
        ledger.section("bridges")["lc0"] = known.as_dict()
        with pytest.raises(errors.ExistsError, match=r"overlaps 10\.99\.0\.0/16 of bridge lc0"):
            network.resolve_bridge(ledger, host, network.Bridge("lc1", "10.99.1.0/24"))


def test_addresses_of_a_range(tmp_path: Path) -> None:
    ledger = Ledger(f"{tmp_path}/ledger.json")
    bridge = network.Bridge("lc0", "10.99.0.0/16", "10.99.0.1", ip_range="10.99.4.0/30",
                            reserved=("10.99.4.1",), subnet6="fd00:9::/64")  # fmt: skip
    with ledger:
        first = network.resolve_endpoint(ledger, bridge, network.Endpoint("one", "lc0"))
        assert (first.ip, first.ip6) == ("10.99.4.0", "fd00:9::400")
        with pytest.raises(errors.ExistsError):
            network.resolve_endpoint(
                ledger, bridge, network.Endpoint("two", "lc0", ip6="fd00:9::1")
            )
