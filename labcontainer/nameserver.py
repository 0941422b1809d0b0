"""A small DNS server for one bridge: containers find each other by name, the rest is passed on.

    container  --- "A? db" -------------> us            answered from the names we were given
    container  --- "A? example.org" ----> us ---> the host's resolvers, answer handed back as it is

The message format is RFC 1035 section 4, IPv6 answers RFC 3596, names of addresses RFC 1035 3.5.
A question that cannot be read gets one line in the log and, where its head is readable, FORMERR.
"""

from __future__ import annotations

import contextlib
import itertools
import selectors
import socket
import struct
import threading

from labcontainer.errors import LabError
from labcontainer.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType
    from typing import Self

A, PTR, AAAA, ANY, IN = 1, 12, 28, 255, 1
NO_ERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP = 0, 1, 2, 3, 4
TTL = 600  # seconds, as Docker's; a name that moves is asked for again within ten minutes
FORWARDS = 64  # questions passed on at once; more get SERVFAIL instead of a queue without end
CONNECTIONS = 64  # TCP connections at once
WAIT = 4.0  # seconds for a resolver to answer, less than the 5 that a container's resolver waits


class Question(Record):
    """What is asked."""

    id: int
    flags: int
    name: str  # lower case, without the last dot
    type: int
    raw: bytes  # the question as it came, to be repeated in the answer


class JunkError(LabError):
    """Bytes that are no DNS question."""


def parse(data: bytes) -> Question:
    """The one question in a message.

    Raises:
        JunkError: it is none; says why.
    """
    if len(data) < 12:
        raise JunkError(f"{len(data)} bytes are too few for a DNS header")
    ident, flags, questions, *_counts = struct.unpack_from(">6H", data)
    if flags & 0x8000:
        raise JunkError("an answer, not a question")
    if questions != 1:
        raise JunkError(f"{questions} questions in one message")
    labels, at = [], 12
    while True:
        length = data[at] if at < len(data) else 255
        if length == 0:
            break
        # 64 and more would be a pointer (RFC 1035 4.1.4): no question needs one, so no loops.
        if length > 63 or at + 1 + length >= len(data) or at + 1 + length > 12 + 254:
            raise JunkError(f"bad name at byte {at}")
        labels.append(data[at + 1 : at + 1 + length])
        at += 1 + length
    if len(data) < at + 5:
        raise JunkError("the question has no type")
    kind, family = struct.unpack_from(">HH", data, at + 1)
    if family not in (IN, ANY):
        raise JunkError(f"class {family} is not IN")
    name = b".".join(labels).decode("latin-1").lower()
    return Question(ident, flags, name, kind, data[12 : at + 5])


def reply(question: Question, code: int, answers: Sequence[tuple[int, bytes]] = ()) -> bytes:
    """An answer message: each of `answers` is a type and its data, all for the name asked."""
    # QR 0x8000, AA 0x400 (we are who knows), RA 0x80; opcode, RD and TC as in the question.
    flags = 0x8480 | question.flags & 0x7B00 | code
    head = struct.pack(">6H", question.id, flags, 1, len(answers), 0, 0)
    pointer = 0xC00C  # "the name that stands at byte 12"
    records = [struct.pack(">HHHIH", pointer, t, IN, TTL, len(d)) + d for t, d in answers]
    return b"".join([head, question.raw, *records])


