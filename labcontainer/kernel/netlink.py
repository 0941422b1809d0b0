"""Netlink: links, addresses and routes of the kernel, by messages over a raw AF_NETLINK socket.

    you  -> nlmsghdr | ifinfomsg, ifaddrmsg or rtmsg | attribute, attribute, ...      (a request)
    you <-  nlmsghdr | 0 or -errno | your header | the kernel's own words, if any     (its answer)

What can be asked is in `rtnetlink.py`. netlink(7), rtnetlink(7), netdevice(7).

`_socket` is the C half of `socket`: the other half would cost the OCI command line 8 ms of imports.
"""

from __future__ import annotations

import _socket
import _thread
import os
import struct

from labcontainer.kernel import flags, syscalls, trace
from labcontainer.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType
    from typing import Self, TypeVar

    T = TypeVar("T")
    IndexOf = Callable[[str], int]


class NLM(flags.Flags):
    """What is asked of a request, linux/netlink.h."""

    REQUEST = 1
    ACK = 4
    EXCL = 0x200  # for the NEW… kinds: fail if it is there
    CREATE = 0x400
    DUMP = 0x300  # for the GET… kinds: all of them


class RTM(flags.Flags):
    """Kinds of messages, linux/rtnetlink.h."""

    NEWLINK = 16
    DELLINK = 17
    GETLINK = 18
    SETLINK = 19
    NEWADDR = 20
    DELADDR = 21
    GETADDR = 22
    NEWROUTE = 24
    DELROUTE = 25
    GETROUTE = 26
    GETNSID = 90


class IFLA(flags.Flags):
    """Attributes of a link, linux/if_link.h."""

    ADDRESS = 1
    IFNAME = 3
    MTU = 4
    LINK = 5  # the index of the other end of a veth pair, in its own namespace
    MASTER = 10
    PROTINFO = 12
    LINKINFO = 18
    NET_NS_FD = 28
    LINK_NETNSID = 37  # which namespace that other end is in


_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_INFO_KIND, _IFF_UP = 1, 1
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_RTA_DST, _RTA_OIF, _RTA_GATEWAY = 1, 4, 5


# --- bytes --------------------------------------------------------------------------------------


def message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """A whole message: struct nlmsghdr (length, kind, flags, sequence number, port) and a body."""
    return struct.pack("=IHHII", 16 + len(body), kind, flags, sequence, 0) + body


def attribute(kind: int, payload: bytes) -> bytes:
    """One attribute: struct nlattr (length, kind), the payload, and zeros up to 4 bytes."""
    return struct.pack("=HH", 4 + len(payload), kind) + payload + bytes(-len(payload) % 4)


def c_string(value: str) -> bytes:
    """A name as the kernel wants it, ended by a zero."""
    return value.encode() + b"\0"


def u32(value: int) -> bytes:
    """A 32-bit number in the machine's own byte order."""
    return struct.pack("=I", value)


def ifinfomsg(family: int = 0, index: int = 0, flags: int = 0, change: int = 0) -> bytes:
    """The fixed part of every message about a link; `change` says which of `flags` count."""
    return struct.pack("=BxHiII", family, 0, index, flags, change)


def parse_attributes(data: bytes) -> dict[int, bytes]:
    """The attributes in `data`, by kind; a torn one ends the list."""
    found = {}
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        if not 4 <= length <= len(data):
            break
        found[kind & 0x3FFF] = data[4:length]
        data = data[(length + 3) & ~3 :]
    return found


