"""What happens, told to whoever listens: Docker's events.

Each listener has a queue of its own; one that does not take its events for long is dropped, so that
it costs no memory without end. The last events are kept for `since`.
"""

from __future__ import annotations

import collections
import os
import threading
import time

from labcontainer.engine import filters

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    Event = dict[str, Any]
    Filters = Mapping[str, list[str]]

KEPT = 256  # Docker's number
BEHIND = 4096  # events that a listener may be behind


class Listener:
    """One that listens; poll `fd` for reading, then `take`."""

    def __init__(self, events: Events, wanted: Filters) -> None:
        self._events = events
        self.wanted = wanted
        self._queue: collections.deque[Event] = collections.deque()
        self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.lost = False

    def put(self, event: Event) -> None:
        """Hear of an event (called with the lock of Events)."""
        if len(self._queue) >= BEHIND:
            self.lost = True
        if not self.lost and matches(event, self.wanted):
            self._queue.append(event)
            os.eventfd_write(self.fd, 1)

    def take(self) -> list[Event]:
        """What was heard since the last time."""
        try:
            os.eventfd_read(self.fd)
        except BlockingIOError:
            pass
        found = []
        while self._queue:
            found.append(self._queue.popleft())
        return found

    def close(self) -> None:
        """Listen no more."""
        self._events.forget(self)
        os.close(self.fd)

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Events:
    """The engine's one source of events."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: set[Listener] = set()
        self._past: collections.deque[Event] = collections.deque(maxlen=KEPT)

    @property
    def listeners(self) -> int:
        """How many listen."""
        return len(self._listeners)

    def tell(self, kind: str, action: str, identity: str, **attributes: str) -> None:
        """Something has happened: `tell("container", "start", id, name="web", image="busybox")`."""
        self.tell_all(kind, action, identity, attributes)

    def tell_all(
        self, kind: str, action: str, identity: str, attributes: Mapping[str, str],
        scope: str = "local",
    ) -> None:  # fmt: skip
        """The same with the attributes in a mapping: labels may have any name."""
        nanos = time.time_ns()
        event: Event = {
            "Type": kind,
            "Action": action,
            "Actor": {"ID": identity, "Attributes": dict(attributes)},
            "scope": scope,
            "time": nanos // 10**9,
            "timeNano": nanos,
        }
        if kind in ("container", "image"):  # fields of before 1.22, which Docker still sends
            event |= {"status": action, "id": identity}
        if kind == "container":
            event["from"] = attributes.get("image", "")
        with self._lock:
            self._past.append(event)
            for listener in self._listeners:
                listener.put(event)

    def listen(self, wanted: Filters, since: float | None = None) -> Listener:
        """Listen from now on, or from a time (seconds) that may be past."""
        listener = Listener(self, wanted)
        with self._lock:
            if since is not None:
                for event in self._past:
                    if event["timeNano"] >= since * 1e9:
                        listener.put(event)
            self._listeners.add(listener)
        return listener

    def forget(self, listener: Listener) -> None:
        """Tell a listener no more."""
        with self._lock:
            self._listeners.discard(listener)


def matches(event: Event, wanted: Filters) -> bool:
    """Whether an event passes Docker's filters: of one key any, of several keys all."""
    actor, attributes = event["Actor"]["ID"], event["Actor"]["Attributes"]
    for key, values in wanted.items():
        if key == "event":
            action = event["Action"]
            passed = action in values or action.partition(":")[0] in values
        elif key == "type":
            passed = event["Type"] in values
        elif key == "label":
            passed = filters.labels(attributes, values)
        elif key == "scope":
            passed = event["scope"] in values
        elif key == "image":
            passed = _is_image(event, values)
        else:  # container, volume, network, daemon: by id, beginning of an id, or name
            passed = event["Type"] == key and any(
                value == attributes.get("name") or actor.startswith(value) for value in values
            )
        if not passed:
            return False
    return True


def _is_image(event: Event, values: list[str]) -> bool:
    attributes = event["Actor"]["Attributes"]
    name = attributes.get("image" if event["Type"] == "container" else "name", "")
    names = (name, name.partition(":")[0], event["Actor"]["ID"])
    return event["Type"] in ("image", "container") and any(value in names for value in values)
