"""`up` in the foreground: what the containers say, until they have ended or Ctrl-C is pressed.

before the start: attach to every container, so that not a line is lost
event start  (by a restart policy)   attach again
event die    "web-1 exited with code 0"; the last one ends `up`
Ctrl-C       stop in the reverse order;  Ctrl-C again: kill
"""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from labcontainer.client.api import ApiError, Client
from labcontainer.compose import observed, output, starting
from labcontainer.compose.happenings import Event, Happenings
from labcontainer.compose.model import Project
from labcontainer.compose.observed import Container, Containers
from labcontainer.compose.output import Printer
from labcontainer.compose.resources import Tell

INTERRUPTED = 130  # 128 + SIGINT


@dataclass
class Attached:
    """One `up` in the foreground; `silent` are services whose output is not shown."""

    client: Client
    project: Project
    there: Containers
    happenings: Happenings
    printer: Printer
    tell: Tell
    silent: Collection[str] = ()
    abort: bool = False
    abort_on_failure: bool = False
    exit_code_from: str = ""
    timeout: int | None = None
    _threads: list[threading.Thread] = field(default_factory=list)
    _seen: dict[str, list[bytes]] = field(default_factory=dict)
    _status: int | None = None
    _restarts: dict[str, int] = field(default_factory=dict)  # of those that ran before

    def run(self, start: Callable[[], None]) -> int:
        """Attach, start, and stay until the end; the exit status of `up`.

        Raises:
            LabError: starting failed.
        """
        with self.happenings.subscription() as events:
            try:
                for one in self._all():
                    found = self._inspect(one.id) if one.running else None
                    self._restarts[one.id] = found["RestartCount"] if found else 0
                    self._attach(one)
                start()
                self._stay(events)
                status = self._status or 0
            except KeyboardInterrupt:
                status = self._stop(
                    "Gracefully Stopping... press Ctrl+C again to force", INTERRUPTED
                )
        for thread in self._threads:
            thread.join(timeout=5)
        return status

    def _all(self) -> list[Container]:
        return [one for name in self.project.services for one in self.there.get(name, ())]

    def _attach(self, one: Container) -> None:
        if one.service not in self.silent:
            self.printer.know([one.short_name])
            self._show(one, output.attached(self.client, one))

    def _attach_again(self, one: Container, since: int) -> None:
        """Show a restarted container from its last end on: it may have said all already.

        dockerd ends a log that is followed when the container ends; another daemon may go on. So
        what was shown is remembered by its time.
        """
        if one.service not in self.silent:
            word = f"{since // 10**9}.{since % 10**9:09}"
            said = output.logs(self.client, one, follow=True, since=word, timestamps=True)
            self._show(one, output.unseen(said, self._seen.setdefault(one.id, [b""])))

    def _show(self, one: Container, pieces: Iterator[tuple[int, bytes]]) -> None:
        thread = threading.Thread(
            target=output.follow, args=(self.printer, one.short_name, pieces), daemon=True
        )
        thread.start()
        self._threads.append(thread)

    def _stay(self, events: queue.SimpleQueue[Event | None]) -> None:
        """Until the last container has ended for good.

        All of them run or were just started, so each will end once more than it is restarted.
        """
        by_id = {one.id: one for one in self._all()}
        waiting, deaths, ended = set(by_id), dict.fromkeys(by_id, 0), dict[str, int]()
        while waiting:
            event = events.get()
            if event is None:
                return
            one = by_id.get(event["Actor"]["ID"])
            if one is None:
                continue
            if event["Action"] == "die":
                deaths[one.id] += 1
                ended[one.id] = int(event["timeNano"])
                code = self._told(one, event)
                if self._is_final(one, deaths[one.id]):
                    waiting.discard(one.id)
                    self._end_all(code)
            elif event["Action"] == "start" and deaths[one.id]:
                waiting.add(one.id)
                self._attach_again(one, ended[one.id])
            elif event["Action"] == "destroy":
                waiting.discard(one.id)

    def _told(self, one: Container, event: Event) -> int:
        """Tell of a container's end; its exit status."""
        code = int(event["Actor"]["Attributes"].get("exitCode", 0))
        self.printer.tell(f"{one.short_name} exited with code {code}")
        if self.exit_code_from == one.service:
            self._status = code
        return code

    def _end_all(self, code: int) -> None:
        """Stop all others, where the end of one is to end them; their ends are told too."""
        if not (self.abort or (self.abort_on_failure and code)):
            return
        self.abort = self.abort_on_failure = False
        if not self.exit_code_from:
            self._status = code
        self._stop("Aborting on container exit...", 0)

    def _is_final(self, one: Container, deaths: int) -> bool:
        """Whether no restart policy starts it again; `deaths` are those that we saw."""
        found = self._inspect(one.id)
        if found is None:
            return True
        if found["State"]["Running"] or found["State"]["Restarting"]:
            return False
        return deaths > int(found["RestartCount"]) - self._restarts.get(one.id, 0)

    def _inspect(self, identity: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self.client.get(f"/containers/{identity}/json")
        except ApiError as error:
            if error.status != 404:
                raise
            return None
        return found

    def _stop(self, why: str, status: int) -> int:
        print(why, file=sys.stderr, flush=True)
        now = observed.containers(self.client, self.project.name)
        cancel = lambda: self._kill(now)  # noqa: E731
        try:
            starting.stop(self.client, self.project, now, self.tell, self.timeout, cancel)
        except KeyboardInterrupt:
            pass  # they were killed, and have ended
        return status

    def _kill(self, there: Containers) -> None:
        for members in there.values():
            for one in members:
                self.tell(f"Container {one.name}", "Killing")
        try:
            starting.kill_all(self.client, there)
        except ApiError as error:
            print(f"Error response from daemon: {error}", file=sys.stderr)