def encode_name(name: str) -> bytes:
    """`web.example` as labels, each with its length in front."""
    labels = [label.encode("latin-1", "replace")[:63] for label in name.split(".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def reverse_name(address: str) -> str:
    """The name under which the name of an address is asked for: `2.0.231.10.in-addr.arpa`."""
    if ":" in address:
        digits = socket.inet_pton(socket.AF_INET6, address).hex()
        return ".".join(reversed(digits)) + ".ip6.arpa"
    return ".".join(reversed(address.split("."))) + ".in-addr.arpa"


class Names:
    """Which names stand for which addresses; replaced as a whole, so readers need no lock."""

    def __init__(self, table: Mapping[str, Sequence[str]] | None = None) -> None:
        self._forward: dict[str, list[str]] = {}
        self._reverse: dict[str, str] = {}
        self._turns = itertools.count()
        self.replace(table or {})

    def replace(self, table: Mapping[str, Sequence[str]]) -> None:
        """Take a new table: names, each with its addresses. The first name of an address is its."""
        forward = {name.lower().rstrip("."): list(found) for name, found in table.items()}
        reverse: dict[str, str] = {}
        for name, found in table.items():
            for address in found:
                reverse.setdefault(reverse_name(address), name)
        self._forward, self._reverse = forward, reverse

    def answer(self, question: Question) -> bytes | None:
        """The answer, if the name is ours; None: somebody else's to answer."""
        if question.flags & 0x7800:  # an operation other than QUERY
            return reply(question, NOTIMP)
        if question.name in self._reverse:
            name = encode_name(self._reverse[question.name])
            wanted = question.type in (PTR, ANY)
            return reply(question, NO_ERROR, [(PTR, name)] if wanted else [])
        addresses = self._forward.get(question.name)
        if addresses is None:
            return None
        # Of several addresses another one comes first each time: most programs take the first.
        first = next(self._turns) % len(addresses) if addresses else 0
        answers = []
        for address in addresses[first:] + addresses[:first]:
            kind, family = (AAAA, socket.AF_INET6) if ":" in address else (A, socket.AF_INET)
            if question.type in (kind, ANY):
                answers.append((kind, socket.inet_pton(family, address)))
        # A name that is there without an address of that kind is not NXDOMAIN: a resolver that
        # asks for AAAA first would believe it and not ask for A.
        return reply(question, NO_ERROR, answers)


class Server:
    """Answers on one address, UDP and TCP, until its block ends.

    >>> with Server("10.231.0.1", Names({"db": ["10.231.0.2"]}), ["192.0.2.53"]):
    ...     ...

    `log` gets one line for each thing refused. The sockets can be made elsewhere (in a container's
    own namespace, by `kernel.netlink.call_in`) and handed over by `sockets`.
    """

    def __init__(
        self,
        address: str,
        names: Names,
        resolvers: Sequence[str] = (),
        *,
        port: int = 53,
        log: Callable[[str], object] = lambda _line: None,
        sockets: tuple[socket.socket, socket.socket] | None = None,
    ) -> None:
        self.names = names
        self.resolvers = tuple(resolvers)
        self.log = log
        self._udp, self._tcp = sockets or listen(address, port)
        self._forwards = threading.BoundedSemaphore(FORWARDS)
        self._connections = threading.BoundedSemaphore(CONNECTIONS)
        self._stop, self._stopped = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, name="nameserver", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.send(b"x")
        self._thread.join()
        for sock in (self._udp, self._tcp, self._stop, self._stopped):
            sock.close()

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            for sock in (self._udp, self._tcp, self._stopped):
                selector.register(sock, selectors.EVENT_READ)
            while True:
                ready = [key.fileobj for key, _events in selector.select()]
                if self._stopped in ready:
                    return
                if self._udp in ready:
                    self._datagram()
                if self._tcp in ready:
                    self._accept()

    def _datagram(self) -> None:
        try:
            data, client = self._udp.recvfrom(4096)
        except OSError:
            return  # an ICMP error of an answer before, udp(7)

        def send(answer: bytes) -> None:
            with contextlib.suppress(OSError):
                self._udp.sendto(answer, client)

        answer = self._answer(data, f"{client[0]} udp")
        if answer is not None:
            if answer:
                send(_fit(answer))
        elif not self._forwards.acquire(blocking=False):
            self.log(f"{client[0]}: {FORWARDS} questions are under way already; refused")
            send(reply(parse(data), SERVFAIL))
        else:
            _in_background(self._pass_on, data, send)

    def _pass_on(self, data: bytes, send: Callable[[bytes], None]) -> None:
        try:
            send(forward(data, self.resolvers))
        finally:
            self._forwards.release()

    def _answer(self, data: bytes, client: str) -> bytes | None:
        """Our own answer, b"" for junk without a readable head, None: pass it on."""
        try:
            return self.names.answer(parse(data))
        except JunkError as junk:
            self.log(f"{client}: {junk}")
            if len(data) < 12 or data[2] & 0x80:
                return b""
            # The head alone: the id, QR, and FORMERR.
            return struct.pack(
                ">HH4H", int.from_bytes(data[:2], "big"), 0x8080 | FORMERR, 0, 0, 0, 0
            )

    def _accept(self) -> None:
        try:
            connection, client = self._tcp.accept()
        except OSError:
            return
        if not self._connections.acquire(blocking=False):
            self.log(f"{client[0]}: {CONNECTIONS} connections are open already; refused")
            connection.close()
            return
        _in_background(self._converse, connection, client[0])

    def _converse(self, connection: socket.socket, client: str) -> None:
        """One TCP connection: questions with their length in front, RFC 1035 4.2.2."""
        try:
            with connection:
                connection.settimeout(WAIT)
                while data := _receive(connection):
                    answer = self._answer(data, f"{client} tcp")
                    if answer is None:
                        answer = forward(data, self.resolvers, tcp=True)
                    if not answer:
                        return
                    connection.sendall(struct.pack(">H", len(answer)) + answer)
        except OSError:
            pass  # gone, or silent for too long
        finally:
            self._connections.release()


def _fit(answer: bytes) -> bytes:
    """An answer too long for a datagram of plain DNS becomes "ask again by TCP" (TC 0x200)."""
    if len(answer) <= 512:
        return answer
    question = parse(answer[:2] + b"\0\0" + answer[4:])
    return reply(question.replace(flags=0x200 | question.flags), NO_ERROR)


def _in_background(function: Callable[..., None], *args: object) -> None:
    threading.Thread(target=function, args=args, daemon=True).start()


def listen(address: str, port: int = 53) -> tuple[socket.socket, socket.socket]:
    """A UDP and a TCP socket on the same port of an address; port 0: one that is free on both.

    Raises:
        LabError: another name server has the port.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    udp, tcp = socket.socket(family, socket.SOCK_DGRAM), socket.socket(family, socket.SOCK_STREAM)
    try:
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        tcp.bind((address, port))
        udp.bind((address, tcp.getsockname()[1]))
        tcp.listen(16)
    except OSError as error:
        udp.close()
        tcp.close()
        raise LabError(f"no name server on {address} port {port}: {error.strerror}") from error
    return udp, tcp


def forward(data: bytes, resolvers: Sequence[str], *, tcp: bool = False) -> bytes:
    """The answer of the first resolver that gives one; SERVFAIL if none does."""
    for resolver in resolvers:
        with contextlib.suppress(OSError):
            answer = _ask(data, resolver, tcp)
            if len(answer) >= 12 and answer[:2] == data[:2]:
                return answer
    return reply(parse(data), SERVFAIL)


def _ask(data: bytes, resolver: str, tcp: bool) -> bytes:
    host, _, port = resolver.partition("#")  # dnsmasq's way to name another port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    kind = socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM
    with socket.socket(family, kind) as sock:
        sock.settimeout(WAIT)
        sock.connect((host, int(port or 53)))  # answers of others are not seen, udp(7)
        if not tcp:
            sock.send(data)
            return sock.recv(65535)
        sock.sendall(struct.pack(">H", len(data)) + data)
        return _receive(sock)


def _receive(sock: socket.socket) -> bytes:
    """One message with its length in front; b"" at the end."""
    length = int.from_bytes(_exactly(sock, 2), "big")
    return _exactly(sock, length)


def _exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = sock.recv(size - len(data))
        if not part:
            return b""
        data += part
    return data


# --- the files that a container resolves names by -----------------------------------------------


def resolvers(text: str) -> list[str]:
    """The name servers that a resolv.conf names, resolv.conf(5)."""
    words = [line.split() for line in text.splitlines()]
    return [found[1] for found in words if len(found) > 1 and found[0] == "nameserver"]


def resolv_conf(host: str, server: str = "", search: Sequence[str] = ()) -> str:
    """A container's resolv.conf, made from the host's.

    With `server`, our own, that one alone. Without, the host's, but for those on 127.0.0.0/8 and
    ::1: in the container these addresses are the container itself.
    """
    kept = [line for line in host.splitlines() if line.split()[:1] in (["search"], ["options"])]
    if search:
        kept = [line for line in kept if not line.startswith("search")]
        kept.insert(0, "search " + " ".join(search))
    reachable = [each for each in resolvers(host) if not each.startswith("127.") and each != "::1"]
    servers = [f"nameserver {each}" for each in ([server] if server else reachable)]
    note = [] if servers else ["# no name server of the host can be reached from here"]
    return "\n".join([*servers, *note, *kept]) + "\n"


def hosts(hostname: str, address: str = "", extra: Sequence[tuple[str, str]] = ()) -> str:
    """A container's hosts file: localhost, IPv6's own names, `extra` (address, name), itself."""
    lines = [
        "127.0.0.1\tlocalhost",
        "::1\tlocalhost ip6-localhost ip6-loopback",
        "fe00::\tip6-localnet",
        "ff00::\tip6-mcastprefix",
        "ff02::1\tip6-allnodes",
        "ff02::2\tip6-allrouters",
        *(f"{ip}\t{name}" for ip, name in extra),
    ]
    if hostname:
        lines.append(f"{address or '127.0.1.1'}\t{hostname}")
    return "\n".join(lines) + "\n"
