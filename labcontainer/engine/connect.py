"""The network of one container: a cable to the bridge as root, slirp4netns as an ordinary user.

    bridge       the container has an address of its own behind the host's (network.py)
    slirp4netns  a process of the user's that speaks TCP/IP for the container; no root needed
    none         a network namespace with lo alone
    host         the host's own network

The container's first process waits, created, while its network namespace is connected.
"""

from __future__ import annotations

import os
import signal

from labcontainer import errors
from labcontainer.engine import leftovers, request
from labcontainer.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from labcontainer.ledger import Ledger
    from labcontainer.ports import Port

# slirp4netns(1): the container's address, the gateway (the host), the name server.
SLIRP_ADDRESS, SLIRP_GATEWAY, SLIRP_DNS = "10.0.2.100", "10.0.2.2", "10.0.2.3"
SLIRP_PATIENCE = 10  # seconds until it must be ready


class Address(Record):
    """Where a container is, and the host as it sees it; "" without a network."""

    ip: str = ""
    gateway: str = ""


class Connection(Record):
    """How one container is connected: `mode` is bridge, slirp4netns, none or host."""

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
        from labcontainer import nameserver

        host = _host_resolv_conf()
        if self.mode == "host" and not (self.asked.dns or self.asked.dns_search):
            return host
        server = SLIRP_DNS if self.mode == "slirp4netns" and not self.asked.dns else ""
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
        if self.mode == "slirp4netns":
            _start_slirp(pid, path, self.asked)
            return Address(SLIRP_ADDRESS, SLIRP_GATEWAY)
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
    if not rootless:
        return Connection("bridge", asked)
    problem, fix = _why_no_slirp()
    if not problem:
        return Connection("slirp4netns", asked)
    if asked.network or asked.ports:
        raise errors.UnsupportedError("a network without root", problem, fix)
    tell(f"no network in this container: {problem}; {fix}")
    return Connection("none", asked)


def _why_no_slirp() -> tuple[str, str]:
    from shutil import which

    if which("slirp4netns") is None:
        return "slirp4netns is not installed", "install it, or run as root"
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return "this user may not open /dev/net/tun", "chmod 666 /dev/net/tun, or run as root"
    return "", ""


def _host_resolv_conf() -> str:
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
    _note(path, f"bridge {identity}")
    # Each port is held by a socket of this process: a clash is seen at once, and shown to others.
    held = [ports.hold(port) for port in published]
    _held.extend(held)
    endpoint = network.Endpoint(identity, ports=tuple(one.port for one in held))
    for last in (False, False, True):
        bridge = network.ensure_bridge(_ledger(), network.Bridge())
        try:
            return Address(network.attach(_ledger(), endpoint, pid=pid).ip, bridge.gateway)
        except errors.NotFoundError:
            if last:  # the last of the others left in between, and the bridge with it
                raise
    raise AssertionError("unreachable")


_held: list[object] = []  # as long as this process lives


def _note(path: str, text: str) -> None:
    with open(f"{path}/network", "w") as file:
        file.write(text)


# --- slirp4netns ------------------------------------------------------------------------------


def _start_slirp(pid: int, path: str, asked: request.Request) -> None:
    """Start slirp4netns for the namespace of `pid`, wait until it is ready, publish the ports.

    It ends when the descriptor given as --exit-fd is closed: the kernel does so when we die.
    """
    _note(path, "slirp4netns")
    ready, ready_there = os.pipe()
    exit_there, _exit = os.pipe()  # `_exit` stays open as long as this process lives
    os.set_inheritable(_exit, False)
    os.set_inheritable(ready, False)
    for fd in (ready_there, exit_there):
        os.set_inheritable(fd, True)
    words = ["slirp4netns", "--configure", "--mtu=65520", "--disable-host-loopback"]
    words += [f"--ready-fd={ready_there}", f"--exit-fd={exit_there}"]
    words += [f"--api-socket={path}/slirp"] if asked.ports else []
    child = os.fork()
    if child == 0:
        _become([*words, str(pid), "eth0"], f"{path}/slirp.log")
    with open(f"{path}/slirp.pid", "w") as file:
        file.write(leftovers.identity(child))
    os.close(ready_there)
    os.close(exit_there)
    if os.read(ready, 1) != b"1":
        with open(f"{path}/slirp.log", errors="replace") as log:
            lines = log.read().split("\n")[:-1] or ["no reason given"]
        raise errors.UnsupportedError("a network without root", f"slirp4netns: {lines[-1]}")
    os.close(ready)
    for port in asked.ports:
        _forward(f"{path}/slirp", port)


def _become(words: list[str], log: str) -> None:
    """In the child: turn into the program, its output kept for an error message."""
    try:
        os.setsid()  # a Ctrl-C at the terminal is for the container
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((nothing, 0), (output, 1), (output, 2)):
            os.dup2(source, target)
        os.execvp(words[0], words)
    finally:
        os._exit(127)


def _forward(api: str, port: Port) -> None:
    """Ask slirp4netns to listen on a port of the host: its API, one JSON object a connection.

    Raises:
        LabError: it can't, for instance because the port is taken.
    """
    import json
    import socket

    arguments = {
        "proto": port.protocol,
        "host_addr": port.host_ip or "0.0.0.0",
        "host_port": port.host_port or port.container_port,
        "guest_port": port.container_port,
    }
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(SLIRP_PATIENCE)
        connection.connect(api)
        call = {"execute": "add_hostfwd", "arguments": arguments}
        connection.sendall(json.dumps(call).encode())
        connection.shutdown(socket.SHUT_WR)
        answer = json.loads(connection.recv(4096))
    if "error" in answer:
        why = answer["error"].get("desc", answer["error"])
        raise errors.LabError(f"port {arguments['host_port']} can't be published: {why}")


# --- the end ----------------------------------------------------------------------------------


def detach(path: str) -> None:
    """Take back what `attach` did, as the container's directory tells; may be called again."""
    try:
        with open(f"{path}/network") as file:
            mode, _, identity = file.read().partition(" ")
    except FileNotFoundError:
        return
    if mode == "bridge":
        from labcontainer import network

        network.detach(_ledger(), identity)
    elif mode == "slirp4netns":
        _stop_slirp(path)
    os.unlink(f"{path}/network")


def _stop_slirp(path: str) -> None:
    try:
        with open(f"{path}/slirp.pid") as file:
            pid, _, ticks = file.read().partition(" ")
    except FileNotFoundError:
        return
    if pid.isdigit() and ticks and leftovers.start_time(int(pid)) == ticks:
        os.kill(int(pid), signal.SIGKILL)
        try:
            os.waitpid(int(pid), 0)
        except ChildProcessError:
            pass  # another process started it
