"""The network of one container: a cable to the bridge as root, a router's process without root.

    bridge              the container has an address of its own behind the host's (network.py)
    slirp4netns, pasta  a process of the user's that speaks TCP/IP for the container (usernet.py)
    none                a network namespace with lo alone
    host                the host's own network

The container's first process waits, created, while its network namespace is connected.
"""

from __future__ import annotations

import os

from labcontainer import errors
from labcontainer.engine import leftovers, request
from labcontainer.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from labcontainer.ledger import Ledger
    from labcontainer.ports import Port

ROUTERS = ("slirp4netns", "pasta")


class Address(Record):
    """Where a container is, and the host as it sees it; "" without a network."""

    ip: str = ""
    gateway: str = ""


class Connection(Record):
    """How one container is connected: `mode` is bridge, slirp4netns, pasta, none or host."""

    mode: str
    asked: request.Request

    @property
    def kind(self) -> str:
        """What the container's configuration must know: is the namespace shared?"""
        return "host" if self.mode == "host" else "own"

    def hosts(self, hostname: str, own: Address) -> str:
        """The text of the container's /etc/hosts."""
        from labcontainer import nameserver

        gateway = "127.0.0.1" if self.mode == "host" else own.gateway
        extra = [
            (gateway if ip == "host-gateway" else ip, name) for name, ip in self.asked.add_host
        ]
        known = own.ip or self.mode == "host"
        return nameserver.hosts(hostname if known else "", own.ip, [one for one in extra if one[0]])

    def resolv_conf(self) -> str:
        """The text of the container's /etc/resolv.conf."""
        from labcontainer import nameserver, usernet

        host = host_resolv_conf()
        if self.mode == "host" and not (self.asked.dns or self.asked.dns_search):
            return host
        server = usernet.RESOLVER if self.mode in ROUTERS and not self.asked.dns else ""
        text = nameserver.resolv_conf(host, server, self.asked.dns_search)
        lines = text.splitlines()
        if self.asked.dns:
            lines = [line for line in lines if not line.startswith(("nameserver", "#"))]
            lines = [*(f"nameserver {ip}" for ip in self.asked.dns), *lines]
        if self.asked.dns_option:
            lines = [line for line in lines if not line.startswith("options")]
            lines.append(f"options {' '.join(self.asked.dns_option)}")
        return "\n".join(lines) + "\n"

    def attach(self, pid: int, path: str) -> Address:
        """Connect the network namespace of `pid`; where the container is then.

        What must be taken back is written into the container's directory `path` before.
        """
        if self.mode == "bridge":
            return _attach_bridge(pid, path, self.asked.ports)
        if self.mode in ROUTERS:
            return _start_router(self.mode, pid, path, self.asked.ports)
        return Address()


def choose(asked: request.Request, rootless: bool, tell: Callable[[str], None]) -> Connection:
    """The connection that this user can have; a default that can't be had is told and left out.

    Raises:
        UnsupportedError: a network was asked for by name, or ports were, and can't be had.
    """
    if asked.network in ("none", "host"):
        if asked.ports:
            tell(f"published ports are discarded with --network {asked.network}")
        return Connection(asked.network, asked)
    if not rootless and asked.network in ROUTERS:
        raise errors.UsageError(f"--network={asked.network} is for ordinary users")
    if not rootless:
        return Connection("bridge", asked)
    from labcontainer import usernet

    try:
        tool = usernet.choose(asked.network if asked.network in ROUTERS else "")
        return Connection(os.path.basename(tool), asked)
    except errors.UnsupportedError as error:
        if asked.network or asked.ports:
            raise
        tell(f"no network in this container: {error.why}; {error.fix}")
        return Connection("none", asked)


def host_resolv_conf() -> str:
    """The host's name servers; behind systemd-resolved those that it asks itself, as in Docker."""
    for path in ("/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"):
        try:
            with open(path, errors="surrogateescape") as file:
                text = file.read(1 << 16)
        except OSError:
            continue
        if "nameserver 127.0.0.53" not in text:
            return text
    return ""


# --- bridge -----------------------------------------------------------------------------------


def _ledger() -> Ledger:
    """What is changed on this host for all containers of root, whatever LABCONTAINER_HOME says."""
    from labcontainer.ledger import Ledger

    return Ledger("/run/labcontainer/network.json")


def _attach_bridge(pid: int, path: str, published: tuple[Port, ...]) -> Address:
    """Put the container on the bridge, which is made for the first one and goes with the last."""
    from labcontainer import network, ports

    identity = os.urandom(6).hex()
    _note(path, "bridge", identity)
    # Each port is held by a socket of this process: a clash is seen at once, and shown to others.
    held = [ports.hold(port) for port in published]
    _held.extend(held)
    endpoint = network.Endpoint(identity, ports=tuple(one.port for one in held))
    bridge, there = network.join(_ledger(), network.Bridge(), endpoint, pid=pid)
    return Address(there.ip, bridge.gateway)


_held: list[object] = []  # as long as this process lives


def _note(path: str, *lines: str) -> None:
    """Write down what there is to take back: whole or not at all."""
    with open(f"{path}/network.new", "w") as file:
        file.write("\n".join(lines))
    os.rename(f"{path}/network.new", f"{path}/network")


# --- a router in user space -------------------------------------------------------------------


def _start_router(tool: str, pid: int, path: str, published: tuple[Port, ...]) -> Address:
    """Start slirp4netns or pasta for the namespace of `pid`; its ports are open on return.

    Its process number and the folder of its socket are written down before they are needed: a
    socket's path must be short, so it is not in the container's directory.
    """
    import tempfile

    from labcontainer import usernet

    folder = f"{tempfile.gettempdir()}/labcontainer-net-{os.urandom(6).hex()}"
    _note(path, "router", folder)
    os.mkdir(folder, 0o700)
    plan = usernet.plan(pid, usernet.settled(published), usernet.choose(tool))
    running = usernet.start(
        plan, folder, lambda number: _note(path, "router", folder, leftovers.identity(number))
    )
    _running.append(running)
    return Address(plan.address, plan.gateway)


_running: list[object] = []  # a router ends when its end of a pipe is closed, so it is kept


# --- the end ----------------------------------------------------------------------------------


def detach(path: str) -> None:
    """Take back what `attach` did, as the container's directory tells; may be called again."""
    try:
        with open(f"{path}/network") as file:
            mode, what, *process = file.read().split("\n")
    except FileNotFoundError:
        return
    if mode == "bridge":
        from labcontainer import network

        network.detach(_ledger(), what)
    elif mode == "router":
        for identity in process:
            _end(identity)
        leftovers.remove(what)
    try:
        os.unlink(f"{path}/network")
    except FileNotFoundError:
        pass  # two starts at once found what was abandoned


def _end(identity: str) -> None:
    """Kill a process that is still the one of that number and start time, and reap it."""
    if leftovers.end(identity):
        try:
            os.waitpid(int(identity.partition(" ")[0]), 0)
        except ChildProcessError:
            pass  # another process started it
