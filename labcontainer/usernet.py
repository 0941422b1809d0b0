"""A network for containers without root: a program that is a router, in user space.

An ordinary user may make a network namespace, but no cable out of it: the other end would be in the
host's. slirp4netns(1) and pasta(1) join the container's namespace, make a tap device there, and
speak TCP and UDP for what comes out of it by ordinary sockets outside.

slirp4netns ends with whoever started it: it watches a pipe. pasta does not, and goes on when the
container has ended; `start` tells its process number before anything else, to be written down.
"""

from __future__ import annotations

import json
import os
import time

from labcontainer.errors import LabError, UnsupportedError
from labcontainer.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Sequence

    from labcontainer.ports import Port

TOOLS = ("slirp4netns", "pasta")
# slirp4netns gives these out itself. pasta copies the host's, and is told of the resolver.
SLIRP_ADDRESS, SLIRP_GATEWAY = "10.0.2.100", "10.0.2.2"
RESOLVER = "10.0.2.3"
READY_SECONDS = 30.0
_TUN = "/dev/net/tun"


class UserNetwork(Record):
    """What will be run for the container of `pid`. Words in braces stand for descriptors, or for a
    file that tells when it is ready.

    `address`, `gateway` and `resolver` are what the container will find; as pasta copies the
    host's, the first two are "" where the host has no way out.
    """

    tool: str
    pid: int
    argv: tuple[str, ...]
    address: str
    gateway: str
    resolver: str
    ports: tuple[Port, ...] = ()

    def __str__(self) -> str:
        return " ".join(self.argv)


def choose(wanted: str = "") -> str:
    """The path of the tool that will be used: the wanted one, else the first that is installed.

    Raises:
        UnsupportedError: none can be; says why, and what would help.
    """
    import shutil

    what = "a network without root"
    if not os.access(_TUN, os.R_OK | os.W_OK):
        why = "is missing" if not os.path.exists(_TUN) else "may not be opened by this user"
        raise UnsupportedError(what, f"{_TUN} {why}", f"as root: chmod 0666 {_TUN}")
    for tool in (wanted,) if wanted else TOOLS:
        if found := shutil.which(tool):
            return found
    missing = f"{wanted} is not" if wanted else "neither slirp4netns nor pasta is"
    package = "passt" if wanted == "pasta" else "slirp4netns"
    raise UnsupportedError(what, f"{missing} installed", f"install the package {package}")


def plan(pid: int, ports: Sequence[Port] = (), tool: str = "") -> UserNetwork:
    """How the container whose first process is `pid` gets its network."""
    tool = tool or choose()
    ports = tuple(ports)
    if os.path.basename(tool) == "slirp4netns":
        words = ["--configure", "--mtu=65520", "--disable-host-loopback", "--enable-sandbox"]
        words += ["--enable-seccomp", "--ready-fd={ready}", "--exit-fd={end}"]
        if ports:
            words.append("--api-socket={socket}")
        argv = (tool, *words, str(pid), "eth0")
        return UserNetwork(tool, pid, argv, SLIRP_ADDRESS, SLIRP_GATEWAY, RESOLVER, ports)
    words = ["--config-net", "--ns-ifname", "eth0", "--quiet", "--foreground", "--pid", "{file}"]
    words += ["--no-map-gw", "--dns-forward", RESOLVER, "-T", "none", "-U", "none"]
    # By descriptors of ours: it drops the right to look into /proc/PID before it would open them.
    words += ["--netns", "/proc/self/fd/{net}", *_user_namespace(pid)]
    for option, protocol in (("-t", "tcp"), ("-u", "udp")):
        wanted = [_pasta_port(port) for port in ports if port.protocol == protocol] or ["none"]
        words += [word for each in wanted for word in (option, each)]
    return UserNetwork(tool, pid, (tool, *words), *_way_out(), RESOLVER, ports)


def _user_namespace(pid: int) -> list[str]:
    """pasta's words for the user namespace to join; nobody may join the one that he is in."""
    try:
        if os.stat(f"/proc/{pid}/ns/user").st_ino == os.stat("/proc/self/ns/user").st_ino:
            return ["--netns-only"]
    except OSError:
        pass
    return ["--userns", "/proc/self/fd/{user}"]


def _pasta_port(port: Port) -> str:
    where = f"{port.host_ip}/" if port.host_ip else ""
    return f"{where}{port.host_port or port.container_port}:{port.container_port}"


def _way_out() -> tuple[str, str]:
    """The host's address towards its default gateway, and that gateway: proc_net_route(5)."""
    import socket

    with open("/proc/net/route") as file:
        rows = [line.split() for line in file][1:]
    gateways = [row[2] for row in rows if row[1] == "00000000"]
    if not gateways:
        return "", ""
    gateway = socket.inet_ntoa(bytes.fromhex(gateways[0])[::-1])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there:
        there.connect((gateway, 9))  # sends nothing: only asks for a route
        return there.getsockname()[0], gateway


