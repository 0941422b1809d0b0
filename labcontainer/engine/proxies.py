"""Docker's userland proxy: what comes to an IPv6 address of the host, carried to an IPv4 one.

    client ── [::1]:8080 ──> Proxy ── 10.231.128.2:80 ──> container

Packet rules turn a packet's destination, not its family, and none turns that of a packet to ::1. So
here a connection ends and another one begins: its client is, for the container, the bridge's
gateway.
"""

from __future__ import annotations

import os
import select
import socket
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from labcontainer.ports import Held

    Address = tuple[str, int]

CHUNK = 65536
DATAGRAMS_LAST = 90  # seconds that answers to a datagram are waited for; Docker's
AT_ONCE = 256  # conversations of one port


class Proxy:
    """Carries what comes to a held port to an address, until it is closed."""

    def __init__(self, held: Held, address: Address) -> None:
        self._socket, self._address = held.socket, address
        self._end, self._told = os.pipe2(os.O_CLOEXEC)
        self._free = threading.BoundedSemaphore(AT_ONCE)
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        held.socket.setblocking(False)
        if held.port.protocol == "tcp":
            held.socket.listen(128)
        work = self._accept if held.port.protocol == "tcp" else self._receive
        self._thread = threading.Thread(target=work, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Carry nothing any more; the held port itself is its holder's."""
        os.close(self._told)
        self._thread.join()
        os.close(self._end)
        with self._lock:
            for one in self._open:
                _shut(one, socket.SHUT_RDWR)

    def _comes(self) -> bool:
        """Wait for the next client; false when it is the end."""
        waiting = select.poll()
        for fd in (self._socket.fileno(), self._end):
            waiting.register(fd, select.POLLIN)
        return self._end not in dict(waiting.poll())

    def _keep(self, *ends: socket.socket) -> None:
        with self._lock:
            self._open.update(ends)

    def _let_go(self, *ends: socket.socket) -> None:
        with self._lock:
            self._open.difference_update(ends)
        for one in ends:
            one.close()
        self._free.release()

    # --- connections ------------------------------------------------------------------------------

    def _accept(self) -> None:
        while self._comes():
            try:
                client, _ = self._socket.accept()
            except OSError:
                continue  # it has gone already
            if not self._free.acquire(blocking=False):
                client.close()
                continue
            self._keep(client)
            threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        client.setblocking(True)
        try:
            server = socket.create_connection(self._address, timeout=30)
        except OSError:
            self._let_go(client)
            return
        server.settimeout(None)
        self._keep(server)
        back = threading.Thread(target=_carry, args=(server, client), daemon=True)
        back.start()
        _carry(client, server)
        back.join()
        self._let_go(client, server)

    # --- datagrams --------------------------------------------------------------------------------

    def _receive(self) -> None:
        servers: dict[Address, socket.socket] = {}
        while self._comes():
            try:
                data, client = self._socket.recvfrom(CHUNK)
            except OSError:
                continue  # an answer of ours was refused: told here, and nobody's to hear
            server = servers.get(client)
            if server is None or server.fileno() < 0:
                if not self._free.acquire(blocking=False):
                    continue
                servers = {key: one for key, one in servers.items() if one.fileno() >= 0}
                server = servers[client] = self._connect_datagrams(client)
            try:
                server.send(data)
            except OSError:
                continue  # the container does not listen: datagrams get lost

    def _connect_datagrams(self, client: Address) -> socket.socket:
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.connect(self._address)
        server.settimeout(DATAGRAMS_LAST)
        self._keep(server)
        threading.Thread(target=self._answer, args=(server, client), daemon=True).start()
        return server

    def _answer(self, server: socket.socket, client: Address) -> None:
        try:
            while data := server.recv(CHUNK):
                self._socket.sendto(data, client)
        except OSError:
            pass  # nothing came for long, or nobody is there
        self._let_go(server)


def _carry(one: socket.socket, other: socket.socket) -> None:
    """All that one says to the other, and its end."""
    try:
        while data := one.recv(CHUNK):
            other.sendall(data)
    except OSError:
        _shut(one, socket.SHUT_RD)  # who can't be told more need not be heard
    _shut(other, socket.SHUT_WR)


def _shut(one: socket.socket, how: int) -> None:
    try:
        one.shutdown(how)
    except OSError:
        pass  # it is shut
