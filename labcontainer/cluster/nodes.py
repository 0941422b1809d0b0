"""A node as its manager sees it: a daemon, the containers on it that are tasks, and work on them.

    watcher    ── /info, /containers/json ── /events ───────────> seen: task -> what it is
               └─ nothing heard for a while: /_ping; no answer ──> not connected
    workers    <── begin, end, clear away: one at a time for each task

Nothing is asked again and again: the daemon's own event stream tells what changes. Whoever is told
of a change (`tell`) looks at `connected`, `seen` and `refused`.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from labcontainer import errors
from labcontainer.client import api, http
from labcontainer.client.address import Address
from labcontainer.cluster import containers
from labcontainer.cluster.containers import Seen

Document = dict[str, Any]

BEAT = 2.0  # seconds without an event after which the daemon is asked whether it lives
PATIENCE = 15.0  # seconds that it may take for an answer
PULL = 600.0  # seconds without progress after which a pull is given up
PAUSE = 0.5  # seconds before the next attempt to connect, or to do what failed
WORKERS = 8  # tasks of one node that are begun or ended at once
TROUBLE = (errors.LabError, OSError)


@dataclass(frozen=True, slots=True)
class Begin:
    """A task's container is to run: made, if it is not there, by this name and body."""

    task: str
    name: str
    body: Document = field(compare=False)
    auth: str = ""


@dataclass(frozen=True, slots=True)
class End:
    """A task's container is to be stopped; killed after so many seconds."""

    task: str
    container: str
    seconds: int


@dataclass(frozen=True, slots=True)
class Clear:
    """A container that belongs to no task any more is to be stopped and removed."""

    task: str
    container: str
    seconds: int


Job = Begin | End | Clear


