"""capabilities.smallest: what a small web server needs, and nothing more."""

from __future__ import annotations

import json
import os
import socket

from labcontainer import capabilities
from labcontainer.kernel import netlink, rtnetlink
from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
def smallest() -> list[str]:
    """The capabilities of a web server that listens on port 80, reads a key of somebody else's
    (mode 000) at its start, and shuts itself in by chroot. Nothing more."""
    return ...
'''

SOLUTION = HOLE.replace(
    "return ...", 'return ["CAP_NET_BIND_SERVICE", "CAP_DAC_READ_SEARCH", "CAP_SYS_CHROOT"]'
)

NO_PORT = SOLUTION.replace('"CAP_NET_BIND_SERVICE", ', "")
OVERRIDES = SOLUTION.replace("CAP_DAC_READ_SEARCH", "CAP_DAC_OVERRIDE")
DOCKERS = '''\
from labcontainer.capabilities import DEFAULT


def smallest() -> list[str]:
    """Docker's default."""
    return [*DEFAULT, "CAP_DAC_READ_SEARCH"]
'''
NET_ADMIN = SOLUTION.replace("CAP_NET_BIND_SERVICE", "CAP_NET_ADMIN")

# What the server does, and what it must not be able to do: the word that its failure gets.
DOES = ("listen on port 80", "read the key", "chroot")
MAY_NOT = ("write the key", "change the host name", "change the network", "send raw packets")


def check(trial: Trial) -> Outcome:
    with netlink.Netlink() as link:
        link.do(rtnetlink.set_link("lo", up=True))
    folder = trial.directory("server", {"key": trial.secret(), "root/index": "hello"})
    os.chmod(f"{folder}/key", 0)
    chosen = trial.call("smallest")
    if not isinstance(chosen, list) or not all(name in capabilities.BITS for name in chosen):
        return not_yet(
            expected="a list of names such as CAP_CHOWN",
            observed=repr(chosen)[:80],
            where="what you return",
            hint="The names are in capabilities(7), in capitals, with CAP_ before.",
        )
    could = _serve(chosen, folder)
    for what in DOES:
        if what not in could:
            return not_yet(
                expected=f"the server can {what}",
                observed="it is refused",
                where=f"with {', '.join(chosen) or 'no capability'}",
                hint=HINTS[what],
            )
    for what in MAY_NOT:
        if what in could:
            return not_yet(
                expected=f"the server can't {what}",
                observed="it can",
                where=f"with {len(chosen)} capabilities",
                hint=HINTS[what],
            )
    for name in chosen:
        less = _serve([one for one in chosen if one != name], folder)
        if all(what in less for what in DOES):
            return not_yet(
                expected="no capability too many",
                observed=f"without {name} it serves as well",
                where="the list",
                hint="Leave it out.",
            )
    return done("it serves, and can do nothing else", f"{len(chosen)} capabilities")


HINTS = {
    "listen on port 80": "Ports below 1024 need a capability whose name says bind.",
    "read the key": "The mode of a file does not hold for who has a DAC capability.",
    "chroot": "chroot(2) names its capability.",
    "write the key": "CAP_DAC_OVERRIDE passes over every mode, for writing too; one only reads.",
    "change the host name": "CAP_SYS_ADMIN is most of root.",
    "change the network": "CAP_NET_ADMIN changes the network itself; one port needs less.",
    "send raw packets": "CAP_NET_RAW can send in others' names; a web server needs no such thing.",
}


def _serve(chosen: list[str], folder: str) -> list[str]:
    """Be the server in a child that has these capabilities alone; what it could do."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            capabilities.apply_bounding(chosen)
            capabilities.apply(capabilities.default_sets(chosen))
            could = [what for what in (*MAY_NOT, *DOES) if _can(what, folder)]
            os.write(writing, json.dumps(could).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    found: list[str] = json.loads(text or "[]")
    return found


def _can(what: str, folder: str) -> bool:
    try:
        if what == "listen on port 80":
            with socket.socket() as server:
                server.bind(("127.0.0.1", 80))
        elif what in ("read the key", "write the key"):
            flags = os.O_RDONLY if what == "read the key" else os.O_WRONLY
            os.close(os.open(f"{folder}/key", flags))
        elif what == "chroot":
            os.chroot(f"{folder}/root")
        elif what == "change the host name":
            socket.sethostname("mallory")
        elif what == "send raw packets":
            socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close()
        else:
            with netlink.Netlink() as link:
                link.do(rtnetlink.set_link("lo", up=True))
    except OSError:
        return False
    return True


EXERCISE = Exercise(
    id="capabilities.smallest",
    notebook="06_capabilities",
    title="The smallest set for a web server",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox",),
    seconds=20,
    hints=(
        "Three things, three capabilities. `man 7 capabilities` lists what each is for.",
        "A low port: NET_BIND_SERVICE. chroot: SYS_CHROOT.",
        "Reading what the mode forbids: DAC_READ_SEARCH; DAC_OVERRIDE would allow writing too.",
    ),
    wrong=(
        Wrong(NO_PORT, "whose name says bind"),
        Wrong(OVERRIDES, "for writing too"),
        Wrong(DOCKERS, "for writing too"),
        Wrong(NET_ADMIN, "whose name says bind"),
    ),
)
