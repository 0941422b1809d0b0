"""network.connect: a container gets a cable, an address and a way out."""

from __future__ import annotations

import os
import signal

from labcontainer.kernel import rtnetlink, syscalls
from labcontainer.kernel.flags import CLONE
from labcontainer.lab import apart, places
from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
from labcontainer.kernel import netlink, rtnetlink


def connect(pid: int, link: str, bridge: str, address: str, gateway: str) -> None:
    """Plug the network namespace of a process into a bridge: a cable, an address, a way out.

    Our end of the cable is called `link`, the other one, in there, eth0.
    """
    with open(f"/proc/{pid}/ns/net") as there:
        netns = there.fileno()
        with netlink.Netlink() as host, netlink.connect_in(netns) as container:
            host.do(rtnetlink.add_veth(link, "eth0", netns=netns))
            ...
'''

_PLUG = "            host.do(rtnetlink.set_link(link, master=bridge, up=True))\n"
_ADDRESS = '            container.do(rtnetlink.add_address("eth0", address))\n'
_UP = '            container.do(rtnetlink.set_link("eth0", up=True))\n'
_ROUTE = '            container.do(rtnetlink.add_route("default", via=gateway))\n'
SOLUTION = HOLE.replace("            ...\n", _PLUG + _ADDRESS + _UP + _ROUTE)

NO_BRIDGE = SOLUTION.replace(_PLUG, _PLUG.replace("master=bridge, ", ""))
NO_UP = SOLUTION.replace(_PLUG, _PLUG.replace(", up=True", ""))
NO_ROUTE = SOLUTION.replace(_ROUTE, "")
TOO_EARLY = SOLUTION.replace(_ROUTE, "").replace(_UP, _ROUTE + _UP)


def _container(name: str) -> tuple[int, places.Place]:
    """A process with a network namespace of its own; it dies with this check."""
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        syscalls.unshare(CLONE.NEWNET)
        apart.give_up_tracing()  # else a learner's process that has none can't join us
        os.write(tell, b"x")
        signal.pause()
        os._exit(0)
    os.read(told, 1)
    return pid, places.of(pid, name)


def check(trial: Trial) -> Outcome:
    net = f"10.{trial.number('net', 20, 200)}.{trial.number('part', 0, 200)}"
    host, outside = places.here(), places.new("outside")
    host.do(
        rtnetlink.set_link("lo", up=True),
        rtnetlink.add_link("br0", "bridge"),
        rtnetlink.add_address("br0", f"{net}.1/24"),
        rtnetlink.set_link("br0", up=True),
        rtnetlink.add_veth("up0", "eth0", netns=outside.fd),
        rtnetlink.add_address("up0", "192.0.2.1/24"),
        rtnetlink.set_link("up0", up=True),
    )
    outside.do(
        rtnetlink.add_address("eth0", "192.0.2.2/24"),
        rtnetlink.set_link("eth0", up=True),
        rtnetlink.add_route(f"{net}.0/24", via="192.0.2.1"),
    )
    host.set_forwarding(True)
    boxes = []
    for number, name in ((2, "one"), (3, "two")):
        pid, place = _container(name)
        trial.undo.push(os.kill, pid, signal.SIGKILL)
        trial.call("connect", pid, f"lc{name}", "br0", f"{net}.{number}/24", f"{net}.1")
        boxes.append(place)
    return _looks(host, boxes[0]) or _calls(net, host, boxes, outside)


def _looks(host: places.Place, box: places.Place) -> Outcome | None:
    """What the kernel tells of both ends of a cable."""
    ours = {link["name"]: link for link in host.facts()["links"]}
    facts = box.facts()
    theirs = {link["name"]: link for link in facts["links"]}
    if ours["lcone"]["master"] != ours["br0"]["index"]:
        return not_yet(
            expected="our end of the cable is a port of br0",
            observed="it is in no bridge",
            where="our end",
            hint="set_link(…, master=bridge) plugs a link into a bridge.",
        )
    for name, link in (("our end, lcone,", ours["lcone"]), ("eth0, in there,", theirs["eth0"])):
        if not link["up"]:
            return not_yet(
                expected="both ends are up",
                observed=f"{name} is down",
                where="set_link",
                hint="Links are born down, and a cable carries nothing until both ends are up.",
            )
    if not any(route["destination"] == "default" for route in facts["routes"]):
        return not_yet(
            expected="a default route in there, by the gateway",
            observed=", ".join(route["destination"] for route in facts["routes"]) or "no route",
            where="the container's routes",
            hint="Its own subnet it finds by itself. For all the rest it must be told whom to ask.",
        )
    return None


def _calls(
    net: str, host: places.Place, boxes: list[places.Place], outside: places.Place
) -> Outcome:
    """Calls along the cables: to the gateway, to the other container, out."""
    for what, address, server in (
        ("the host", f"{net}.1", host),
        ("the other container", f"{net}.3", boxes[1]),
        ("the outside", "192.0.2.2", outside),
    ):
        with server.listens(8000) as listening:
            seen = places.reaches(boxes[0], address, 8000, listening)
        if seen.startswith("error"):
            return not_yet(
                expected=f"a connection from container one to {what}",
                observed=seen,
                where="the address, the route",
            )
    return done("to the host, to the neighbour, and out")


EXERCISE = Exercise(
    id="network.connect",
    notebook="08_network",
    title="Plug a container in",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox", "bridge"),
    errors=(
        (
            19,
            "No such link on this side: the cable's other end is in the container. Ask there.",
        ),
        (101, "No way to the gateway is known as long as eth0 is down."),
    ),
    seconds=20,
    hints=(
        "Four requests: one to the host, three to the container.",
        (
            "`host.do(rtnetlink.set_link(link, master=bridge, up=True))`; the container: "
            "an address, up, a route."
        ),
        (
            '`add_address("eth0", address)`, `set_link("eth0", up=True)`, '
            '`add_route("default", via=gateway)`, in this order.'
        ),
    ),
    wrong=(
        Wrong(NO_BRIDGE, "plugs a link into a bridge"),
        Wrong(NO_UP, "Links are born down"),
        Wrong(NO_ROUTE, "whom to ask"),
        Wrong(TOO_EARLY, "as long as eth0 is down"),
    ),
)
