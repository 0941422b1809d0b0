"""Where a task goes: filters say which nodes can have it, then it goes to the emptiest.

    nodes ── available? ── room? ── constraints? ── ports? ── limit? ──> fewest tasks of this
                                                                         service, then fewest tasks

Pure: it looks at records and decides. Source: swarmkit, manager/scheduler (its filters, their
order and their words) and its strategy "spread".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from labcontainer import errors

# What may be done with a node: new tasks; none new; none at all.
ACTIVE, PAUSE, DRAIN = "active", "pause", "drain"

# A task's life, in this order. PENDING waits for a node; ASSIGNED has one, and no container yet.
PENDING, ASSIGNED, PREPARING, STARTING, RUNNING = (
    "pending", "assigned", "preparing", "starting", "running")  # fmt: skip
# How it can have ended: by itself with 0 or not, stopped as asked, never started.
COMPLETE, FAILED, SHUTDOWN, REJECTED = "complete", "failed", "shutdown", "rejected"
ENDED = frozenset({COMPLETE, FAILED, SHUTDOWN, REJECTED})


@dataclass(frozen=True, slots=True)
class Reserve:
    """What a task needs for itself: bytes of `memory`, and `cpus`. 0 is nothing."""

    memory: int = 0
    cpus: float = 0.0


@dataclass(frozen=True, slots=True)
class Node:
    """A machine: what it has (`memory` in bytes, `cpus`), and whether it may be used.

    `ready` is whether it answers; `labels` are the manager's own words for it.
    """

    name: str
    availability: str = ACTIVE
    ready: bool = True
    memory: int = 0
    cpus: float = 0.0
    labels: Mapping[str, str] = field(default_factory=dict)
    role: str = "worker"
    id: str = ""


@dataclass(frozen=True, slots=True)
class Restart:
    """When a task that has ended is started again: `condition` none, on-failure or any.

    `delay` is in seconds; `max_attempts` 0 is no limit.
    """

    condition: str = "any"
    delay: float = 5.0
    max_attempts: int = 0


@dataclass(frozen=True, slots=True)
class Update:
    """How tasks of an old version are replaced: `parallelism` at once (0: all).

    `delay` in seconds after each; `order` stop-first or start-first; `on_failure` pause, continue
    or rollback, once more than `max_failure_ratio` of the tasks have failed. The last ones are
    watched for `monitor` seconds before the update counts as done.
    """

    parallelism: int = 1
    delay: float = 0.0
    order: str = "stop-first"
    on_failure: str = "pause"
    max_failure_ratio: float = 0.0
    monitor: float = 5.0


@dataclass(frozen=True, slots=True)
class Service:
    """What is wanted: so many `replicas`, or None: one on each node ("global").

    `version` counts the descriptions of its tasks: a task with another one is out of date.
    `ports` are those published on the node, as `8080/tcp`. `update_state` is "" or that of the
    update under way (see reconcile), begun at `updated` (seconds since the epoch).
    """

    name: str
    replicas: int | None = 1
    reserve: Reserve = Reserve()
    constraints: tuple[str, ...] = ()
    version: int = 1
    ports: tuple[str, ...] = ()
    max_per_node: int = 0
    restart: Restart = Restart()
    update: Update = Update()
    update_state: str = ""
    updated: float = 0.0


@dataclass(frozen=True, slots=True)
class Task:
    """One container of a service, wanted or observed.

    `slot` is its place in the service: 1, 2, … of a replicated one, the node's name of a global
    one. `node` is None while it waits for one, and then `error` says why. `desired` is what is
    wanted of it: running or shutdown. `attempt` counts the restarts before it in its slot.
    `created` and `since` (when `state` was reached) are seconds since the epoch.
    """

    id: str
    service: str
    slot: int | str
    node: str | None = None
    state: str = PENDING
    desired: str = RUNNING
    version: int = 1
    reserve: Reserve = Reserve()
    ports: tuple[str, ...] = ()
    attempt: int = 0
    created: float = 0.0
    since: float = 0.0
    error: str = ""

    @property
    def ended(self) -> bool:
        """Whether it is over, however it was."""
        return self.state in ENDED

    @property
    def live(self) -> bool:
        """Whether it is wanted and not over."""
        return self.desired == RUNNING and not self.ended


@dataclass(frozen=True, slots=True)
class Placement:
    """A node's name; or None, and the reason."""

    node: str | None
    reason: str = ""


