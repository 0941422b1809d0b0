"""network.diagnose: six broken topologies, and one that works."""

from __future__ import annotations

from typing import Any

from labcontainer.kernel import rtnetlink
from labcontainer.lab import places
from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
import ipaddress


def diagnose(host: dict, container: dict) -> str:
    """Why a container can't reach the outside; "" where it can.

    One of "down", "no address", "other subnet", "not in the bridge", "no route", "no forwarding".
    Each argument has the lists "links" (name, index, up, master), "addresses" (index, address as
    10.1.2.3/24) and "routes" (destination, via), and "forward", a truth value. The bridge is br0,
    the container's cable is lc0 here and eth0 in there.
    """
    ours = {link["name"]: link for link in host["links"]}
    theirs = {link["name"]: link for link in container["links"]}
    bridge = [one["address"] for one in host["addresses"] if one["index"] == ours["br0"]["index"]]
    eth0 = [
        one["address"] for one in container["addresses"] if one["index"] == theirs["eth0"]["index"]
    ]
    ...
'''

SOLUTION = HOLE.replace(
    "    ...\n",
    """\
    if not (ours["br0"]["up"] and ours["lc0"]["up"] and theirs["eth0"]["up"]):
        return "down"
    if not eth0:
        return "no address"
    if ipaddress.ip_interface(eth0[0]).network != ipaddress.ip_interface(bridge[0]).network:
        return "other subnet"
    if ours["lc0"]["master"] != ours["br0"]["index"]:
        return "not in the bridge"
    if not any(route["destination"] == "default" for route in container["routes"]):
        return "no route"
    return "" if host["forward"] else "no forwarding"
""",
)

ONLY_INSIDE = SOLUTION.replace('ours["br0"]["up"] and ours["lc0"]["up"] and ', "")
ANY_BRIDGE = SOLUTION.replace(
    'ours["lc0"]["master"] != ours["br0"]["index"]', 'not ours["lc0"]["master"]'
)
SYMPTOM = SOLUTION.replace('    if not eth0:\n        return "no address"\n', "").replace(
    "    if ipaddress",
    '    if not container["routes"]:\n        return "no route"\n    if ipaddress',
)
INSIDE_FORWARDS = SOLUTION.replace('if host["forward"]', 'if container["forward"]')

HINTS = {
    "down": "A cable has two ends, and the bridge is a link as well: all three must be up.",
    "no address": "Without an address there is no route either: name the cause, not what follows.",
    "other subnet": "Compare the networks: ip_interface(…).network of both.",
    "not in the bridge": "It may be a port of *another* bridge: compare with the number of br0.",
    "no route": "Look for a route whose destination is `default`.",
    "no forwarding": "It is the host that passes on what is not for itself.",
    "": "In this one everything is as it should be.",
}
NET = "10.40"
HOPELESS = 0.3  # seconds for a call that can't succeed, and is made to see how it ends


def _build(fault: str, end: str = "") -> tuple[places.Place, places.Place, places.Place]:
    """A host, a container and an outside, wired but for one fault."""
    host, box, outside = places.here(), places.new("box"), places.new("outside")
    host.do(
        rtnetlink.add_link("br0", "bridge"),
        rtnetlink.add_link("br1", "bridge"),
        rtnetlink.add_address("br0", f"{NET}.0.1/24"),
        rtnetlink.add_address("br1", f"{NET}.9.1/24"),
        rtnetlink.set_link("br1", up=True),
        rtnetlink.add_veth("lc0", "eth0", netns=box.fd),
        rtnetlink.set_link("lc0", master="br1" if fault == "not in the bridge" else "br0"),
        rtnetlink.add_veth("up0", "eth0", netns=outside.fd),
        rtnetlink.add_address("up0", "192.0.2.1/24"),
        rtnetlink.set_link("up0", up=True),
    )
    outside.do(
        rtnetlink.add_address("eth0", "192.0.2.2/24"),
        rtnetlink.set_link("eth0", up=True),
        rtnetlink.add_route(f"{NET}.0.0/16", via="192.0.2.1"),
    )
    host.do(*(rtnetlink.set_link(link, up=True) for link in ("br0", "lc0") if link != end))
    if end != "eth0":
        box.do(rtnetlink.set_link("eth0", up=True))
    address = f"{NET}.{7 if fault == 'other subnet' else 0}.2/24"
    if fault != "no address":
        box.do(rtnetlink.add_address("eth0", address))
    if fault not in ("down", "no address", "other subnet", "no route") or end in ("br0", "lc0"):
        box.do(rtnetlink.add_route("default", via=f"{NET}.0.1"))
    host.set_forwarding(fault != "no forwarding")
    box.set_forwarding(False)  # a new namespace begins with what the machine has
    return host, box, outside


def _tear_down(host: places.Place, *others: places.Place) -> None:
    host.do(*(rtnetlink.delete_link(name) for name in ("lc0", "up0", "br0", "br1")))
    for place in (host, *others):
        place.close()


def check(trial: Trial) -> Outcome:
    cases = [("", ""), ("down", "eth0"), ("down", trial.choice("end", ["lc0", "br0"]))]
    cases += [(word, "") for word in HINTS if word not in ("", "down")]
    for fault, end in cases:
        host, box, outside = _build(fault, end)
        try:
            facts: list[dict[str, Any]] = [host.facts(), box.facts()]
            with outside.listens(8000) as server:
                patience = HOPELESS if fault else 0
                seen = places.reaches(box, "192.0.2.2", 8000, server, patience)
        finally:
            _tear_down(host, box, outside)
        assert seen.startswith("error") == bool(fault), f"{fault}: {seen}"
        said = trial.attempt("diagnose", *facts)
        if not said.returned or said.value != fault:
            what = f"{fault} ({end})" if end else fault
            return not_yet(
                expected=f"{what!r}; a call out ends with {seen.removeprefix('error: ')!r}"
                if fault
                else "'': the container reaches the outside",
                observed=repr(said.value) if said.returned else said.error,
                where="`diagnose`",
                hint=HINTS[fault],
            )
    return done("six faults told apart, and a network that has none")


EXERCISE = Exercise(
    id="network.diagnose",
    notebook="08_network",
    title="Six broken topologies",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox", "bridge"),
    seconds=40,
    hints=(
        "Go along the packet's way: the links, its own address, the bridge, the route, the host.",
        "Ask for causes before what follows from them: down, then no address, then the rest.",
        (
            'In this order: `not (… ["up"] …)`, `not eth0`, the two networks, '
            '`ours["lc0"]["master"]`, a route to default, `host["forward"]`.'
        ),
    ),
    wrong=(
        Wrong(ONLY_INSIDE, "A cable has two ends"),
        Wrong(ANY_BRIDGE, "compare with the number of br0"),
        Wrong(SYMPTOM, "name the cause"),
        Wrong(INSIDE_FORWARDS, "everything is as it should be"),
    ),
)
