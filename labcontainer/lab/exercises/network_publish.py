"""network.publish: the packet rules of `-p 8080:80`."""

from __future__ import annotations

from labcontainer import nat
from labcontainer.errors import LabError, UnsupportedError
from labcontainer.kernel import firewall, rtnetlink
from labcontainer.kernel.firewall import Rule
from labcontainer.lab import places
from labcontainer.lab.exercise import NOT_CHECKED, Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial
from labcontainer.network import Bridge

HOLE = '''\
from labcontainer.kernel.firewall import Rule


def publish(host_port: int, ip: str, port: int) -> list[Rule]:
    """The rules of `-p host_port:port`: who calls that TCP port of this machine gets the container.

    A Rule has a chain ("prerouting": what comes in, "output": what this machine sends itself), a
    verdict ("dnat ADDRESS:PORT"), and what a packet must be like: protocol, port, local=True (it is
    for an address of this machine).
    """
    ...
'''

SOLUTION = HOLE.replace(
    "    ...\n",
    """\
    return [
        Rule(chain, f"dnat {ip}:{port}", protocol="tcp", port=host_port, local=True)
        for chain in ("prerouting", "output")
    ]
""",
)

NO_OUTPUT = SOLUTION.replace('("prerouting", "output")', '("prerouting",)')
NOT_LOCAL = SOLUTION.replace(", local=True", "")
SAME_PORT = SOLUTION.replace(":{port}", "")

NET = "10.41.0"


def _world() -> tuple[places.Place, places.Place, places.Place]:
    """A host with a bridge, a container in it, an outside that knows only the host."""
    host, box, outside = places.here(), places.new("box"), places.new("outside")
    host.do(
        rtnetlink.set_link("lo", up=True),
        rtnetlink.add_link("br0", "bridge"),
        rtnetlink.add_address("br0", f"{NET}.1/24"),
        rtnetlink.set_link("br0", up=True),
        rtnetlink.add_veth("lc0", "eth0", netns=box.fd),
        rtnetlink.set_link("lc0", master="br0", up=True),
        rtnetlink.add_veth("up0", "eth0", netns=outside.fd),
        rtnetlink.add_address("up0", "192.0.2.1/24"),
        rtnetlink.set_link("up0", up=True),
    )
    box.do(
        rtnetlink.add_address("eth0", f"{NET}.2/24"),
        rtnetlink.set_link("eth0", up=True),
        rtnetlink.add_route("default", via=f"{NET}.1"),
    )
    outside.do(rtnetlink.add_address("eth0", "192.0.2.2/24"), rtnetlink.set_link("eth0", up=True))
    host.set_forwarding(True)
    return host, box, outside


def check(trial: Trial) -> Outcome:
    port, inside = trial.number("host", 8001, 8999), trial.number("inside", 80, 99)
    host, box, outside = _world()
    own = [Rule(**fields) for fields in trial.call("publish", port, f"{NET}.2", inside)]
    around = nat.rules([Bridge("br0", subnet=f"{NET}.0/24", gateway=f"{NET}.1")], [])
    try:
        firewall.replace("labcontainer-check", around)
    except UnsupportedError as error:
        return Outcome(NOT_CHECKED, text=str(error))
    try:
        firewall.replace("labcontainer-check", (*around, *own))
    except (LabError, OSError) as error:
        return not_yet(
            expected="rules that netfilter takes", observed=str(error)[:200], where="`publish`"
        )
    with box.listens(inside) as server:
        for what, client, address in (
            ("from outside", outside, "192.0.2.1"),
            ("from the machine itself", host, "192.0.2.1"),
        ):
            seen = places.reaches(client, address, port, server)
            if seen.startswith("error"):
                return not_yet(
                    expected=f"{what}, {address}:{port} is the container's port {inside}",
                    observed=seen,
                    where="the rule for what comes in" if client is outside else "the chains",
                    hint="The verdict needs both, the container's address and its port."
                    if client is outside
                    else "What a machine sends itself never comes in: it passes `output`.",
                )
    return _leaves_alone(port, box, host, outside)


def _leaves_alone(
    port: int, box: places.Place, host: places.Place, outside: places.Place
) -> Outcome:
    """Calls that are none of this rule's business."""
    for what, client, address, number, place, hint in (
        ("the container calls another machine's port of that number", box, "192.0.2.2", port,
         outside, "Only what is for an address of this machine: local."),
        ("another port of the host", outside, "192.0.2.1", 22, host,
         "One port is published, not all."),
    ):  # fmt: skip
        with place.listens(number) as server:
            seen = places.reaches(client, address, number, server)
        if seen.startswith("error"):
            return not_yet(
                expected=f"{what}: as if the rule were not there",
                observed=f"it went astray ({seen.removeprefix('error: ')})",
                where="what a packet must be like",
                hint=hint,
            )
    return done("from outside, from the machine itself, and nothing else")


EXERCISE = Exercise(
    id="network.publish",
    notebook="08_network",
    title="Publish a port",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox", "bridge"),
    seconds=30,
    hints=(
        "Two rules that differ in their chain alone.",
        'The verdict is f"dnat {ip}:{port}"; the match: protocol, port and local.',
        'Rule(chain, f"dnat {ip}:{port}", protocol="tcp", port=host_port, local=True), twice.',
    ),
    wrong=(
        Wrong(NO_OUTPUT, "it passes `output`"),
        Wrong(NOT_LOCAL, "an address of this machine"),
        Wrong(SAME_PORT, "needs both"),
    ),
)
