"""One poll(2) over everything that a process waits for; each descriptor has its handler."""

from __future__ import annotations

import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

IN, OUT = select.POLLIN, select.POLLOUT


class Loop:
    """Descriptors and their handlers. Those watched first are served first."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._handlers: dict[int, Callable[[int], None]] = {}

    def watch(self, fd: int, handler: Callable[[int], None], events: int = IN) -> None:
        """Call `handler(events)` whenever there is something to do for `fd`; again: change it."""
        self._poll.register(fd, events)
        self._handlers[fd] = handler

    def forget(self, fd: int) -> None:
        """Watch a descriptor no longer; also one that was not watched."""
        if self._handlers.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def __contains__(self, fd: int) -> bool:
        return fd in self._handlers

    def turn(self, milliseconds: int | None = None) -> bool:
        """Wait until something can be done and do it; false when the time is over."""
        ready = self._poll.poll(milliseconds)
        for fd, events in ready:
            handler = self._handlers.get(fd)
            if handler is not None:
                handler(events)
        return bool(ready)
