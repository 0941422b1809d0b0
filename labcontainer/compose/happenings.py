"""What happens to a project's containers, as the daemon tells it: whoever waits is woken, nobody
asks again and again.

One thread reads `/events`; each waiter has a queue of its own. Waiters subscribe first and look
second: what happens in between is in the queue.
"""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from labcontainer import errors
from labcontainer.client import api, http
from labcontainer.compose import labels

Event = dict[str, Any]
Found = TypeVar("Found")


class InterruptedWaitError(errors.LabError):
    """Waiting was given up, since the user asked for that or the daemon has gone."""


class WaitTimeoutError(errors.LabError):
    """What was waited for did not happen in time."""


class Happenings:
    """The events of a project's containers, from now on."""

    def __init__(self, client: api.Client, project: str) -> None:
        asked = {"type": ["container"], "label": [f"{labels.PROJECT}={project}"]}
        self._response = client.send("GET", "/events", {"filters": asked})
        self._queues: list[queue.SimpleQueue[Event | None]] = []
        self._lock = threading.Lock()
        self._ended = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def __enter__(self) -> Happenings:
        return self

    def __exit__(self, *_about: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening; all who wait are told so."""
        self._end()
        try:
            self._response.sock.shutdown(socket.SHUT_RDWR)  # type: ignore[attr-defined]
        except OSError:
            pass  # the daemon has closed it already
        if threading.current_thread() is not self._thread:
            self._thread.join()
        self._response.close()

    def interrupt(self) -> None:
        """Tell all who wait to give up."""
        self._end()

    def _end(self) -> None:
        with self._lock:
            self._ended = True
            for one in self._queues:
                one.put(None)

    def _read(self) -> None:
        try:
            for event in api.objects(self._response):
                with self._lock:
                    for one in self._queues:
                        one.put(event)
        except (OSError, http.ProtocolError):
            pass  # closed, or the daemon has gone: whoever waits is told below
        self._end()

    @contextmanager
    def subscription(self) -> Iterator[queue.SimpleQueue[Event | None]]:
        """A queue of all events from now on; None is the end."""
        own: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        with self._lock:
            self._queues.append(own)
            if self._ended:
                own.put(None)
        try:
            yield own
        finally:
            with self._lock:
                self._queues.remove(own)

    def wait(
        self, look: Callable[[], Found | None], identities: set[str], seconds: float | None = None
    ) -> Found:
        """Call `look` now and after each event of these containers, until it gives a result.

        Raises:
            WaitTimeoutError: so many seconds have passed.
            InterruptedWaitError: waiting was given up.
        """
        ends = None if seconds is None else time.monotonic() + seconds
        with self.subscription() as events:
            while (found := look()) is None:
                self._next(events, identities, ends)
        return found

    def _next(
        self, events: queue.SimpleQueue[Event | None], identities: set[str], ends: float | None
    ) -> None:
        while True:
            left = None if ends is None else max(ends - time.monotonic(), 0)
            try:
                event = events.get(timeout=left)
            except queue.Empty:
                raise WaitTimeoutError("timeout waiting for dependencies") from None
            if event is None:
                raise InterruptedWaitError("waiting was interrupted")
            if event["Actor"]["ID"] in identities and not event["Action"].startswith("exec_"):
                return  # a health check's own programs change nothing