class Agent:
    """One node. `description` is its daemon's /info; `lost` when it was last connected.

    `refused` has the daemon's words for tasks that it can't begin.
    """

    def __init__(self, name: str, node_id: str, where: Address, tell: Callable[[], None]) -> None:
        self.name, self.node_id, self.where = name, node_id, where
        self.connected = False
        self.lost = time.monotonic()
        self.problem = ""
        self.description: Document = {}
        self.seen: dict[str, Seen] = {}
        self.refused: dict[str, str] = {}
        self.busy: set[str] = set()
        self._tell = tell
        self._looking = threading.Lock()  # looked at and noted down as one: the newest look counts
        self._ending = threading.Event()
        self._workers = ThreadPoolExecutor(WORKERS, f"node-{name}")
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._watcher.start()

    def close(self) -> None:
        """Do nothing more; what is under way may come to its end without us."""
        self._ending.set()
        self._workers.shutdown(wait=False, cancel_futures=True)

    def client(self, patience: float = PATIENCE) -> api.Client:
        """A client of its daemon."""
        return api.Client(self.where, patience)

    # --- watching -------------------------------------------------------------------------------

    def _watch(self) -> None:
        while not self._ending.is_set():
            try:
                self._follow()
            except TROUBLE as error:
                self.problem = str(error)
            except Exception as error:  # a daemon that answers nonsense is a node out of order
                self.problem = f"{type(error).__name__}: {error}"
            self._lose()
            self._ending.wait(PAUSE)

    def _lose(self) -> None:
        if self.connected:
            self.connected, self.lost = False, time.monotonic()
            print(f"node {self.name} is lost: {self.problem or 'it hung up'}", file=sys.stderr)
            self._tell()

    def _follow(self) -> None:
        """Watch until the connection ends. Events are asked for first: nothing is missed."""
        client = self.client()
        labels = {"label": [f"{containers.NODE_ID}={self.node_id}"]}
        wanted = {**labels, "type": ["container"]}
        response = client.send("GET", "/events", {"filters": wanted})
        try:
            self.description = client.get("/info")
            with self._looking:
                found = client.get("/containers/json", all=1, filters=labels)
                looks = [self._inspect(client, one["Id"]) for one in found]
                self.seen = {one.task: one for one in looks if one is not None}
            self.connected, self.problem = True, ""
            print(f"node {self.name} is ready", file=sys.stderr)
            self._tell()
            for event in api.objects(self._parts(response, client)):
                self._look(event["Actor"]["ID"], client)
                self._tell()
        finally:
            response.close()

    def _parts(self, response: http.Response, client: api.Client) -> Iterator[bytes]:
        """The stream of events as it comes; in long silence the daemon is asked for a sign."""
        while not self._ending.is_set():
            if not response.ready(BEAT):
                client.send("GET", "/_ping", {}).close()
            elif data := response.read():
                yield data
            else:
                return

    def _look(self, container: str, client: api.Client) -> None:
        """Look at one container and note down what is seen."""
        with self._looking:
            found = self._inspect(client, container)
            if found is not None:
                self.seen[found.task] = found
                return
            for task, one in list(self.seen.items()):
                if one.container == container:
                    del self.seen[task]

    def _inspect(self, client: api.Client, container: str) -> Seen | None:
        try:
            found = client.get(f"/containers/{container}/json")
        except api.ApiError as error:
            if error.status != 404:
                raise
            return None  # it has gone meanwhile
        return containers.seen(found)

    # --- working --------------------------------------------------------------------------------

    def give(self, job: Job) -> None:
        """Have a job done, unless its task has one; called with the manager's lock."""
        if job.task not in self.busy and self.connected and not self._ending.is_set():
            self.busy.add(job.task)
            self._workers.submit(self._work, job)

    def _work(self, job: Job) -> None:
        try:
            self._do(job)
        except api.ApiError as error:
            if isinstance(job, Begin) and error.status != 503:  # 503: the daemon is going down
                self.refused[job.task] = str(error)
            else:
                self._complain(job, error)
        except Exception as error:
            self._complain(job, error)
        finally:
            self.busy.discard(job.task)
            self._tell()

    def _complain(self, job: Job, error: Exception) -> None:
        """What went wrong is done again, when the manager is told: not at once."""
        print(f"node {self.name}: {type(job).__name__} {job.task}: {error}", file=sys.stderr)
        self._ending.wait(PAUSE)

    def _do(self, job: Job) -> None:
        client = self.client()
        if isinstance(job, Begin):
            container = self._made(job, client)
            try:
                client.post(f"/containers/{container}/start")
            finally:
                self._look(container, client)
            return
        slow = self.client(PATIENCE + job.seconds)
        try:
            slow.post(f"/containers/{job.container}/stop", t=job.seconds)
            if isinstance(job, Clear):
                client.delete(f"/containers/{job.container}", force=1, v=1)
        except api.ApiError as error:
            if error.status != 404:
                raise
        self._look(job.container, client)

    def _made(self, job: Begin, client: api.Client) -> str:
        """The id of the task's container: made now, or by a manager that was killed then."""
        try:
            return str(client.post("/containers/create", job.body, name=job.name)["Id"])
        except api.ApiError as error:
            if error.status == 409:
                return str(client.get(f"/containers/{job.name}/json")["Id"])
            if error.status != 404:
                raise
            missing = error
        self._pull(job, missing)
        return str(client.post("/containers/create", job.body, name=job.name)["Id"])

    def _pull(self, job: Begin, missing: api.ApiError) -> None:
        """Get the image; where that fails, that it is missing is what counts."""
        headers = {"X-Registry-Auth": job.auth} if job.auth else {}
        image = job.body["Image"]
        try:
            for line in self.client(PULL).stream(
                "POST", "/images/create", headers=headers, fromImage=image
            ):
                if "error" in line:
                    raise errors.LabError(str(line["error"]))
        except errors.LabError as error:
            print(f"node {self.name}: pull {image}: {error}", file=sys.stderr)
            raise missing from error
