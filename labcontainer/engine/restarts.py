"""When a container that has ended is started again: Docker's policies, and a pause that grows."""

from __future__ import annotations

import threading

from labcontainer.engine import moments

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from labcontainer.engine.container import Container

FIRST, LONGEST = 0.1, 60.0  # seconds of the pause: it doubles
STEADY = 10.0  # seconds of running after which it begins anew


class Restarts:
    """Pauses that are under way, by container."""

    def __init__(self, start: Callable[[Container], None]) -> None:
        self._start = start
        self._lock = threading.Lock()
        self._timers: dict[str, threading.Timer] = {}
        self._pauses: dict[str, float] = {}
        self.closed = False  # nothing is started any more

    def wanted(self, container: Container) -> bool:
        """Whether one that has just ended is to be started again."""
        policy = container.host["RestartPolicy"]
        if container.stopped_by_user or container.host["AutoRemove"]:
            return False
        if policy["Name"] == "on-failure":
            most = policy["MaximumRetryCount"]
            return container.state.exit_code != 0 and (not most or container.restart_count < most)
        return policy["Name"] in ("always", "unless-stopped")

    def after_boot(self, container: Container) -> bool:
        """Whether one that had ended is to run when the daemon starts."""
        name = container.host["RestartPolicy"]["Name"]
        return name == "always" or (name == "unless-stopped" and not container.stopped_by_user)

    def schedule(self, container: Container) -> None:
        """Start it after its pause."""
        state = container.state
        lasted = 0.0
        if moments.NEVER not in (state.started_at, state.finished_at):
            lasted = moments.moment(state.finished_at) - moments.moment(state.started_at)
        with self._lock:
            if self.closed:
                return
            before = self._pauses.get(container.id, 0.0)
            pause = FIRST if lasted >= STEADY or not before else min(before * 2, LONGEST)
            self._pauses[container.id] = pause
            timer = threading.Timer(pause, self._start, (container,))
            timer.daemon = True
            self._timers[container.id] = timer
            timer.start()

    def cancel(self, container: Container) -> None:
        """Forget a start that is waited for."""
        with self._lock:
            timer = self._timers.pop(container.id, None)
            self._pauses.pop(container.id, None)
        if timer is not None:
            timer.cancel()

    def close(self) -> None:
        """Forget them all, and take no more."""
        with self._lock:
            self.closed = True
            for timer in self._timers.values():
                timer.cancel()
            self._timers.clear()