def place(service: Service, tasks: Iterable[Task], nodes: Sequence[Node]) -> Placement:
    """The node for one more task of a service: the emptiest of those that can have it.

    `tasks` are those of all services. One that is being stopped still takes its room.

    Raises:
        UsageError: a constraint is none.
    """
    there = Occupied(tasks)
    refused: Counter[str] = Counter()
    fit: list[Node] = []
    for node in nodes:
        if why := refusal(service, node, there):
            refused[why] += 1
        else:
            fit.append(node)
    if not fit:
        return Placement(None, _reason(refused))
    best = min(fit, key=lambda one: (there.of(service, one), there.count[one.name], one.name))
    return Placement(best.name)


class Occupied:
    """What the tasks that have a node and are not over take of it."""

    def __init__(self, tasks: Iterable[Task]) -> None:
        self.count: Counter[str] = Counter()
        self.memory: Counter[str] = Counter()
        self.nano_cpus: Counter[str] = Counter()
        self.ports: set[tuple[str, str]] = set()
        self._services: Counter[tuple[str, str]] = Counter()
        for task in tasks:
            if task.node is not None and not task.ended:
                self._add(task, task.node)

    def _add(self, task: Task, node: str) -> None:
        self.count[node] += 1
        self.memory[node] += task.reserve.memory
        self.nano_cpus[node] += nano(task.reserve.cpus)
        self.ports |= {(node, port) for port in task.ports}
        self._services[task.service, node] += 1

    def of(self, service: Service, node: Node) -> int:
        """Tasks of a service there."""
        return self._services[service.name, node.name]


def nano(cpus: float) -> int:
    """Billionths of a processor, as Docker counts them: sums of fractions would be inexact."""
    return round(cpus * 10**9)


def refusal(service: Service, node: Node, there: Occupied) -> str:
    """Why a node can't have one more task of a service; "" when it can."""
    if not node.ready or node.availability != ACTIVE:
        return "not available for new tasks"
    need = service.reserve
    if need.memory and need.memory > node.memory - there.memory[node.name]:
        return "insufficient resources"
    if need.cpus and nano(need.cpus) > nano(node.cpus) - there.nano_cpus[node.name]:
        return "insufficient resources"
    if not satisfies(node, service.constraints):
        return "scheduling constraints not satisfied"
    if any((node.name, port) in there.ports for port in service.ports):
        return "host-mode port already in use"
    if service.max_per_node and there.of(service, node) >= service.max_per_node:
        return "max replicas per node limit exceed"  # swarmkit's word
    return ""


def _reason(refused: Counter[str]) -> str:
    """Swarm's sentence: `no suitable node (insufficient resources on 3 nodes)`."""
    if not refused:
        return "no suitable node"
    parts = [_counted(why, count) for why, count in refused.most_common()]
    return f"no suitable node ({'; '.join(parts)})"


def _counted(why: str, count: int) -> str:
    nodes = "1 node" if count == 1 else f"{count} nodes"
    return f"{nodes} {why}" if why.startswith("not ") else f"{why} on {nodes}"


# --- constraints ----------------------------------------------------------------------------------


def satisfies(node: Node, constraints: Iterable[str]) -> bool:
    """Whether a node is as all of the constraints say.

    Raises:
        UsageError: one of them is none.
    """
    return all(_holds(node, *parse_constraint(one)) for one in constraints)


def parse_constraint(text: str) -> tuple[str, str, str]:
    """(what, == or !=, value) of `node.hostname==web1`, `node.labels.disk!=ssd`, `node.role==…`.

    Raises:
        UsageError: it is no constraint.
    """
    for operator in ("==", "!="):
        what, found, value = (part.strip() for part in text.partition(operator))
        if not found:
            continue
        known = what in ("node.id", "node.hostname", "node.role") or (
            what.startswith("node.labels.") and what != "node.labels."
        )
        if known and value:
            return what, operator, value
    raise errors.UsageError(
        f"constraint {text!r}: it is node.hostname, node.id, node.role or node.labels.NAME, "
        "then == or !=, then a value"
    )


def _holds(node: Node, what: str, operator: str, value: str) -> bool:
    if what.startswith("node.labels."):
        has = node.labels.get(what.removeprefix("node.labels."), "")
    else:
        has = {"node.id": node.id, "node.hostname": node.name, "node.role": node.role}[what]
    return (has.lower() == value.lower()) == (operator == "==")
