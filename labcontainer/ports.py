"""Published ports: Docker's words for them, and holding them on the host.

-p 8080:80   -p 127.0.0.1:8080:80/udp   -p 8000-8010:80   -p 7000-7002:7000-7002   -p 80
"""

from __future__ import annotations

import socket

from labcontainer.errors import ExistsError, LabError, UsageError
from labcontainer.record import Record

PROTOCOLS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}

_BELOW = (  # ip(7)
    ": ports below the sysctl net.ipv4.ip_unprivileged_port_start are root's; choose a higher one"
)


class Port(Record):
    """A port of a container, and where the host's side of it is."""

    container_port: int
    protocol: str = "tcp"
    host_port: int = 0  # 0: the kernel picks one
    host_ip: str = ""  # "": every address of the host
    host_port_last: int = 0  # with it: the first free one from host_port to here

    def __str__(self) -> str:
        """As `docker ps` prints it: `0.0.0.0:8080->80/tcp`."""
        ip = f"[{self.host_ip}]" if ":" in self.host_ip else self.host_ip or "0.0.0.0"
        return f"{ip}:{self.host_port}->{self.container_port}/{self.protocol}"


def parse(text: str) -> tuple[Port, ...]:
    """The ports that a `-p` of Docker's stands for.

    Raises:
        UsageError: says what is off in `text`.
    """
    rest, _, protocol = text.partition("/")
    protocol = protocol.lower() or "tcp"
    if protocol not in PROTOCOLS:
        raise UsageError(f"port {text!r}: the protocol must be tcp or udp, not {protocol!r}")
    host_ip, host, container = _split(rest, text)
    first, last = _range(container, text)
    if not host:
        return tuple(Port(n, protocol, 0, host_ip) for n in range(first, last + 1))
    host_first, host_last = _range(host, text)
    if first == last:
        end = host_last if host_last > host_first else 0
        return (Port(first, protocol, host_first, host_ip, end),)
    if host_last - host_first != last - first:
        raise UsageError(f"port {text!r}: the two ranges differ in length")
    shift = host_first - first
    return tuple(Port(n, protocol, n + shift, host_ip) for n in range(first, last + 1))


def _split(rest: str, text: str) -> tuple[str, str, str]:
    """`[ip:][host]:container` in its three parts."""
    host_ip = ""
    if rest.startswith("["):
        host_ip, bracket, rest = rest[1:].partition("]:")
        if not bracket:
            raise UsageError(f"port {text!r}: no ]: after the IPv6 address")
    elif rest.count(":") == 2:
        host_ip, _, rest = rest.partition(":")
    host, _, container = rest.rpartition(":")
    if ":" in host:
        raise UsageError(f"port {text!r}: too many colons")
    if host_ip:
        _check_ip(host_ip, text)
    return host_ip, host, container


def _check_ip(host_ip: str, text: str) -> None:
    try:
        socket.inet_pton(socket.AF_INET6 if ":" in host_ip else socket.AF_INET, host_ip)
    except OSError:
        raise UsageError(f"port {text!r}: invalid IP address: {host_ip!r}") from None


def _range(words: str, text: str) -> tuple[int, int]:
    """`80` or `80-90` as first and last."""
    first, dash, last = words.partition("-")
    ends = (first, last if dash else first)
    numbers = [int(n) if n.isascii() and n.isdigit() and len(n) < 6 else -1 for n in ends]
    if not all(0 < n < 65536 for n in numbers) or numbers[1] < numbers[0]:
        raise UsageError(f"port {text!r}: invalid port: {words!r}")
    return numbers[0], numbers[1]


class Held(Record):
    """A host port that is ours for as long as `socket` is open."""

    port: Port
    socket: socket.socket

    def release(self) -> None:
        """Give the port back."""
        self.socket.close()


def hold(port: Port, *, listen: bool = False) -> Held:
    """Take a port of the host, so that nobody else gets it and a clash is seen at once.

    The packets never reach this socket: DNAT turns them to the container before. It is bound and
    does not listen. With `listen` it does, for a program that will take its place: only so is a
    port free whose last connections the kernel still remembers (SO_REUSEADDR, socket(7)).

    Raises:
        ExistsError: the port, or each of a range, is taken. LabError: the address is not ours.
    """
    last = port.host_port_last or port.host_port
    for number in range(port.host_port, last + 1):
        try:
            return _bind(port, number, listen and port.protocol == "tcp")
        except OSError as error:
            ip = port.host_ip or "0.0.0.0"
            if error.errno != 98:  # EADDRINUSE
                why = f"{error.strerror}{_BELOW if error.errno == 13 else ''}"
                raise LabError(f"cannot bind {ip}:{number}: {why}") from None
    ip = f"{port.host_ip or '0.0.0.0'}:{port.host_port}"
    raise ExistsError(f"Bind for {ip} failed: port is already allocated")


def _bind(port: Port, number: int, listen: bool) -> Held:
    family = socket.AF_INET6 if ":" in port.host_ip else socket.AF_INET
    sock = socket.socket(family, PROTOCOLS[port.protocol])
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if listen:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((port.host_ip, number))
        if listen:
            sock.listen(1)
        number = sock.getsockname()[1]
    except OSError:
        sock.close()
        raise
    return Held(port.replace(host_port=number, host_port_last=0), sock)
