"""What a plan is made of, and how it is entered into the tasks.

A decision is no deed: `decide` says that a task is to start on a node, and nodes.py starts it. So
everything can be played through with records alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import count

from labcontainer.cluster import placement
from labcontainer.cluster.placement import Service, Task


@dataclass(frozen=True, slots=True)
class Start:
    """A new task in a slot; without a `node` it waits, for the `reason`.

    It comes after the task `after` ("": none), which is then history.
    """

    service: str
    slot: int | str
    node: str | None
    version: int
    reason: str = ""
    after: str = ""
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class Assign:
    """A task that waits gets its node; without one it waits on, for another `reason`."""

    task: str
    node: str | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Stop:
    """A task is no longer wanted."""

    task: str
    why: str


@dataclass(frozen=True, slots=True)
class Remove:
    """A task's record and its container go: nobody will ask for them."""

    task: str
    why: str


@dataclass(frozen=True, slots=True)
class Finish:
    """A service's update is done."""

    service: str


@dataclass(frozen=True, slots=True)
class Pause:
    """A service's update has failed and stands still."""

    service: str
    why: str


@dataclass(frozen=True, slots=True)
class Rollback:
    """A service's update has failed; the description before is wanted again."""

    service: str
    why: str


Action = Start | Assign | Stop | Remove | Finish | Pause | Rollback


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now, and when to look `again` though nothing has happened (None: never)."""

    actions: tuple[Action, ...]
    again: float | None = None


def decide(
    tasks: Iterable[Task], actions: Iterable[Action], services: Mapping[str, Service],
    now: float = 0.0, new_id: Callable[[], str] | None = None,
) -> list[Task]:  # fmt: skip
    """The tasks, after the actions are entered into them.

    That is a decision, no deed: a started task is `assigned`, a stopped one has only the desired
    state `shutdown`, unless it never had a node. `services` is by name. `new_id` makes the ids of
    new tasks; without it they are `SERVICE.SLOT.NUMBER`.
    """
    found = {task.id: task for task in tasks}
    for action in actions:
        if isinstance(action, Start):
            one = _started(action, services[action.service], now, found, new_id)
            found[one.id] = one
            if action.after in found:
                found[action.after] = replace(found[action.after], desired=placement.SHUTDOWN)
        elif isinstance(action, Assign):
            found[action.task] = _assigned(found[action.task], action, now)
        elif isinstance(action, Stop):
            found[action.task] = _stopped(found[action.task], now)
        elif isinstance(action, Remove):
            found.pop(action.task, None)
    return list(found.values())


def _started(
    action: Start, service: Service, now: float, there: Mapping[str, Task],
    new_id: Callable[[], str] | None,
) -> Task:  # fmt: skip
    names = (f"{service.name}.{action.slot}.{number}" for number in count(1))
    task_id = new_id() if new_id else next(name for name in names if name not in there)
    state = placement.ASSIGNED if action.node else placement.PENDING
    # Later than what was in the slot before, though the clock stand still or be put back.
    before = [task.created + 0.001 for task in there.values()
              if (task.service, task.slot) == (service.name, action.slot)]  # fmt: skip
    return Task(task_id, service.name, action.slot, action.node, state, version=action.version,
                reserve=service.reserve, ports=service.ports, attempt=action.attempt,
                created=max([now, *before]), since=now, error=action.reason)  # fmt: skip


def _assigned(task: Task, action: Assign, now: float) -> Task:
    if action.node is None:
        return replace(task, error=action.reason)
    return replace(task, node=action.node, state=placement.ASSIGNED, since=now, error="")


def _stopped(task: Task, now: float) -> Task:
    if task.node is None and not task.ended:  # nothing was ever begun
        return replace(task, desired=placement.SHUTDOWN, state=placement.SHUTDOWN, since=now)
    return replace(task, desired=placement.SHUTDOWN)
