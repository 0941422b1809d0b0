"""What the manager remembers: nodes, services and tasks, in memory and in one sqlite file.

What is in here is what was decided; what runs is asked of the nodes. Each change is written before
anything is done about it, so a manager that is killed finds all its decisions again, and does
those that were not done yet.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import msgspec

from labcontainer import errors
from labcontainer.cluster import placement
from labcontainer.engine.records import Records

Document = dict[str, Any]

LETTERS = "0123456789abcdefghijklmnopqrstuvwxyz"
LENGTH = 25  # of an id, as Docker's are


def new_id() -> str:
    """An id as swarm makes them: 25 digits and letters."""
    return "".join(secrets.choice(LETTERS) for _ in range(LENGTH))


@dataclass(slots=True)
class Remembered:
    """What all three have: `index` counts all changes, and is what an update has to name."""

    id: str
    index: int = 0
    created: float = 0.0
    updated: float = 0.0

    kind: ClassVar[str] = ""

    @property
    def name(self) -> str:
        """The name by which it is found; unique among its kind."""
        return self.id


@dataclass(slots=True)
class NodeRecord(Remembered):
    """A daemon, and what its manager says of it."""

    hostname: str = ""
    availability: str = placement.ACTIVE
    labels: dict[str, str] = field(default_factory=dict)

    kind: ClassVar[str] = "node"

    @property
    def name(self) -> str:
        """The name on the manager's command line."""
        return self.hostname


@dataclass(slots=True)
class UpdateStatus:
    """How an update goes: the API's UpdateStatus; `state` as reconcile has them."""

    state: str = ""
    started: float = 0.0
    completed: float = 0.0
    message: str = ""


@dataclass(slots=True)
class ServiceRecord(Remembered):
    """What is wanted: a ServiceSpec as it came, the one before it, and the version of its tasks.

    `auth` is the credential for the image's registry, as the header X-Registry-Auth brought it.
    """

    spec: Document = field(default_factory=dict)
    version: int = 1
    previous: Document | None = None
    previous_version: int = 0
    newest_version: int = 1
    update: UpdateStatus = field(default_factory=UpdateStatus)
    auth: str = ""

    kind: ClassVar[str] = "service"

    @property
    def name(self) -> str:
        """The name in its specification."""
        return str(self.spec["Name"])


@dataclass(slots=True)
class TaskRecord(Remembered):
    """A task: what was decided of it, the specification it was made from, and its container.

    `service` is its service's id, as in `task`, and `title` that one's name.
    """

    task: placement.Task = field(default_factory=lambda: placement.Task("", "", 0))
    service: str = ""
    title: str = ""
    spec: Document = field(default_factory=dict)
    ports: list[Document] = field(default_factory=list)
    node: str = ""
    container: str = ""
    exit_code: int = 0
    pid: int = 0

    kind: ClassVar[str] = "task"


Kind = TypeVar("Kind", NodeRecord, ServiceRecord, TaskRecord)


class State:
    """All of it; whoever changes it holds the manager's lock."""

    def __init__(self, path: str) -> None:
        self._records = Records(path)
        self.id = self._records.get_meta("cluster") or new_id()
        self._records.set_meta("cluster", self.id)
        self.created = float(self._records.get_meta("created") or time.time())
        self._records.set_meta("created", str(self.created))
        self.nodes = {one.id: one for one in self._load(NodeRecord)}
        self.services = {one.id: one for one in self._load(ServiceRecord)}
        self.tasks = {one.id: one for one in self._load(TaskRecord)}
        things: list[Remembered] = [
            *self.nodes.values(), *self.services.values(), *self.tasks.values()]  # fmt: skip
        self.index = max((one.index for one in things), default=0)

    def _load(self, kind: type[Kind]) -> list[Kind]:
        return [msgspec.convert(one, kind) for one in self._records.all(kind.kind)]

    def save(self, thing: NodeRecord | ServiceRecord | TaskRecord) -> None:
        """Remember a thing, new or changed.

        Raises:
            ExistsError: another one of its kind has its name.
            LabError: it can't be written.
        """
        self.index += 1
        thing.index, thing.updated = self.index, time.time()
        thing.created = thing.created or thing.updated
        self._records.save(thing.kind, thing.id, thing.name, msgspec.to_builtins(thing))
        self._table(thing)[thing.id] = thing

    def remove(self, thing: NodeRecord | ServiceRecord | TaskRecord) -> None:
        """Forget a thing."""
        self._records.delete(thing.kind, thing.id)
        self._table(thing).pop(thing.id, None)

    def _table(self, thing: Remembered) -> dict[str, Any]:
        tables: dict[str, dict[str, Any]] = {
            "node": self.nodes, "service": self.services, "task": self.tasks}  # fmt: skip
        return tables[thing.kind]

    def close(self) -> None:
        """Close the file."""
        self._records.close()

    # --- finding -------------------------------------------------------------------------------

    def node(self, word: str) -> NodeRecord:
        """A node by its id, name, or the beginning of its id. Raises NotFoundError."""
        return find(self.nodes, word, "node")

    def service(self, word: str) -> ServiceRecord:
        """A service, likewise. Raises NotFoundError."""
        return find(self.services, word, "service")

    def a_task(self, word: str) -> TaskRecord:
        """A task, likewise. Raises NotFoundError."""
        return find(self.tasks, word, "task")


def find(table: Mapping[str, Kind], word: str, kind: str) -> Kind:
    """The thing that a word names: an id, a name, or the beginning of one id alone.

    Raises:
        NotFoundError: none, in Docker's words. UsageError: several begin so.
    """
    if word in table:
        return table[word]
    for one in table.values():
        if one.name == word:
            return one
    found = [one for key, one in table.items() if word and key.startswith(word)]
    if len(found) > 1:
        raise errors.UsageError(f"{kind} {word} is ambiguous ({len(found)} matches found)")
    if not found:
        raise errors.NotFoundError(f"{kind} {word} not found")
    return found[0]
