"""One thread that waits for the end of every container: a poll(2) over their monitors."""

from __future__ import annotations

import os
import select
import threading

from labcontainer import errors
from labcontainer.engine import moments
from labcontainer.runtime import jsontext
from labcontainer.runtime.zygote import Exit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from labcontainer.runtime.zygote import Handle

    Ended = Callable[[Handle, Exit | None], None]


class Watch:
    """Tells of ends, each in a thread of its own: what comes after an end may take its time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watched: dict[int, tuple[Handle, Ended]] = {}
        self._poll = select.poll()
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll.register(self._bell, select.POLLIN)
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    def add(self, handle: Handle, ended: Ended) -> None:
        """Call `ended(handle, exit)` when it has ended; None where nobody knows how."""
        with self._lock:
            self._watched[handle.fd] = (handle, ended)
            self._poll.register(handle.fd, select.POLLIN)
        os.eventfd_write(self._bell, 1)

    def close(self) -> None:
        """Watch no more; the containers run on."""
        self._closed = True
        os.eventfd_write(self._bell, 1)
        self._thread.join()
        os.close(self._bell)

    def _run(self) -> None:
        while not self._closed:
            for fd, _ in self._poll.poll():
                if fd == self._bell:
                    os.eventfd_read(fd)
                    continue
                with self._lock:
                    self._poll.unregister(fd)
                    handle, ended = self._watched.pop(fd)
                threading.Thread(target=_tell, args=(handle, ended), daemon=True).start()


def _tell(handle: Handle, ended: Ended) -> None:
    found: Exit | None = None
    try:
        found = handle.wait()
    except (errors.LabError, OSError, KeyError):
        pass  # the monitor was killed, or said something torn
    ended(handle, found)


def read_exit(home: str) -> Exit:
    """How a container ended, as its monitor wrote down; 137 where it was killed with it."""
    try:
        found = jsontext.load(f"{home}/exit.json")
        return Exit(**{name: found[name] for name in Exit._fields})
    except (OSError, errors.LabError, KeyError, TypeError):
        return Exit(status=137, oom=False, time=moments.now(), error="")
