"""The manager: what is wanted, what is seen on the nodes, and what is done about the difference.

    API ──────── orders ─────┐                      ┌── begin, end, clear ──> nodes
    nodes ────── changes ────┼──> a round: observe, plan, decide, carry out
    the clock ── `again` ────┘                      └── saved first

One thread goes its rounds; it sleeps until it is woken, or until the time that the last plan named.
All that is decided is saved before it is done. So it may be killed at any moment: the next one
finds the decisions, sees what the nodes have, and goes on.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import replace

from labcontainer import errors
from labcontainer.client.address import Address
from labcontainer.cluster import containers, decisions, placement, reconcile, specification
from labcontainer.cluster.nodes import Agent, Begin, Clear, End, Job
from labcontainer.cluster.placement import ACTIVE, PAUSE, Node, Task
from labcontainer.cluster.state import (
    NodeRecord,
    ServiceRecord,
    State,
    TaskRecord,
    UpdateStatus,
    new_id,
)
from labcontainer.engine.events import Events

GRACE = 10.0  # seconds that a node may be away before its tasks are started elsewhere


class Manager:
    """All of it. Whoever reads or changes `state` holds `lock`, and wakes the manager after."""

    def __init__(self, path: str, addresses: Mapping[str, Address], grace: float = GRACE) -> None:
        self.state = State(path)
        self.grace = grace
        self.lock = threading.RLock()
        self.events = Events()
        self.bells: set[int] = set()  # event descriptors that ring at each change
        self._woken = threading.Event()
        self._ending = False
        self.agents: dict[str, Agent] = {}
        self._ready: dict[str, bool] = {}
        self._began = time.monotonic()
        self._complete = False
        for name, where in addresses.items():
            node = self._node_called(name)
            self.agents[node.id] = Agent(name, node.id, where, self.wake)
        for gone in [one for one in self.state.nodes.values() if one.id not in self.agents]:
            self.state.remove(gone)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _node_called(self, name: str) -> NodeRecord:
        for node in self.state.nodes.values():
            if node.name == name:
                return node
        made = NodeRecord(new_id(), hostname=name)
        self.state.save(made)
        return made

    def start(self) -> None:
        """Begin to watch and to work."""
        for agent in self.agents.values():
            agent.start()
        self._thread.start()

    def wake(self) -> None:
        """Something may have changed."""
        self._woken.set()

    def close(self) -> None:
        """End; services go on where they are."""
        self._ending = True
        self.wake()
        self._thread.join()
        for agent in self.agents.values():
            agent.close()
        self.state.close()

    # --- rounds ---------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._ending:
            self._woken.clear()
            try:
                again = self._round()
            except (
                Exception
            ) as error:  # told, and tried again: one fault must not stop all services
                print(f"manager: {type(error).__name__}: {error}", file=sys.stderr)
                again = time.time() + 1
            self._woken.wait(None if again is None else max(0.0, again - time.time()))

    def _round(self) -> float | None:
        """One round; when to go the next though nothing has happened."""
        with self.lock:
            nodes = self._nodes()
            for record in list(self.state.tasks.values()):
                self._observe(record)
            if not self._is_complete():
                return self._earliest(None)
            services = {one.id: specification.record(one) for one in self.state.services.values()}
            now = time.time()
            tasks = [record.task for record in self.state.tasks.values()]
            plan = reconcile.plan(services.values(), tasks, nodes, now)
            decided = decisions.decide(tasks, plan.actions, services, now, new_id)
            self._enter(decided)
            for action in plan.actions:
                self._enter_update(action)
            self._carry_out()
            for bell in self.bells:
                os.eventfd_write(bell, 1)
            updated = any(isinstance(one, _OF_SERVICES) for one in plan.actions)
            return now if updated else self._earliest(plan.again)

    def _is_complete(self) -> bool:
        """Whether all nodes have been met, or waited for: the first would else get everything."""
        if not self._complete:
            met = all(agent.connected for agent in self.agents.values())
            self._complete = met or time.monotonic() >= self._began + self.grace
        return self._complete

    def _earliest(self, again: float | None) -> float | None:
        """The plan's time, or when a node that is away will have been so for too long."""
        away = [agent.lost + self.grace - time.monotonic() for agent in self.agents.values()
                if not agent.connected]  # fmt: skip
        times = [time.time() + left for left in away if left > 0]
        return min([*times, *([] if again is None else [again])], default=None)

    # --- what is seen ---------------------------------------------------------------------------

    def is_ready(self, node_id: str) -> bool:
        """Whether a node is connected, or was so until a moment ago."""
        agent = self.agents[node_id]
        return agent.connected or time.monotonic() < agent.lost + self.grace

    def _nodes(self) -> list[Node]:
        return [self._as_node(one) for one in self.state.nodes.values()]

    def _as_node(self, record: NodeRecord) -> Node:
        """A node for decisions; one that is away, but not for long, gets nothing new."""
        agent, ready = self.agents[record.id], self.is_ready(record.id)
        if ready != self._ready.get(record.id, ready) or record.id not in self._ready:
            known = record.id in self._ready
            old, new = ("down" if known else "unknown", "ready") if ready else ("ready", "down")
            self.tell("node", "update", record.id, name=record.name,
                      **{"state.new": new, "state.old": old})  # fmt: skip
        self._ready[record.id] = ready
        availability = record.availability
        if availability == ACTIVE and not agent.connected:
            availability = PAUSE
        return Node(
            record.name, availability, ready,
            memory=agent.description.get("MemTotal", 0), cpus=agent.description.get("NCPU", 0),
            labels=record.labels, id=record.id,
        )  # fmt: skip

    def _observe(self, record: TaskRecord) -> None:
        """Bring a task's state to what its node has shown of its container."""
        agent = self.agents.get(record.node)
        if agent is None or not agent.connected or record.task.ended:
            return
        task, seen = record.task, agent.seen.get(record.id)
        state, error = task.state, task.error
        if record.id in agent.refused:
            state, error = placement.REJECTED, agent.refused.pop(record.id)
        elif seen is not None:
            state, error = seen.state, seen.error
            record.container, record.exit_code, record.pid = (
                seen.container, seen.exit_code, seen.pid)  # fmt: skip
        elif record.id in agent.busy:
            state = placement.PREPARING
        elif task.state in (placement.STARTING, placement.RUNNING):
            state, error = placement.FAILED, "task: its container has gone"
        elif task.desired == placement.SHUTDOWN:
            state = placement.SHUTDOWN
        if task.desired == placement.SHUTDOWN and (
            state in placement.ENDED or (state == placement.PREPARING and not self._begun(record))
        ):
            state, error = placement.SHUTDOWN, ""
        if (state, error) != (task.state, task.error):
            record.task = replace(task, state=state, error=error, since=time.time())
            self.state.save(record)

    def _begun(self, record: TaskRecord) -> bool:
        """Whether a container is being made at this moment."""
        return record.id in self.agents[record.node].busy

    # --- what is decided ------------------------------------------------------------------------

    def _enter(self, decided: list[Task]) -> None:
        """Save the tasks that are new or changed, forget those that are gone."""
        ids = {one.name: one.id for one in self.state.nodes.values()}
        for task in decided:
            record = self.state.tasks.get(task.id)
            if record is None:
                service = self.state.services[task.service]
                template = specification.template(service.spec)
                record = TaskRecord(task.id, service=service.id, title=service.name,
                                    spec=template["task"], ports=template["ports"])  # fmt: skip
            elif record.task == task:
                continue
            record.task, record.node = task, ids.get(task.node or "", record.node)
            self.state.save(record)
        for task_id in self.state.tasks.keys() - {task.id for task in decided}:
            self.state.remove(self.state.tasks[task_id])

    def _enter_update(self, action: decisions.Action) -> None:
        """How a service's update has come out."""
        if not isinstance(action, _OF_SERVICES):
            return
        service = self.state.services[action.service]
        back = service.update.state.startswith("rollback")
        if isinstance(action, decisions.Finish):
            word = "rollback" if back else "update"
            state = reconcile.ROLLED_BACK if back else reconcile.COMPLETED
            service.update = replace(service.update, state=state, completed=time.time(),
                                     message=f"{word} completed")  # fmt: skip
        elif isinstance(action, decisions.Rollback) and service.previous is not None:
            self.roll_back(service, action.why)
        else:
            state = reconcile.ROLLBACK_PAUSED if back else reconcile.PAUSED
            service.update = replace(service.update, state=state, message=action.why)
        self._save_service(service, {"updatestate.new": service.update.state})

    def roll_back(self, service: ServiceRecord, why: str) -> None:
        """Want the specification before again; its tasks that are still there are left alone.

        Raises:
            UsageError: there is none.
        """
        if service.previous is None:
            raise errors.UsageError(f"service {service.id} does not have a previous spec")
        spec, version = service.spec, service.version
        service.spec, service.version = service.previous, service.previous_version
        service.previous, service.previous_version = spec, version
        service.update = UpdateStatus(reconcile.ROLLING_BACK, time.time(), message=why)

    def _save_service(self, service: ServiceRecord, changes: Mapping[str, str]) -> None:
        self.state.save(service)
        self.tell("service", "update", service.id, name=service.name, **changes)

    def tell(self, kind: str, action: str, identity: str, **attributes: str) -> None:
        """Tell those who listen to events."""
        self.events.tell_all(kind, action, identity, attributes, "swarm")

    # --- what is done ---------------------------------------------------------------------------

    def _carry_out(self) -> None:
        """Give the nodes the work that makes what they have what was decided."""
        for record in self.state.tasks.values():
            agent = self.agents.get(record.node)
            if agent is not None and (job := self._job(record, agent)):
                agent.give(job)
        for agent in self.agents.values():
            for seen in list(agent.seen.values()):
                if seen.task not in self.state.tasks:
                    agent.give(Clear(seen.task, seen.container, containers.GRACE))

    def _job(self, record: TaskRecord, agent: Agent) -> Job | None:
        """What is to be done now with a task's container; None: nothing."""
        task, seen = record.task, agent.seen.get(record.id)
        if task.live and task.state in (placement.ASSIGNED, placement.PREPARING):
            names = self._names(record)
            try:
                body = containers.create_body(record.spec, record.ports, names)
            except errors.LabError as error:
                agent.refused[record.id] = str(error)
                self.wake()
                return None
            auth = self.state.services[record.service].auth
            return Begin(record.id, names.task, body, auth)
        if not task.live and seen is not None and seen.runs:
            return End(record.id, seen.container, containers.stop_seconds(record.spec))
        return None

    def _names(self, record: TaskRecord) -> containers.Names:
        task = record.task
        slot = str(task.slot) if isinstance(task.slot, int) else record.node
        return containers.Names(record.title, record.service, task.node or "", record.node,
                                record.id, slot)  # fmt: skip


_OF_SERVICES = decisions.Finish | decisions.Pause | decisions.Rollback
