"""Published ports without root: what comes to a socket of the host's is carried into a namespace.

    daemon                                                 forwarder, in the network namespace
      │ ─── forward KEY tcp 10.231.0.2 80, the socket ────> │  accepts; connects from in here
      │ ─── forget KEY ───────────────────────────────────> │  lets go of it and its connections
      │ ─── bind, a pidfd ────────────────────────────────> │  will end that process when it ends
      │ <── done ─────────────────────────────────────────── │  after each of them

A socket belongs to the namespace that it was made in: those that the daemon hands over are the
host's, those that this process makes are of the namespace. It ends with its daemon, by the end of
the conversation. docker-proxy, and rootlesskit's builtin port driver, do the same.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
import sys
import time

from labcontainer.errors import StateError
from labcontainer.kernel import sockets, syscalls
from labcontainer.kernel.flags import CLONE
from labcontainer.runtime import handshake

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn, Self

    from labcontainer.ports import Held

    Address = tuple[str, int]
    Ready = Callable[[], None]

CHUNK = 1 << 16
ROUNDS = 16  # chunks of one connection before the others have their turn
BACKLOG = 512
# Of UDP nobody tells the end: a client is forgotten after so many seconds of silence (docker-proxy
# takes 90), or when there are too many.
SILENCE, CLIENTS = 90.0, 1000
_EDGE = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET


# --- the daemon's end -----------------------------------------------------------------------------


class Forwarder:
    """The process that forwards. `pid` is its number: who looks there finds the namespace."""

    def __init__(self, fd: int, pid: int) -> None:
        self._channel = handshake.Channel(fd)
        self.pid = pid

    @classmethod
    def start(cls, netns: int) -> Self:
        """Start it and wait until it is in the network namespace, which is given as a descriptor.

        Raises:
            StateError: it ended before it was there; shows what it said.
        """
        mine, theirs = sockets.pair()
        package = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
        code = (
            f"import sys; sys.path.insert(0, {package!r}); "
            "from labcontainer.engine import forwarder; forwarder.main(0, 1)"
        )
        # As its input and output: these two numbers are surely not yet taken by the other one.
        given = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate((theirs, netns))]
        line = [sys.executable, "-IS", "-c", code]
        try:
            pid = os.posix_spawn(line[0], line, os.environ, file_actions=given, setsid=True)
        finally:
            os.close(theirs)
        made = cls(mine, pid)
        try:
            made._expect("ready")
        except StateError:
            made.close()
            raise
        return made

    def forward(self, held: Held, ip: str) -> None:
        """Carry what comes to a held port to that of a container, until `forget`.

        Raises:
            StateError: the process has ended.
        """
        port, listener = held.port, held.socket.fileno()
        fields = (str(listener), port.protocol, ip, str(port.container_port))
        self._channel.send("forward", *fields, descriptors=(listener,))
        self._expect("done")

    def forget(self, held: Held) -> None:
        """Let go of the port, and of all connections that came by it; quiet if it has ended."""
        self._channel.send("forget", str(held.socket.fileno()))
        self._channel.receive()

    def bind(self, pid: int) -> None:
        """Let another program end with the daemon too, `kill -9` included.

        Raises:
            StateError: this process has ended. OSError: the other one has.
        """
        pidfd = syscalls.pidfd_open(pid)
        try:
            self._channel.send("bind", descriptors=(pidfd,))
            self._expect("done")
        finally:
            os.close(pidfd)

    def has_ended(self) -> bool:
        """Whether somebody has killed it."""
        try:
            return os.waitpid(self.pid, os.WNOHANG)[0] != 0
        except ChildProcessError:
            return True

    def _expect(self, word: str) -> None:
        name, fields, _ = self._channel.receive()
        if name != word:
            raise StateError(f"the port forwarder has ended {' '.join(fields)}".strip())

    def close(self) -> None:
        """End it, and wait for its end."""
        self._channel.close()
        try:
            os.waitpid(self.pid, 0)
        except ChildProcessError:
            pass  # somebody else has waited for it


# --- the process ----------------------------------------------------------------------------------


def main(fd: int, netns: int) -> NoReturn:
    """Serve until the daemon is gone."""
    import resource

    syscalls.setns(netns, CLONE.NEWNET)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # two sockets a connection
    channel, loop = handshake.Channel(fd), Loop()
    doors: dict[str, Door] = {}
    bound: list[int] = []

    def obey() -> None:
        name, fields, descriptors = channel.receive()
        if name == "forward":
            key, protocol, ip, port = fields
            kind = _Datagrams if protocol == "udp" else _Listener
            doors[key] = kind(loop, socket.socket(fileno=descriptors[0]), (ip, int(port)))
        elif name == "forget" and fields[0] in doors:
            doors.pop(fields[0]).close()
        elif name == "bind":
            bound.extend(descriptors)
        elif not name:
            _end(bound)
        channel.send("done")

    loop.add(fd, select.EPOLLIN, obey)
    channel.send("ready")
    loop.run()


def _end(bound: list[int]) -> NoReturn:
    for pidfd in bound:
        try:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        except ProcessLookupError:
            pass  # the daemon has ended it, as it should
    os._exit(0)


class Loop:
    """Calls who is responsible for a descriptor when something happens there: epoll(7)."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._ready: dict[int, Ready] = {}

    def add(self, fd: int, events: int, ready: Ready) -> None:
        """Call `ready` from now on."""
        self._ready[fd] = ready
        self._epoll.register(fd, events)

    def change(self, fd: int, events: int, ready: Ready) -> None:
        """Call another; at once, if there is something already."""
        self._ready[fd] = ready
        self._epoll.modify(fd, events)

    def remove(self, *fds: int) -> None:
        """Call nobody any more, also not for what has happened already."""
        for fd in fds:
            if self._ready.pop(fd, None) is not None:
                self._epoll.unregister(fd)

    def run(self) -> NoReturn:
        """Do nothing else, for ever."""
        while True:
            for fd, _events in self._epoll.poll():
                if (ready := self._ready.get(fd)) is not None:
                    ready()


