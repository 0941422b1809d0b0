"""Published ports that packet rules can't turn to a container: a process carries what comes there.

As root that is what comes to an IPv6 address and is for an IPv4 one; rules turn a packet's
destination, not its family. Without root it is everything: the host's rules are root's.
"""

from __future__ import annotations

import os
import threading

from labcontainer.engine import programs
from labcontainer.engine.forwarder import Forwarder

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from labcontainer.ports import Held


class Forwarding:
    """The forwarder of one daemon, started for the first port, and anew when it was killed.

    `netns` opens the network namespace that the containers are reached from; `path` is the file in
    which the process is noted.
    """

    def __init__(self, path: str, netns: Callable[[], int]) -> None:
        self._path, self._netns = path, netns
        self._lock = threading.Lock()
        self._forwarder: Forwarder | None = None
        self._published: dict[socket.socket, tuple[Held, str]] = {}
        programs.end(path)

    def pid(self) -> int:
        """The number of the process, by which others find its network namespace.

        Raises:
            StateError: it ended before it was there.
        """
        with self._lock:
            return self._there().pid

    def _there(self) -> Forwarder:
        if self._forwarder is not None and self._forwarder.has_ended():
            self._forwarder.close()
            self._forwarder = None
        if self._forwarder is None:
            netns = self._netns()
            try:
                self._forwarder = Forwarder.start(netns)
            finally:
                os.close(netns)
            programs.note(self._path, self._forwarder.pid)
            for held, ip in self._published.values():
                self._forwarder.forward(held, ip)
        return self._forwarder

    def bind(self, pid: int) -> None:
        """Let another program end with the daemon as this one does.

        Raises:
            StateError: the process was killed just now. OSError: the other one has ended.
        """
        with self._lock:
            self._there().bind(pid)

    def publish(self, held: Held, ip: str) -> None:
        """Carry what comes to a held port to a container's address, and to no other any more.

        Raises:
            StateError: the process was killed just now.
        """
        self.withdraw(held)
        with self._lock:
            self._there().forward(held, ip)
            self._published[held.socket] = held, ip

    def withdraw(self, held: Held) -> None:
        """Carry nothing from this port any more; its connections break off. May be called again."""
        with self._lock:
            if self._published.pop(held.socket, None) and self._forwarder is not None:
                self._forwarder.forget(held)

    def close(self) -> None:
        """End the process."""
        with self._lock:
            if self._forwarder is not None:
                self._forwarder.close()
            self._forwarder = None
            programs.end(self._path)
