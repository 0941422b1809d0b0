"""Clients that attach before their container runs, and those who wait for something of it.

`docker run` attaches, waits and only then starts: whoever is waiting is connected to the new
monitor before the program runs, so that no byte is missed.
"""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager

from labcontainer.kernel import sockets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from labcontainer.engine.container import Container


class Seat:
    """A place at a container. `running`: it runs already, and nothing is to be waited for.

    Else `bell` is readable when it is decided what `take` gives.
    """

    def __init__(self, running: bool) -> None:
        self.running = running
        self.bell = os.eventfd(0, os.EFD_CLOEXEC)
        self._fd = -1

    def give(self, fd: int) -> None:
        """Say what became of it."""
        self._fd = fd
        os.eventfd_write(self.bell, 1)

    def take(self) -> int:
        """A descriptor of the monitor, the caller's from now on; -1 where the start failed."""
        fd, self._fd = self._fd, -1
        return fd

    def close(self) -> None:
        """Give up what was not taken."""
        if self._fd >= 0:
            os.close(self._fd)
        os.close(self.bell)


class Attachments:
    """Seats and bells of all containers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seats: dict[str, list[Seat]] = {}
        self._bells: dict[str, set[int]] = {}

    @contextmanager
    def seat(self, container: Container) -> Iterator[Seat]:
        """A place for the next start of a container, or a word that it runs.

        The container's lock decides which: a start that is under way has counted the seats.
        """
        with container.lock:
            seat = Seat(container.state.running)
            with self._lock:
                if not seat.running:
                    self._seats.setdefault(container.id, []).append(seat)
        try:
            yield seat
        finally:
            with self._lock:
                seats = self._seats.get(container.id, [])
                if seat in seats:
                    seats.remove(seat)
                if not seats:
                    self._seats.pop(container.id, None)
            seat.close()

    def connect(self, container: Container) -> None:
        """Connect all who wait, now that the monitor listens and the program waits."""
        with self._lock:
            for seat in self._seats.pop(container.id, []):
                seat.give(sockets.connect(f"{container.home}/attach"))

    def dismiss(self, container: Container) -> None:
        """The start has failed: nobody is to wait for it."""
        with self._lock:
            for seat in self._seats.pop(container.id, []):
                seat.give(-1)

    @contextmanager
    def bell(self, container: Container) -> Iterator[int]:
        """A descriptor that is readable after each change of a container's state."""
        fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        with self._lock:
            self._bells.setdefault(container.id, set()).add(fd)
        try:
            yield fd
        finally:
            with self._lock:
                bells = self._bells[container.id]
                bells.discard(fd)
                if not bells:
                    del self._bells[container.id]
            os.close(fd)

    def ring(self, container: Container) -> None:
        """The container has changed."""
        with self._lock:
            for fd in self._bells.get(container.id, ()):
                os.eventfd_write(fd, 1)
