"""A network for containers without root: a program that is a router, in user space.

An ordinary user may make a network namespace, but no cable out of it: the other end would be in the
host's. slirp4netns(1) and pasta(1) join the container's namespace, make a tap device there, and
speak TCP and UDP for what comes out of it by ordinary sockets outside. They end with the container.
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
    from collections.abc import Sequence

    from labcontainer.ports import Port

# slirp4netns gives these out itself; pasta copies the host's address and forwards this one.
SLIRP_ADDRESS, SLIRP_RESOLVER = "10.0.2.100", "10.0.2.3"
PASTA_RESOLVER = "10.0.2.3"
READY_SECONDS = 10.0
_TUN = "/dev/net/tun"


class UserNetwork(Record):
    """What will be run. `{ready}` and `{end}` stand for descriptors, or for a file of pasta's."""

    tool: str
    argv: tuple[str, ...]
    resolver: str  # for the container's resolv.conf
    ports: tuple[Port, ...] = ()

    def __str__(self) -> str:
        return " ".join(self.argv)


def choose() -> str:
    """The path of the tool that will be used.

    Raises:
        UnsupportedError: none can be; says why, and what would help.
    """
    import shutil

    what = "a network without root"
    if not os.access(_TUN, os.R_OK | os.W_OK):
        why = "is missing" if not os.path.exists(_TUN) else "may not be opened by this user"
        raise UnsupportedError(what, f"{_TUN} {why}", f"as root: chmod 0666 {_TUN}")
    for tool in ("slirp4netns", "pasta"):
        if found := shutil.which(tool):
            return found
    fix = "install the package slirp4netns (or passt)"
    raise UnsupportedError(what, "neither slirp4netns nor pasta is installed", fix)


def plan(pid: int, ports: Sequence[Port] = (), tool: str = "") -> UserNetwork:
    """How the container whose first process is `pid` gets its network."""
    tool = tool or choose()
    if os.path.basename(tool) == "slirp4netns":
        words = ["--configure", "--mtu=65520", "--disable-host-loopback", "--enable-sandbox"]
        words += ["--enable-seccomp", "--ready-fd={ready}", "--exit-fd={end}"]
        if ports:
            words.append("--api-socket={ready}.sock")
        argv = (tool, *words, str(pid), "eth0")
        return UserNetwork(tool, argv, SLIRP_RESOLVER, tuple(ports))
    words = ["--config-net", "--ns-ifname", "eth0", "--quiet", "--foreground", "--pid", "{ready}"]
    words += ["--no-map-gw", "--dns-forward", PASTA_RESOLVER, "-T", "none", "-U", "none"]
    for option, protocol in (("-t", "tcp"), ("-u", "udp")):
        wanted = [_pasta_port(port) for port in ports if port.protocol == protocol] or ["none"]
        words += [word for each in wanted for word in (option, each)]
    return UserNetwork(tool, (tool, *words, str(pid)), PASTA_RESOLVER, tuple(ports))


def _pasta_port(port: Port) -> str:
    where = f"{port.host_ip}/" if port.host_ip else ""
    return f"{where}{port.host_port or port.container_port}:{port.container_port}"


class Running:
    """The router, for as long as it is not closed; it ends by itself when we do."""

    def __init__(self, process: subprocess.Popen[bytes], end: int, folder: str) -> None:
        self.process = process
        self._end = end
        self._folder = folder

    def close(self) -> None:
        """End it and wait for its end."""
        import shutil

        os.close(self._end)  # slirp4netns sees the end of the pipe
        self.process.terminate()
        self.process.wait()
        if self.process.stderr is not None:
            self.process.stderr.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def start(network: UserNetwork) -> Running:
    """Start it and wait until the container's network is up and its ports are published.

    Raises:
        LabError: it ended instead, or was not ready within 10 s; shows its own words.
    """
    import shutil
    import subprocess
    import tempfile

    folder = tempfile.mkdtemp(prefix="labcontainer-net-")
    ready_read, ready = os.pipe()
    end_read, end = os.pipe()
    slirp = os.path.basename(network.tool) == "slirp4netns"
    words = {"{ready}.sock": f"{folder}/api", "{end}": str(end_read)}
    words["{ready}"] = str(ready) if slirp else f"{folder}/pid"
    argv = [_filled(word, words) for word in network.argv]
    process = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        pass_fds=(ready, end_read),
        start_new_session=True,  # a Ctrl-C at the terminal is for the container
    )
    os.close(ready)
    os.close(end_read)
    running = Running(process, end, folder)
    try:
        if slirp:
            _await_byte(ready_read)
        else:
            _await_file(f"{folder}/pid", process)
        if process.poll() is not None:
            raise LabError("it ended")
        for port in network.ports if slirp else ():
            _add_port(f"{folder}/api", port)
        # Nobody speaks to it any more: gone now, the folder can't outlive a caller that is killed.
        shutil.rmtree(folder, ignore_errors=True)
    except (OSError, LabError) as error:
        process.kill()
        said = process.stderr.read().decode(errors="replace") if process.stderr else ""
        running.close()
        lines = [line for line in said.splitlines() if "syslog" not in line and "api_" not in line]
        why = str(error) if str(error).startswith("cannot publish") else (lines or [str(error)])[-1]
        raise LabError(f"{os.path.basename(network.tool)} gave no network: {why}") from None
    finally:
        os.close(ready_read)
    return running


def _filled(word: str, words: dict[str, str]) -> str:
    for name, value in words.items():
        word = word.replace(name, value)
    return word


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
