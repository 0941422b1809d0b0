"""What must be done so that the tasks are as the services say: desired, observed, the difference.

    services ─┐
    tasks    ─┼─ plan ──> Start, Assign, Stop, Remove, Finish, Pause, Rollback ── decide ──> tasks
    nodes    ─┘

Pure: no clock but `now`, no container. `decisions.decide` enters a plan into the tasks; then the
plan of what came out is empty, until a node or a task changes, or the time that the plan told has
come.

Each service is a set of **slots**, each to hold one task that runs. In this order:

1. tasks on lost nodes are given up, those on drained and no longer fitting nodes are stopped
2. slots too many are stopped, the newest first
3. slots that are empty get a task; one that has ended, by the restart policy
4. tasks of an old version are replaced: a rolling update

A slot whose task is being stopped is not empty yet: nothing runs twice, and its room is not free.

Source: swarmkit, manager/orchestrator (replicated, global, update, restart, taskreaper).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, count, islice

from labcontainer.cluster import decisions, placement
from labcontainer.cluster.decisions import (
    Action,
    Assign,
    Finish,
    Pause,
    Plan,
    Remove,
    Rollback,
    Start,
    Stop,
)
from labcontainer.cluster.placement import Node, Service, Task

HISTORY = 5  # tasks kept of each slot, to be looked at: Swarm's own limit
# An update's states, in Docker's words; "" is none.
UPDATING, PAUSED, COMPLETED = "updating", "paused", "completed"
ROLLING_BACK, ROLLBACK_PAUSED, ROLLED_BACK = (
    "rollback_started", "rollback_paused", "rollback_completed")  # fmt: skip


def actions(
    services: Iterable[Service], tasks: Iterable[Task], nodes: Sequence[Node], now: float = 0.0
) -> list[Action]:
    """What to do now: `plan` without the time."""
    return list(plan(services, tasks, nodes, now).actions)


def plan(
    services: Iterable[Service], tasks: Iterable[Task], nodes: Sequence[Node], now: float = 0.0
) -> Plan:
    """What to do now, service by service in the order of their names.

    The same arguments give the same plan. `now` is in seconds since the epoch.

    Raises:
        UsageError: a constraint of a service is none.
    """
    round_ = _Round(tasks, nodes, now)
    wanted = {service.name: service for service in services}
    for name in sorted({task.service for task in round_.tasks.values()} - wanted.keys()):
        round_.remove_all(name)
    for name in sorted(wanted):
        _Slots(round_, wanted[name]).reconcile()
    return Plan(tuple(round_.actions), round_.again)


class _Round:
    """The tasks as they change while a plan is made, and the plan."""

    def __init__(self, tasks: Iterable[Task], nodes: Sequence[Node], now: float) -> None:
        self.tasks = {task.id: task for task in tasks}
        self.nodes = {node.name: node for node in nodes}
        self.now = now
        self.actions: list[Action] = []
        self.again: float | None = None

    def do(self, action: Action, service: Service | None = None) -> None:
        """Add an action, and go on with what it changes."""
        self.actions.append(action)
        services = {service.name: service} if service else {}
        changed = decisions.decide(self.tasks.values(), [action], services, self.now)
        self.tasks = {task.id: task for task in changed}

    def at(self, moment: float) -> None:
        """Look again at that time."""
        self.again = moment if self.again is None else min(self.again, moment)

    def lost(self, task: Task) -> bool:
        """Whether its node does not answer, or is no longer one of ours."""
        return task.node is not None and not (
            task.node in self.nodes and self.nodes[task.node].ready
        )

    def stopping(self, task: Task) -> bool:
        """Whether it will end soon: it was asked to, and its node can hear it."""
        return task.desired != placement.RUNNING and not task.ended and not self.lost(task)

    def remove_all(self, service: str) -> None:
        """Stop and forget the tasks of a service that is no longer wanted."""
        for task in in_order(self.tasks.values()):
            if task.service != service:
                continue
            if task.ended or task.node is None or self.lost(task):
                self.do(Remove(task.id, "service removed"))
            elif task.desired == placement.RUNNING:
                self.do(Stop(task.id, "service removed"))


def in_order(tasks: Iterable[Task]) -> list[Task]:
    """Oldest first, always the same."""
    return sorted(tasks, key=lambda task: (task.created, str(task.slot).zfill(9), task.id))


class _Slots:
    """One service's slots in one round."""

    def __init__(self, round_: _Round, service: Service) -> None:
        self.round = round_
        self.service = service

    def tasks(self) -> list[Task]:
        """The service's tasks as they are now, oldest first."""
        return in_order(
            task for task in self.round.tasks.values() if task.service == self.service.name
        )

    def by_slot(self) -> dict[int | str, list[Task]]:
        """The tasks of each slot, oldest first."""
        found: dict[int | str, list[Task]] = defaultdict(list)
        for task in self.tasks():
            found[task.slot].append(task)
        return found

    def reconcile(self) -> None:
        """The steps in order; each sees what those before it have decided."""
        self._give_up()
        self._stop_surplus()
        self._end_overlaps()
        self._drop_outdated()
        self._fill()
        self._update()
        self._finish()
        self._forget()

    # 1 ------------------------------------------------------------------------------------------

    def _give_up(self) -> None:
        for task in self.tasks():
            if task.live and (why := self._misplaced(task)):
                self.round.do(Stop(task.id, why))

    def _misplaced(self, task: Task) -> str:
        """Why a task can't stay where it is; "" when it can."""
        if task.node is None:
            return ""
        if self.round.lost(task):
            return "node lost"
        node = self.round.nodes[task.node]
        if node.availability == placement.DRAIN:
            return "node drained"
        if not placement.satisfies(node, self.service.constraints):
            return "constraints no longer satisfied"
        return ""

    # 2 ------------------------------------------------------------------------------------------

    def _held(self) -> dict[int | str, Task]:
        """The newest task of each slot that has one: it is live, or has ended by itself."""
        return {task.slot: task for task in self.tasks() if task.desired == placement.RUNNING}

    def _stop_surplus(self) -> None:
        held = self._held()
        if self.service.replicas is None:
            surplus = [held[slot] for slot in held if slot not in self._places()]
        else:
            ranked = sorted(in_order(held.values()), key=lambda one: one.state != placement.RUNNING)
            surplus = ranked[self.service.replicas :][::-1]
        for one in surplus:
            for task in self.by_slot()[one.slot]:
                if task.desired == placement.RUNNING:
                    self.round.do(Stop(task.id, "too many"))

    def _places(self) -> set[int | str]:
        """The slots of a global service: the nodes that are to have, or may keep, a task."""
        return {
            node.name
            for node in self.round.nodes.values()
            if node.ready
            and node.availability != placement.DRAIN
            and placement.satisfies(node, self.service.constraints)
        }

    def _end_overlaps(self) -> None:
        """Start-first has two tasks in a slot: the older goes when it is over or the newer runs."""
        for tasks in self.by_slot().values():
            wanted = [task for task in tasks if task.desired == placement.RUNNING]
            for task in wanted[:-1]:
                if task.ended or wanted[-1].state == placement.RUNNING:
                    self.round.do(Stop(task.id, "replaced"))

    def _drop_outdated(self) -> None:
        """What waits with an old version makes way at once: nothing of it runs."""
        for task in self._held().values():
            if task.state == placement.PENDING and not self._fresh(task):
                self.round.do(Stop(task.id, "old version"))

    # 3 ------------------------------------------------------------------------------------------

    def _fill(self) -> None:
        slots, held = self.by_slot(), self._held()
        for slot in self._wanted(held):
            task = held.get(slot)
            if task is not None:
                self._again(task)
            elif not any(map(self.round.stopping, slots.get(slot, ()))):
                self._start(slot)

    def _wanted(self, held: Mapping[int | str, Task]) -> list[int | str]:
        """The slots that are to have a task: those that have one, and as many as are missing.

        A slot whose task is just being stopped comes before the lowest free number.
        """
        if self.service.replicas is None:
            return sorted(self._places(), key=_number)
        freed = [slot for slot, tasks in self.by_slot().items()
                 if slot not in held and any(map(self.round.stopping, tasks))]  # fmt: skip
        free = (number for number in count(1) if number not in held and number not in freed)
        missing = max(0, self.service.replicas - len(held))
        more = chain(sorted(freed, key=_number), free)
        return sorted([*held, *islice(more, missing)], key=_number)

    def _again(self, task: Task) -> None:
        """A slot's task that waits is placed; one that has ended is started again, or not."""
        if task.state == placement.PENDING:
            found = self._place(task.slot)
            if found.node or found.reason != task.error:
                self.round.do(Assign(task.id, found.node, found.reason))
        elif task.ended and not self._fresh(task):
            if self.service.update_state not in (PAUSED, ROLLBACK_PAUSED):
                self._start(task.slot, task.id)
        elif task.ended and self._restarts(task):
            at = task.since + self.service.restart.delay
            if at <= self.round.now:
                self._start(task.slot, task.id, task.attempt + 1)
            else:
                self.round.at(at)

    def _restarts(self, task: Task) -> bool:
        """Whether the policy has a task that ended by itself started again."""
        policy = self.service.restart
        if policy.max_attempts and task.attempt >= policy.max_attempts:
            return False
        if policy.condition == "on-failure":
            return task.state != placement.COMPLETE
        return policy.condition == "any"

    def _start(self, slot: int | str, after: str = "", attempt: int = 0) -> None:
        found = self._place(slot)
        if found.node is None and self.service.replicas is None and not after:
            node = self.round.nodes[str(slot)]
            if node.availability == placement.PAUSE:  # a global service waits without a task
                return
        start = Start(self.service.name, slot, found.node, self.service.version, found.reason,
                      after, attempt)  # fmt: skip
        self.round.do(start, self.service)

    def _place(self, slot: int | str) -> placement.Placement:
        nodes = list(self.round.nodes.values())
        if self.service.replicas is None:
            nodes = [node for node in nodes if node.name == slot]
        return placement.place(self.service, self.round.tasks.values(), nodes)

    # 4 ------------------------------------------------------------------------------------------

    def _update(self) -> None:
        held = self._held()
        if self.service.update_state in (PAUSED, ROLLBACK_PAUSED) or self._failing(held):
            return
        old = [task for task in held.values() if task.live and not self._fresh(task)]
        old.sort(key=lambda task: (task.state == placement.RUNNING, _number(task.slot)))
        room = (self.service.update.parallelism or math.inf) - self._moving()
        for task in old[: max(0, int(min(room, len(old))))]:
            self._replace(task)

    def _fresh(self, task: Task) -> bool:
        return task.version == self.service.version

    def _moving(self) -> int:
        """Slots that an update is at: the old task is stopping, the new one begins or rests."""
        return sum(self._is_moving(tasks) for tasks in self.by_slot().values())

    def _is_moving(self, tasks: list[Task]) -> bool:
        wanted = [task for task in tasks if task.desired == placement.RUNNING]
        if not wanted:
            return any(self.round.stopping(task) for task in tasks)
        newest = wanted[-1]
        if not self._fresh(newest):
            return False
        if newest.ended:
            return self._restarts(newest)
        if newest.state != placement.RUNNING:
            return True
        rested = newest.since + self.service.update.delay
        if newest.created < self.service.updated or rested <= self.round.now:
            return False
        self.round.at(rested)
        return True

    def _replace(self, task: Task) -> None:
        runs = any(one.live and one.state == placement.RUNNING for one in self.by_slot()[task.slot])
        start_first = self.service.update.order == "start-first" and runs
        if not start_first or task.state != placement.RUNNING:
            self.round.do(Stop(task.id, "old version"))
        if start_first:
            self._start(task.slot)

    def _failing(self, held: Mapping[int | str, Task]) -> bool:
        """Whether the update has failed; says what comes of it."""
        failed = [task for task in self.tasks() if self._fresh(task)
                  and task.created >= self.service.updated
                  and task.state in (placement.FAILED, placement.REJECTED)]  # fmt: skip
        rules = self.service.update
        under_way = self.service.update_state in (UPDATING, ROLLING_BACK)
        if not under_way or rules.on_failure == "continue" or not failed:
            return False
        if len(failed) <= rules.max_failure_ratio * max(1, len(held)):
            return False
        why = f"update paused due to failure or early termination of task {failed[0].id}"
        if rules.on_failure == "rollback" and self.service.update_state == UPDATING:
            self.round.do(Rollback(self.service.name, why.replace("paused", "rolled back", 1)))
        else:
            self.round.do(Pause(self.service.name, why))
        return True

    def _finish(self) -> None:
        """Finish an update when every slot has its new task, and the last has run for a while."""
        held = self._held()
        if self.service.update_state not in (UPDATING, ROLLING_BACK) or not self._reached(held):
            return
        watched = [task.since for task in held.values() if task.created >= self.service.updated]
        ends = max(watched, default=self.round.now - self.service.update.monitor)
        ends += self.service.update.monitor
        if ends <= self.round.now:
            self.round.do(Finish(self.service.name))
        else:
            self.round.at(ends)

    def _reached(self, held: Mapping[int | str, Task]) -> bool:
        """Whether every slot has a task of the new version that runs, or need not run again."""
        if self.service.replicas is not None and len(held) < self.service.replicas:
            return False
        return all(
            self._fresh(task) and (task.ended or task.state == placement.RUNNING)
            for task in held.values()
        )

    # 5 ------------------------------------------------------------------------------------------

    def _forget(self) -> None:
        """Of each slot the last few that are over are kept; of one not wanted any more, none."""
        wanted = set(self._wanted(self._held()))
        for slot, tasks in self.by_slot().items():
            over = [task for task in tasks
                    if task.desired != placement.RUNNING
                    and (task.ended or self.round.lost(task))]  # fmt: skip
            for task in over[: max(0, len(over) - (HISTORY if slot in wanted else 0))]:
                self.round.do(Remove(task.id, "history"))


def _number(slot: int | str) -> tuple[int, str]:
    """Slots in order, whether they are numbers or names."""
    return (slot, "") if isinstance(slot, int) else (0, slot)
