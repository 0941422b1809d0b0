"""A small world for tests: a "host", an "outside" it has a cable to, and containers.

All of it is network namespaces of a child, whose own namespace is the host. Nothing of the machine
is touched, and nothing is left when the child ends.

    outside 192.0.2.2 ---- 192.0.2.1 up0 host --- bridges --- containers

The outside knows no way to the containers' subnets: what reaches it was masqueraded.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket as sockets
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from labcontainer.kernel import netlink, rtnetlink, syscalls
from labcontainer.kernel.flags import CLONE, PR
from tests.system import forked
from tests.system.lab_home import eventually

HOST, OUTSIDE = "192.0.2.1", "192.0.2.2"
HOST6, OUTSIDE6 = "2001:db8::1", "2001:db8::2"
PATIENCE = 30  # seconds for what must come
SOON = 1.0  # seconds without what must not come
BUSYBOX = shutil.which("busybox") or "busybox"


class Place:
    """A network namespace, held by a process that sleeps; pid 0 is the host's own."""

    def __init__(self, pid: int = 0) -> None:
        self.pid = pid
        self.netns = os.open(f"/proc/{pid or 'self'}/ns/net", os.O_RDONLY)

    def do(self, *requests: netlink.Request) -> None:
        """Change something of its network."""
        with netlink.connect_in(self.netns) as there:
            for request in requests:
                there.do(request)

    def run(self, *argv: str, check: bool = True) -> str:
        """What a command prints there."""
        command = ["nsenter", f"--net=/proc/self/fd/{self.netns}", *argv]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=30, pass_fds=[self.netns]
        )
        assert not check or done.returncode == 0, f"{argv}: {done.stderr or done.stdout}"
        return done.stdout

    def pings(self, address: str, seconds: float = PATIENCE) -> bool:
        """Whether an address answers. A packet may be lost: a new link's queue drops all until the
        kernel has heard of its carrier."""
        line = (BUSYBOX, "ping", "-c", "1", "-W", "1", address)
        return eventually(lambda: "1 packets received" in self.run(*line, check=False), seconds)

    def socket(self, kind: int, family: int = sockets.AF_INET) -> sockets.socket:
        """A socket of that place, in this process."""
        make: Callable[[], int] = lambda: sockets.socket(family, kind).detach()  # noqa: E731
        made = sockets.socket(fileno=netlink.call_in(self.netns, make))
        made.settimeout(PATIENCE)
        return made

    def listens(self, port: int, address: str = "0.0.0.0") -> sockets.socket:
        """A TCP server's socket."""
        family = sockets.AF_INET6 if ":" in address else sockets.AF_INET
        server = self.socket(sockets.SOCK_STREAM, family)
        server.setsockopt(sockets.SOL_SOCKET, sockets.SO_REUSEADDR, 1)
        server.bind((address, port))
        server.listen()
        return server

    def reaches(
        self, server: sockets.socket, address: str, port: int, seconds: float = PATIENCE
    ) -> str:
        """Connect to an address; whom the server saw, or the client's error."""
        family = sockets.AF_INET6 if ":" in address else sockets.AF_INET
        client = self.socket(sockets.SOCK_STREAM, family)
        client.settimeout(seconds)
        try:
            client.connect((address, port))
            connection, peer = server.accept()
        except OSError as error:
            return f"error: {error.strerror or error}"
        connection.sendall(b"hello")
        assert client.recv(10) == b"hello"
        return str(peer[0])


class World:
    """What a test gets."""

    def __init__(self) -> None:
        self.host = Place()
        self.outside = self.place()
        with netlink.Netlink() as host:
            host.do(rtnetlink.set_link("lo", up=True))
            host.do(rtnetlink.add_veth("up0", "eth0", netns=self.outside.netns))
            host.do(rtnetlink.add_address("up0", f"{HOST}/24"))
            host.do(rtnetlink.add_address("up0", f"{HOST6}/64"))
            host.do(rtnetlink.set_link("up0", up=True))
        self.outside.do(
            rtnetlink.set_link("lo", up=True),
            rtnetlink.add_address("eth0", f"{OUTSIDE}/24"),
            rtnetlink.add_address("eth0", f"{OUTSIDE6}/64"),
            rtnetlink.set_link("eth0", up=True),
        )

    def place(self) -> Place:
        """A new network namespace."""
        ready, tell = os.pipe()
        pid = os.fork()
        if pid == 0:
            syscalls.prctl(PR.SET_PDEATHSIG, signal.SIGKILL)
            syscalls.unshare(CLONE.NEWNET)
            os.write(tell, b"x")
            signal.pause()
            os._exit(0)
        os.close(tell)
        assert os.read(ready, 1) == b"x"
        os.close(ready)
        return Place(pid)

    def state(self) -> dict[str, Any]:
        """All that labcontainer could change on the host, by other tools' eyes."""
        links = self.host.run("ip", "-o", "link", "show").splitlines()
        return {
            "links": [line.split(":")[1].split("@")[0].strip() for line in links],
            "routes": self.host.run("ip", "route").splitlines(),
            "nft": nft_rules(self.host),
            "iptables": iptables_rules(self.host),
            "values": {
                name: Path(f"/proc/sys/net/{name}").read_text()
                for name in ("ipv4/ip_forward", "ipv6/conf/all/forwarding")
                if os.path.exists(f"/proc/sys/net/{name}")
            },
        }


def nft_rules(place: Place) -> str:
    """The whole rule set, as the command lists it."""
    return place.run("nft", "list", "ruleset", check=False)


def iptables_rules(place: Place) -> list[str]:
    """The old tables' rules; the tables themselves stay once they have been looked at."""
    saved = place.run("iptables-legacy-save", check=False).splitlines()
    return [line for line in saved if line.startswith("-A") or "LABCONTAINER" in line]


def _live(body: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    syscalls.mount("proc", "/proc", "proc")  # so that the numbers of its processes are in it
    return body(World(), *args)


def run(body: Callable[..., Any], *args: Any) -> Any:
    """Run `body(world, *args)` in a world of its own; what it raises is raised here."""
    flags = CLONE.NEWNET | CLONE.NEWNS | CLONE.NEWPID
    return forked.call(_live, body, args, flags=flags)