class Door:
    """One published port."""

    def __init__(self, loop: Loop, outer: socket.socket, to: Address, arrived: Ready) -> None:
        self._loop, self._outer, self._to = loop, outer, to
        outer.setblocking(False)
        loop.add(outer.fileno(), select.EPOLLIN, arrived)

    def close(self) -> None:
        """Let nobody in any more."""
        self._loop.remove(self._outer.fileno())
        self._outer.close()


# --- TCP ------------------------------------------------------------------------------------------


class _Listener(Door):
    def __init__(self, loop: Loop, outer: socket.socket, to: Address) -> None:
        super().__init__(loop, outer, to, self._arrived)
        outer.listen(BACKLOG)
        self._open: set[_Connection] = set()

    def _arrived(self) -> None:
        try:
            near, _ = self._outer.accept()
            far = socket.socket(socket.AF_INET)
        except OSError:  # gone again; or no descriptors are left, and waiting is all there is to do
            time.sleep(0.01)
            return
        far.setblocking(False)
        far.connect_ex(self._to)
        self._open.add(_Connection(self._loop, near, far, self._open.discard))

    def close(self) -> None:
        super().close()
        for one in list(self._open):
            one.reset()


class _Connection:
    """From a client to the container: two sockets, and the two ways between them."""

    def __init__(
        self, loop: Loop, near: socket.socket, far: socket.socket,
        closed: Callable[[_Connection], object],
    ) -> None:  # fmt: skip
        self._loop, self._near, self._far, self._closed = loop, near, far, closed
        for sock in (near, far):
            sock.setblocking(False)
            # What either side wrote is not held back for more to come; who has vanished is noticed.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._ways = (_Way(near, far), _Way(far, near))
        loop.add(far.fileno(), select.EPOLLOUT, self._connected)

    def _connected(self) -> None:
        """The container has answered, or will not: connect(2), of EINPROGRESS."""
        if self._far.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            return self.reset()
        # Edge-triggered: told once of each change, so nobody must say what is waited for.
        self._loop.add(self._near.fileno(), _EDGE, self._move)
        return self._loop.change(self._far.fileno(), _EDGE, self._move)

    def _move(self) -> None:
        try:
            more = [way.move() for way in self._ways]
        except OSError:
            return self.reset()
        if all(way.ended and not way.rest for way in self._ways):
            return self._close()
        if any(more):
            for sock in (self._near, self._far):  # to modify is to be told again
                self._loop.change(sock.fileno(), _EDGE, self._move)
        return None

    def reset(self) -> None:
        """Break it off; the client sees that (RST), as if nobody had been listening."""
        self._near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._close()

    def _close(self) -> None:
        self._loop.remove(self._near.fileno(), self._far.fileno())
        self._near.close()
        self._far.close()
        self._closed(self)


class _Way:
    """One direction of a connection. An end is passed on, the other direction may go on."""

    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self._source, self._sink = source, sink
        self.rest = b""  # what has been read and could not be written yet
        self.ended = False

    def move(self) -> bool:
        """Carry what there is; true where there may be more.

        Raises:
            OSError: one of the two sides has broken it off.
        """
        try:
            return all(self._step() for _ in range(ROUNDS))
        except BlockingIOError:
            return False

    def _step(self) -> bool:
        if self.rest:
            self.rest = self.rest[self._sink.send(self.rest) :]
        elif not self.ended:
            self.rest = self._source.recv(CHUNK)
            if not self.rest:
                self.ended = True
                self._sink.shutdown(socket.SHUT_WR)
        return bool(self.rest) or not self.ended


# --- UDP ------------------------------------------------------------------------------------------


class _Datagrams(Door):
    """A client is a socket of its own, so that the container's answers find back to it."""

    def __init__(self, loop: Loop, outer: socket.socket, to: Address) -> None:
        super().__init__(loop, outer, to, self._arrived)
        self._clients: dict[Address, tuple[socket.socket, float]] = {}  # the longest silent first

    def _arrived(self) -> None:
        try:
            data, client = self._outer.recvfrom(CHUNK)
            self._socket_of(client).send(data)
        except OSError:
            pass  # what is lost is lost: UDP. Also an ICMP error of one sent before, udp(7)

    def _socket_of(self, client: Address) -> socket.socket:
        sock, _ = self._clients.pop(client, (None, 0.0))
        if sock is None:
            self._forget_the_silent()
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.setblocking(False)
            sock.connect(self._to)
            self._loop.add(sock.fileno(), select.EPOLLIN, self._answer(sock, client))
        self._clients[client] = sock, time.monotonic()
        return sock

    def _answer(self, sock: socket.socket, client: Address) -> Ready:
        def answer() -> None:
            try:
                self._outer.sendto(sock.recv(CHUNK), client)
            except OSError:
                pass

        return answer

    def _forget_the_silent(self) -> None:
        oldest = time.monotonic() - SILENCE
        for client, (sock, last) in list(self._clients.items()):
            if last > oldest and len(self._clients) < CLIENTS:
                return
            self._loop.remove(sock.fileno())
            sock.close()
            del self._clients[client]

    def close(self) -> None:
        super().close()
        for sock, _ in self._clients.values():
            self._loop.remove(sock.fileno())
            sock.close()