def settled(ports: Sequence[Port]) -> tuple[Port, ...]:
    """The same ports with the host's side chosen, as `ports.hold` chooses it for bridges.

    The tools bind a port themselves, so it is given back here, free a moment ago.

    Raises:
        ExistsError: a port, or each of a range, is taken. LabError: the address is not ours.
    """
    from labcontainer import ports as published

    held = [published.hold(port, listen=True) for port in ports]
    for one in held:
        one.release()
    return tuple(one.port for one in held)


class Running:
    """The router, for as long as it is not closed."""

    def __init__(self, process: subprocess.Popen[bytes], end: int, said: int) -> None:
        self.process = process
        self._end = end
        self._said = said  # a memory file: a pipe that nobody reads would stop it once full

    def words(self) -> list[str]:
        """The lines that it has printed, without those that say only how it works."""
        lines = os.pread(self._said, 1 << 16, 0).decode(errors="replace").splitlines()
        return [line for line in lines if "syslog" not in line and "api_" not in line]

    def close(self) -> None:
        """End it and wait for its end."""
        os.close(self._end)  # slirp4netns sees the end of the pipe
        self.process.terminate()
        self.process.wait()
        os.close(self._said)


def start(
    network: UserNetwork, folder: str = "", started: Callable[[int], object] = bool
) -> Running:
    """Start it and wait until the container's network is up and its ports are published.

    `folder` is where files may be until then (a socket's path has at most 107 bytes); without
    one, a temporary directory. `started` is told the process number before anything is waited for.

    Raises:
        LabError: it ended instead, or was not ready within 30 s; shows its own words.
    """
    import shutil
    import tempfile

    place = folder or tempfile.mkdtemp(prefix="labcontainer-net-")
    try:
        return _start(network, place, started)
    finally:
        # Nobody speaks to it any more: gone now, the folder can't outlive a caller that is killed.
        if not folder:
            shutil.rmtree(place, ignore_errors=True)


def _start(network: UserNetwork, folder: str, started: Callable[[int], object]) -> Running:
    (ready_read, ready), (end_read, end) = os.pipe(), os.pipe()
    running = _launch(network, folder, {"ready": ready, "end": end_read}, end)
    slirp = os.path.basename(network.tool) == "slirp4netns"
    try:
        started(running.process.pid)
        if slirp:
            _await_byte(ready_read)
        else:
            _await_file(f"{folder}/pid", running.process)
        for port in network.ports if slirp else ():
            _add_port(f"{folder}/api", port)
    except (OSError, LabError) as error:
        running.process.kill()
        running.process.wait()
        why = str(error)
        if not why.startswith("cannot publish"):
            why = (running.words() or [why])[-1]
        running.close()
        raise LabError(f"{os.path.basename(network.tool)} gave no network: {why}") from None
    finally:
        os.close(ready_read)
    return running


def _launch(network: UserNetwork, folder: str, given: dict[str, int], end: int) -> Running:
    """Run the tool with the descriptors of `given`, which are closed here, and its namespaces."""
    import subprocess

    said = os.memfd_create("labcontainer-net")
    try:
        for kind in ("net", "user"):
            if f"{{{kind}}}" in str(network):
                given[kind] = os.open(f"/proc/{network.pid}/ns/{kind}", os.O_RDONLY)
        process = subprocess.Popen(
            _filled(network, folder, given),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            pass_fds=tuple(given.values()),
            start_new_session=True,  # a Ctrl-C at the terminal is for the container
        )
    finally:
        for fd in given.values():
            os.close(fd)
    return Running(process, end, said)


def _filled(network: UserNetwork, folder: str, given: dict[str, int]) -> list[str]:
    """The command line with the words in braces filled in."""
    names = {"socket": f"{folder}/api", "file": f"{folder}/pid", **given}
    return [word.format(**names) if "{" in word else word for word in network.argv]


def _await_byte(fd: int) -> None:
    import select

    readable, _, _ = select.select([fd], [], [], READY_SECONDS)
    if not readable or not os.read(fd, 1):
        raise LabError("it was not ready")


def _await_file(path: str, process: subprocess.Popen[bytes]) -> None:
    """pasta writes its process number when the namespace is set up."""
    last = time.monotonic() + READY_SECONDS
    while not os.path.exists(path) or not os.path.getsize(path):
        if process.poll() is not None or time.monotonic() > last:
            raise LabError("it was not ready")
        time.sleep(0.01)


def _add_port(path: str, port: Port) -> None:
    """Publish one port by slirp4netns's API socket: one JSON document each way."""
    import socket

    arguments = {
        "proto": port.protocol,
        "host_addr": port.host_ip or "0.0.0.0",
        "host_port": port.host_port or port.container_port,
        "guest_addr": SLIRP_ADDRESS,
        "guest_port": port.container_port,
    }
    with socket.socket(socket.AF_UNIX) as api:
        api.settimeout(READY_SECONDS)
        api.connect(path)
        api.sendall(json.dumps({"execute": "add_hostfwd", "arguments": arguments}).encode())
        api.shutdown(socket.SHUT_WR)
        answer = json.loads(api.recv(65536) or b"{}")
    if "error" in answer:
        raise LabError(f"cannot publish {port}: {answer['error'].get('desc', answer['error'])}")