def parse_messages(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """The messages in one datagram: (kind, flags, sequence number, body)."""
    while len(data) >= 16:
        length, kind, flags, sequence, _port = struct.unpack_from("=IHHII", data)
        if not 16 <= length <= len(data):
            break
        yield kind, flags, sequence, data[16:length]
        data = data[(length + 3) & ~3 :]


# --- requests -----------------------------------------------------------------------------------


class Request(Record):
    """One change of the kernel's network state, not yet asked for; `str()` is its `ip` command."""

    text: str
    kind: int
    flags: int
    body: Callable[[IndexOf], bytes]  # needs the index of a link, which only the kernel knows

    def __str__(self) -> str:
        return self.text


# --- what the kernel tells ----------------------------------------------------------------------


class Link(Record):
    """A link as the kernel describes it."""

    index: int
    name: str
    kind: str  # "bridge", "veth", …; "" for hardware and lo
    mac: str
    mtu: int
    up: bool
    master: int  # the index of its bridge, or 0
    peer: int  # the index of the other end of a veth pair, or 0
    peer_netns: int  # the number that this namespace has for the other end's; -1: the same one


class Address(Record):
    """An address of a link."""

    index: int
    address: str  # with its prefix length


class Route(Record):
    """A route of the main table."""

    destination: str  # a subnet, or "default"
    via: str
    index: int  # of the link it leaves by; 0 if none


def _parse_link(body: bytes) -> Link:
    _family, _type, index, flags, _change = struct.unpack_from("=BxHiII", body)
    found = parse_attributes(body[16:])
    number = {
        kind: struct.unpack("=i", found[kind])[0] if kind in found else missing
        for kind, missing in ((4, 0), (5, 0), (10, 0), (37, -1))
    }
    kind = parse_attributes(found.get(IFLA.LINKINFO, b"")).get(_INFO_KIND, b"")
    return Link(
        index,
        found.get(IFLA.IFNAME, b"").rstrip(b"\0").decode(errors="replace"),
        kind.rstrip(b"\0").decode(),
        found.get(IFLA.ADDRESS, b"").hex(":"),
        number[IFLA.MTU],
        bool(flags & _IFF_UP),
        number[IFLA.MASTER],
        number[IFLA.LINK],
        number[IFLA.LINK_NETNSID],
    )


def _parse_address(body: bytes) -> Address:
    family, length, _flags, _scope, index = struct.unpack_from("=BBBBI", body)
    found = parse_attributes(body[8:])
    packed = found.get(_IFA_LOCAL) or found[_IFA_ADDRESS]
    return Address(index, f"{_socket.inet_ntop(family, packed)}/{length}")


def _parse_route(body: bytes) -> Route | None:
    family, length, *_rest, table, _protocol, _scope, kind, _flags = struct.unpack_from(
        "=8BI", body
    )
    if table != 254 or kind != 1 or family not in (_socket.AF_INET, _socket.AF_INET6):
        return None  # the local table repeats the addresses
    found = parse_attributes(body[12:])
    destination = "default"
    if _RTA_DST in found:
        destination = f"{_socket.inet_ntop(family, found[_RTA_DST])}/{length}"
    via = _socket.inet_ntop(family, found[_RTA_GATEWAY]) if _RTA_GATEWAY in found else ""
    return Route(destination, via, int.from_bytes(found.get(_RTA_OIF, b""), "little"))


class Netlink:
    """A socket to the kernel about one network namespace: the one that it was opened in.

    >>> with Netlink() as host:
    ...     host.do(rtnetlink.add_link("lc0", "dummy"))
    """

    def __init__(self, fd: int = -1) -> None:
        self._socket = _socket.socket(fileno=fd) if fd >= 0 else _open()
        self._sequence = 0

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def do(self, request: Request) -> None:
        """Make one change.

        Raises:
            OSError: the kernel refused; it shows the request as an `ip` command, and the kernel's
                own words where it has any.
        """
        error = None
        try:
            self._exchange(request.kind, request.flags, request.body(self.index), request.text)
        except OSError as refused:
            error = refused
        if trace.watchers:
            trace.publish("rtnetlink", request.text, error or 0)
        if error is not None:
            raise error

    def _exchange(self, kind: int, flags: int, body: bytes, text: str) -> list[bytes]:
        """Send one message and collect the bodies of its answers."""
        self._sequence += 1
        self._socket.send(message(kind, flags, self._sequence, body))
        bodies: list[bytes] = []
        while True:
            # A dump comes in datagrams of up to 32 KiB, netlink(7).
            for kind_, flags_, sequence, answer in parse_messages(self._socket.recv(65536)):
                if sequence != self._sequence:
                    continue  # the rest of an exchange that was broken off
                if kind_ in (_NLMSG_ERROR, _NLMSG_DONE):
                    _raise_errno(answer, flags_, text)
                    return bodies
                bodies.append(answer)
                if not flags & (NLM.DUMP | NLM.ACK):
                    return bodies

    def index(self, name: str) -> int:
        """The number of a link."""
        return self.link(name).index

    def link(self, name: str) -> Link:
        """One link by its name."""
        body = ifinfomsg() + attribute(IFLA.IFNAME, c_string(name))
        return _parse_link(
            self._exchange(RTM.GETLINK, NLM.REQUEST, body, f"ip link show {name}")[0]
        )

    def links(self) -> list[Link]:
        """Every link of the namespace."""
        flags = NLM.REQUEST | NLM.DUMP
        return [_parse_link(b) for b in self._exchange(RTM.GETLINK, flags, ifinfomsg(), "ip link")]

    def addresses(self) -> list[Address]:
        """Every address of the namespace."""
        flags, body = NLM.REQUEST | NLM.DUMP, bytes(8)
        return [_parse_address(b) for b in self._exchange(RTM.GETADDR, flags, body, "ip address")]

    def routes(self) -> list[Route]:
        """The routes of the main table, IPv4 and IPv6."""
        flags, body = NLM.REQUEST | NLM.DUMP, bytes(12)
        found = [_parse_route(b) for b in self._exchange(RTM.GETROUTE, flags, body, "ip route")]
        return [route for route in found if route is not None]

    def ask(self, request: bytes) -> int:
        """Send a whole message that was made by hand; the errno of the answer, 0 for yes.

        Raises:
            TimeoutError: no answer in a second: to the kernel it was no message.
        """
        self._socket.settimeout(1)
        self._socket.send(request)
        return -int(struct.unpack_from("=i", self._socket.recv(65536), 16)[0])

    def namespace_number(self, netns: int) -> int:
        """The number that this namespace has for another (a descriptor); -1: none yet."""
        body = struct.pack("=B3x", 0) + attribute(3, u32(netns))  # NETNSA_FD
        answer = self._exchange(RTM.GETNSID, NLM.REQUEST, body, "ip netns list-id")[0]
        return int(struct.unpack("=i", parse_attributes(answer[4:])[1])[0])  # NETNSA_NSID


def _raise_errno(answer: bytes, flags: int, text: str) -> None:
    """What an NLMSG_ERROR says; zero is the kernel's yes."""
    (code,) = struct.unpack_from("=i", answer) if len(answer) >= 4 else (0,)
    if code == 0:
        return
    words = ""
    if flags & 0x200 and len(answer) >= 20:  # NLM_F_ACK_TLVS: attributes follow the header
        capped = flags & 0x100  # NLM_F_CAPPED: our own message is not repeated
        start = 4 + (16 if capped else (struct.unpack_from("=I", answer, 4)[0] + 3) & ~3)
        words = parse_attributes(answer[start:]).get(1, b"").rstrip(b"\0").decode(errors="replace")
    shown = f"{text} ({words})" if words else text
    raise OSError(-code, os.strerror(-code), shown)


def _open() -> _socket.socket:
    sock = _socket.socket(
        _socket.AF_NETLINK, _socket.SOCK_RAW | _socket.SOCK_CLOEXEC, 0
    )  # NETLINK_ROUTE
    try:
        sock.setsockopt(270, 11, 1)  # SOL_NETLINK, NETLINK_EXT_ACK: errors in the kernel's words
        sock.setsockopt(270, 10, 1)  # NETLINK_CAP_ACK: without our message repeated
    except OSError:
        pass  # a kernel before 4.12: errno alone
    return sock


def call_in(netns: int, function: Callable[[], T]) -> T:
    """What `function()` returns in another network namespace, such as a socket of that one.

    A socket belongs for ever to the namespace it was made in, whoever holds it. A network namespace
    is a thread's own, setns(2): one goes there, calls, and ends. The caller never moves.

    Raises:
        OSError: the namespace could not be entered. Also all that `function` raises.
    """
    returned: list[T] = []
    raised: list[BaseException] = []
    done = _thread.allocate_lock()
    done.acquire()

    def go() -> None:
        try:
            syscalls.setns(netns, flags.CLONE.NEWNET)
            returned.append(function())
        except BaseException as error:
            raised.append(error)
        finally:
            done.release()

    _thread.start_new_thread(go, ())
    done.acquire()
    if raised:
        raise raised[0]
    return returned[0]


def connect_in(netns: int) -> Netlink:
    """A netlink socket of another network namespace, given as a descriptor."""
    return Netlink(call_in(netns, lambda: _open().detach()))
