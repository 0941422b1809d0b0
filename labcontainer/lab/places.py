"""Network namespaces for a lesson or a check: places to plug cables into and to call from.

A `Place` is a namespace held open by a descriptor: no process needs to live in it, and it goes with
the last descriptor. Sockets are made in it from outside (`netlink.call_in`), so the caller stays
where it is.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any

from labcontainer.kernel import netlink, syscalls
from labcontainer.kernel.flags import CLONE
from labcontainer.lab import limits

PATIENCE = 1.5  # seconds that a packet may take; a cable without an end answers nothing
FORWARD = "/proc/sys/net/ipv4/ip_forward"


class Place:
    """A network namespace. `fd` is its descriptor."""

    def __init__(self, name: str, fd: int) -> None:
        self.name = name
        self.fd = fd

    def close(self) -> None:
        """Let go of it."""
        os.close(self.fd)

    def do(self, *requests: netlink.Request) -> None:
        """Change something of its network."""
        with netlink.connect_in(self.fd) as there:
            for request in requests:
                there.do(request)

    def ask(self, request: bytes) -> int:
        """Send a netlink message made by hand; the errno of the kernel's answer, 0 for yes.

        Raises:
            TimeoutError: to the kernel it was no message.
        """
        with netlink.connect_in(self.fd) as there:
            return there.ask(request)

    def open(self, path: str, flags: int = os.O_RDONLY) -> int:
        """A descriptor of a file that shows another thing in each namespace, as /proc/sys/net."""
        return netlink.call_in(self.fd, lambda: os.open(path, flags))

    def set_forwarding(self, on: bool) -> None:
        """Whether it passes packets on that are for others (ip_forward)."""
        fd = self.open(FORWARD, os.O_WRONLY)
        os.write(fd, b"1" if on else b"0")
        os.close(fd)

    def facts(self) -> dict[str, Any]:
        """What the kernel tells of it: links, IPv4 addresses, routes, forwarding; plain values."""
        with netlink.connect_in(self.fd) as there:
            links, addresses, routes = there.links(), there.addresses(), there.routes()
        fd = self.open(FORWARD)
        forward = os.read(fd, 8).strip() == b"1"
        os.close(fd)
        return {
            "links": [link.as_dict() for link in links],
            "addresses": [one.as_dict() for one in addresses if ":" not in one.address],
            "routes": [one.as_dict() for one in routes if ":" not in one.destination + one.via],
            "forward": forward,
        }

    def make_socket(self, kind: int = socket.SOCK_STREAM, protocol: int = 0) -> socket.socket:
        """A socket of that place, in this process."""
        make: Callable[[], int] = lambda: socket.socket(  # noqa: E731
            socket.AF_INET, kind, protocol
        ).detach()
        made = socket.socket(fileno=netlink.call_in(self.fd, make))
        made.settimeout(PATIENCE * limits.busy())
        return made

    def listens(self, port: int) -> socket.socket:
        """A server's socket there, on every address."""
        server = self.make_socket()
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("0.0.0.0", port))
        server.listen()
        return server


def here(name: str = "host") -> Place:
    """The namespace that the caller is in."""
    return Place(name, os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC))


def of(pid: int, name: str) -> Place:
    """That of a process."""
    return Place(name, os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC))


def new(name: str) -> Place:
    """A new one, with nothing in it but a loopback that is down."""
    told, tell = os.pipe()
    go_on, let_go = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(let_go)
            syscalls.unshare(CLONE.NEWNET)
            os.write(tell, b"x")
            os.read(go_on, 1)
        finally:
            os._exit(0)
    for fd in (tell, go_on):
        os.close(fd)
    try:
        if os.read(told, 1) != b"x":
            raise OSError(1, os.strerror(1), "a new network namespace")
        return of(pid, name)
    finally:
        os.close(told)
        os.close(let_go)
        os.waitpid(pid, 0)


def reaches(
    client: Place, address: str, port: int, server: socket.socket, patience: float = 0
) -> str:
    """Call an address from a place: whom the server saw, or "error: " and why there was no call.

    `patience` is for calls that can't succeed: no busy machine changes that.
    """
    with client.make_socket() as calling:
        calling.settimeout(patience or calling.gettimeout())
        try:
            calling.connect((address, port))
            server.settimeout(PATIENCE * limits.busy())
            answered, peer = server.accept()
        except OSError as error:
            return f"error: {error.strerror or error}"
        answered.close()
        return str(peer[0])
