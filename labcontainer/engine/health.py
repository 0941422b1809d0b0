"""Health checks: a command in the container every so often, and what its answers add up to.

starting ── a success ──> healthy ── `Retries` failures in a row ──> unhealthy
"""

from __future__ import annotations

import os
import select
import threading
import time

from labcontainer import errors
from labcontainer.engine import moments

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from labcontainer.engine.container import Container
    from labcontainer.engine.engine import Engine

STARTING, HEALTHY, UNHEALTHY = "starting", "healthy", "unhealthy"
INTERVAL, TIMEOUT, START_INTERVAL, RETRIES = 30.0, 30.0, 5.0, 3  # seconds; Docker's
FOREVER = 1e8  # seconds, three years: no call takes the 292 that a document may ask for
KEPT, OUTPUT = 5, 4096  # answers that are shown, and bytes of each


class Health:
    """The checks of all running containers, a thread each for those that have one."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._bells: dict[str, int] = {}

    def begin(self, container: Container) -> None:
        """Check a container that runs, if it has a check."""
        test = (container.config["Healthcheck"] or {}).get("Test") or []
        if not test or test[0] == "NONE":
            return
        self.end(container)
        if container.state.health is None:
            container.state.health = {"Status": STARTING, "FailingStreak": 0, "Log": []}
        bell = os.eventfd(0, os.EFD_CLOEXEC)
        with self._lock:
            self._bells[container.id] = bell
        threading.Thread(target=self._run, args=(container, bell), name="health",
                         daemon=True).start()  # fmt: skip

    def _run(self, container: Container, bell: int) -> None:
        """A check's thread. Its bell is closed where nobody can ring it any more."""
        try:
            _Check(self._engine, container, bell).run()
        finally:
            with self._lock:
                if self._bells.get(container.id) == bell:
                    del self._bells[container.id]
                os.close(bell)

    def end(self, container: Container) -> None:
        """Check it no more."""
        with self._lock:
            bell = self._bells.pop(container.id, -1)
            if bell >= 0:
                os.eventfd_write(bell, 1)  # the thread closes it

    def close(self) -> None:
        """Check nothing any more."""
        with self._lock:
            for bell in self._bells.values():
                os.eventfd_write(bell, 1)
            self._bells.clear()


class _Check:
    """The thread of one container's check."""

    def __init__(self, engine: Engine, container: Container, bell: int) -> None:
        self._engine, self._container, self._bell = engine, container, bell
        given: dict[str, Any] = container.config["Healthcheck"]
        kind, *words = given["Test"]
        shell = container.config["Shell"] or ["/bin/sh", "-c"]
        self._args = [*shell, *words] if kind == "CMD-SHELL" else words
        self._interval = (given.get("Interval") or 0) / 1e9 or INTERVAL
        self._timeout = (given.get("Timeout") or 0) / 1e9 or TIMEOUT
        self._start_period = (given.get("StartPeriod") or 0) / 1e9
        self._start_interval = (given.get("StartInterval") or 0) / 1e9 or START_INTERVAL
        self._retries = given.get("Retries", 0) or RETRIES
        self._began = time.monotonic()

    def run(self) -> None:
        """Check until the container ends."""
        while not self._rings(self._pause()):
            self._probe()

    def _starting(self) -> bool:
        """Within the time in which failures do not count, unless it was healthy once."""
        health = self._container.state.health
        return (
            health is not None
            and health["Status"] == STARTING
            and time.monotonic() - self._began < self._start_period
        )

    def _pause(self) -> float:
        return min(self._start_interval, self._interval) if self._starting() else self._interval

    def _rings(self, seconds: float) -> bool:
        """Wait; true when there is nothing to check any more."""
        return bool(select.select([self._bell], [], [], min(seconds, FOREVER))[0])

    def _probe(self) -> None:
        begun = moments.now()
        status, output = self._ask()
        if status is None or self._rings(0):
            return
        self._add(begun, status, output)

    def _ask(self) -> tuple[int | None, str]:
        """The check's exit status and what it said; None where the container is gone."""
        asked = {"Cmd": self._args, "Env": None, "Tty": False, "User": "", "WorkingDir": "",
                 "Privileged": False, "AttachStdin": False, "AttachStdout": True,
                 "AttachStderr": True}  # fmt: skip
        execs = self._engine.execs
        try:
            exec_ = execs.create(self._container.id, asked)
            execs.claim(exec_)
            connection = execs.start(exec_)
        except errors.StateError:
            return None, ""
        except (errors.LabError, OSError) as error:
            return 126, str(error)
        try:
            output, whole = _read(connection, self._bell, min(self._timeout, FOREVER))
        except OSError as error:  # its monitor was killed
            return -1, str(error)
        finally:
            os.close(connection)
        if not whole:
            execs.kill(exec_)
            said = f"Health check exceeded timeout ({self._timeout:g}s)"
            return -1, f"{said}: {output}" if output else said
        exec_.ended.wait(min(self._timeout, FOREVER))
        return exec_.exit_code, output

    def _add(self, begun: str, status: int, output: str) -> None:
        container = self._container
        with container.lock:
            health = container.state.health
            if health is None or not container.state.running:
                return
            entry = {"Start": begun, "End": moments.now(), "ExitCode": status, "Output": output}
            before, streak = health["Status"], health["FailingStreak"]
            now = before
            if status == 0:
                now, streak = HEALTHY, 0
            elif not self._starting():
                streak += 1
                now = UNHEALTHY if streak >= self._retries else before
            container.state.health = {"Status": now, "FailingStreak": streak,
                                      "Log": [*health["Log"], entry][-KEPT:]}  # fmt: skip
        if now != before:
            self._engine.containers.changed(container, f"health_status: {now}")


def _read(connection: int, bell: int, seconds: float) -> tuple[str, bool]:
    """What a check says, without its frames; false where it was not done in time."""
    deadline = time.monotonic() + seconds
    data = b""
    while True:
        left = deadline - time.monotonic()
        ready = select.select([connection, bell], [], [], max(left, 0))[0]
        if not ready or bell in ready:
            return _unframed(data), False
        part = os.read(connection, 65536)
        if not part:
            return _unframed(data), True
        data = (data + part)[: OUTPUT * 2]


def _unframed(data: bytes) -> str:
    text = b""
    while len(data) >= 8:
        length = int.from_bytes(data[4:8], "big")
        text, data = text + data[8 : 8 + length], data[8 + length :]
    return text[:OUTPUT].decode(errors="replace")
