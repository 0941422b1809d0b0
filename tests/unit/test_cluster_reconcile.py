"""Plans for the tasks of services, carried out in a world of records."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labcontainer.cluster import decisions, placement, reconcile
from labcontainer.cluster.decisions import Assign, Finish, Pause, Remove, Rollback, Start, Stop
from labcontainer.cluster.placement import Node, Reserve, Restart, Service, Task, Update


class World:
    """Services, nodes, tasks and a clock; what is decided is done as `step` is told."""

    def __init__(self, *services: Service, nodes: int = 3) -> None:
        self.services = {service.name: service for service in services}
        self.nodes = {name: Node(name, memory=4, cpus=4.0) for name in "abcdefgh"[:nodes]}
        self.tasks: list[Task] = []
        self.now = 1000.0

    def plan(self) -> decisions.Plan:
        return reconcile.plan(
            self.services.values(), self.tasks, list(self.nodes.values()), self.now
        )

    def decide(self) -> list[decisions.Action]:
        """Make a plan and enter it; the next plan must be empty."""
        plan = self.plan()
        self.tasks = decisions.decide(self.tasks, plan.actions, self.services, self.now)
        for action in plan.actions:
            if isinstance(action, Finish):
                self.change(action.service, update_state="completed")
            elif isinstance(action, Pause):
                self.change(action.service, update_state="paused")
        return list(plan.actions)

    def change(self, service: str, **fields: object) -> None:
        self.services[service] = replace(self.services[service], **fields)  # type: ignore[arg-type]

    def node(self, name: str, **fields: object) -> None:
        self.nodes[name] = replace(self.nodes[name], **fields)  # type: ignore[arg-type]

    def become(self, task: str, state: str) -> None:
        self.tasks = [
            replace(one, state=state, since=self.now) if one.id == task else one
            for one in self.tasks
        ]

    def do(self, choose: Callable[[Task], bool] = lambda task: True) -> None:
        """What the nodes that answer do: what is assigned runs, what is to stop has stopped."""
        for task in self.tasks:
            if task.node is None or not self.nodes[task.node].ready or not choose(task):
                continue
            if task.desired == "shutdown" and not task.ended:
                self.become(task.id, "shutdown")
            elif task.state == "assigned" and task.desired == "running":
                self.become(task.id, "running")

    def settle(self) -> None:
        """Decide and do until nothing more happens, with the clock put on as plans say."""
        for _ in range(200):
            self.do()
            plan = self.plan()
            if plan.actions:
                self.decide()
            elif plan.again is not None:
                self.now = max(self.now, plan.again)
            elif all(task.state != "assigned" or task.desired != "running" for task in self.tasks):
                return
        raise AssertionError(f"it does not settle: {self.plan()}")

    def update(self, service: str = "web", **fields: object) -> None:
        version = self.services[service].version + 1
        self.change(service, version=version, update_state="updating", updated=self.now, **fields)

    def live(self, service: str = "web") -> list[Task]:
        return [task for task in self.tasks if task.service == service and task.live]

    def running(self, service: str = "web") -> list[Task]:
        return [task for task in self.live(service) if task.state == "running"]

    def spread(self, service: str = "web") -> dict[str, int]:
        return dict(sorted(Counter(str(task.node) for task in self.live(service)).items()))


def world(*services: Service, nodes: int = 3) -> World:
    """A world that has settled."""
    made = World(*(services or (Service("web", 4),)), nodes=nodes)
    made.settle()
    return made


# --- replicas -------------------------------------------------------------------------------------


def test_missing_replicas_are_started_in_the_order_of_their_slots() -> None:
    new = World(Service("web", 3))
    assert new.decide() == [
        Start("web", 1, "a", 1), Start("web", 2, "b", 1), Start("web", 3, "c", 1)]  # fmt: skip
    assert [task.state for task in new.tasks] == ["assigned"] * 3
    assert new.plan() == decisions.Plan(())


def test_services_come_in_the_order_of_their_names() -> None:
    new = World(Service("web"), Service("db"))
    assert [action.service for action in new.decide() if isinstance(action, Start)] == ["db", "web"]


def test_the_newest_are_too_many() -> None:
    there = world(Service("web", 2))
    there.now += 1
    there.change("web", replicas=4)
    there.settle()
    there.change("web", replicas=1)
    stopped = [action.task for action in there.decide() if isinstance(action, Stop)]
    assert stopped == ["web.4.1", "web.3.1", "web.2.1"]


def test_those_that_do_not_run_yet_go_first() -> None:
    there = world(Service("web", 3))
    there.become("web.1.1", "starting")
    there.change("web", replicas=2)
    assert there.decide() == [Stop("web.1.1", "too many")]


def test_a_slot_is_filled_when_its_task_has_stopped_and_not_before() -> None:
    there = world(Service("web", 2))
    there.change("web", replicas=1)
    assert there.decide() == [Stop("web.2.1", "too many")]
    there.change("web", replicas=2)
    assert there.decide() == []
    there.do()
    assert there.decide() == [Start("web", 2, "b", 1)]


def test_a_service_that_is_gone_takes_its_tasks_along() -> None:
    there = world(Service("web", 1), Service("db", 1))
    del there.services["web"]
    assert there.decide() == [Stop("web.1.1", "service removed")]
    there.do()
    assert there.decide() == [Remove("web.1.1", "service removed")]
    assert [task.service for task in there.tasks] == ["db"]


def test_what_waits_is_placed_when_there_is_room() -> None:
    there = world(Service("web", 4, reserve=Reserve(memory=3)))
    waiting = there.live()[-1]
    assert (waiting.node, waiting.state) == (None, "pending")
    assert waiting.error == "no suitable node (insufficient resources on 3 nodes)"
    there.nodes["d"] = Node("d", memory=3)
    assert there.decide() == [Assign(waiting.id, "d")]
    there.settle()
    assert there.spread() == {"a": 1, "b": 1, "c": 1, "d": 1}


def test_another_reason_to_wait_is_told() -> None:
    there = world(Service("web", 1, reserve=Reserve(memory=9)), nodes=2)
    there.node("b", availability="drain")
    assert [action for action in there.decide() if isinstance(action, Assign)] == [
        Assign("web.1.1", None, "no suitable node (insufficient resources on 1 node; "
                                "1 node not available for new tasks)")]  # fmt: skip


# --- nodes ----------------------------------------------------------------------------------------


def test_a_drained_nodes_tasks_move_when_they_have_stopped() -> None:
    there = world()
    there.node("a", availability="drain")
    assert [type(action) for action in there.decide()] == [Stop, Stop]
    assert there.decide() == []
    there.settle()
    assert there.spread() == {"b": 2, "c": 2}


def test_a_paused_node_keeps_what_it_has() -> None:
    there = world()
    there.node("a", availability="pause")
    assert there.decide() == []
    there.change("web", replicas=8)
    there.settle()
    assert there.spread() == {"a": 2, "b": 3, "c": 3}


def test_a_lost_nodes_tasks_are_started_elsewhere_at_once() -> None:
    there = world()
    there.node("a", ready=False)
    assert [type(action) for action in there.decide()] == [Stop, Stop, Start, Start]
    there.settle()
    assert there.spread() == {"b": 2, "c": 2}
    assert [task.state for task in there.tasks if task.node == "a"] == ["running"] * 2


def test_what_runs_on_a_node_that_comes_back_is_stopped_there() -> None:
    there = world()
    there.node("a", ready=False)
    there.settle()
    there.node("a", ready=True)
    there.settle()
    assert {task.state for task in there.tasks if task.node == "a"} == {"shutdown"}
    assert there.spread() == {"b": 2, "c": 2}


def test_a_node_that_no_longer_fits_is_left() -> None:
    there = world(Service("web", 2, constraints=("node.labels.old!=yes",)))
    there.node("a", labels={"old": "yes"})
    there.settle()
    assert there.spread() == {"b": 1, "c": 1}


# --- restarts -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("condition", "state", "restarted"),
    [
        ("any", "complete", True),
        ("any", "failed", True),
        ("on-failure", "failed", True),
        ("on-failure", "rejected", True),
        ("on-failure", "complete", False),
        ("none", "failed", False),
    ],
)
def test_the_restart_policy(condition: str, state: str, restarted: bool) -> None:
    there = world(Service("web", 1, restart=Restart(condition, delay=5)))
    there.become("web.1.1", state)
    plan = there.plan()
    assert plan == decisions.Plan((), there.now + 5 if restarted else None)
    there.settle()
    assert [task.id for task in there.live()] == (["web.1.2"] if restarted else [])


def test_attempts_come_to_an_end() -> None:
    there = world(Service("web", 1, restart=Restart("any", delay=1, max_attempts=2)))
    for number in (1, 2, 3):
        there.become(f"web.1.{number}", "failed")
        there.settle()
    assert len(there.tasks) == 3 and not there.live()


def test_a_new_version_is_tried_anew() -> None:
    there = world(Service("web", 1, restart=Restart("none")))
    there.become("web.1.1", "failed")
    there.update()
    there.settle()
    assert [task.version for task in there.running()] == [2]


def test_only_the_last_few_are_kept() -> None:
    there = world(Service("web", 1, restart=Restart(delay=0)))
    for _ in range(9):
        there.become(there.live()[0].id, "failed")
        there.now += 1
        there.settle()
    assert len(there.tasks) == 1 + reconcile.HISTORY


# --- updates --------------------------------------------------------------------------------------


def test_one_after_the_other_is_replaced() -> None:
    there = world(Service("web", 3))
    there.update()
    assert there.decide() == [Stop("web.1.1", "old version")]
    assert there.decide() == []
    there.do()
    assert there.decide() == [Start("web", 1, "a", 2)]
    assert there.decide() == []
    there.do()
    assert there.decide() == [Stop("web.2.1", "old version")]
    there.settle()
    assert {task.version for task in there.running()} == {2}
    assert there.services["web"].update_state == "completed"


def test_all_at_once() -> None:
    there = world()
    there.update(update=Update(parallelism=0))
    assert [type(action) for action in there.decide()] == [Stop] * 4


def test_the_delay_is_kept_between_two() -> None:
    there = world(Service("web", 2, update=Update(delay=30)))
    there.update()
    for _ in range(2):
        there.decide()
        there.do()
    assert there.plan() == decisions.Plan((), there.now + 30)
    there.now += 30
    assert there.decide() == [Stop("web.2.1", "old version")]


def test_start_first_has_the_new_one_run_before_the_old_one_goes() -> None:
    there = world(Service("web", 1, update=Update(order="start-first")))
    there.update()
    assert there.decide() == [Start("web", 1, "b", 2)]
    assert there.decide() == []
    there.do()
    assert there.decide() == [Stop("web.1.1", "replaced")]


def test_a_failure_pauses_the_update() -> None:
    there = world(Service("web", 3, restart=Restart(delay=60)))
    there.update()
    there.decide()
    there.do()
    there.decide()
    there.become("web.1.2", "failed")
    why = "update paused due to failure or early termination of task web.1.2"
    assert there.decide() == [Pause("web", why)]
    assert there.decide() == []
    assert sorted(task.version for task in there.running()) == [1, 1]


def test_a_failure_rolls_back() -> None:
    there = world(Service("web", 3, update=Update(on_failure="rollback", monitor=0)))
    there.update()
    there.decide()
    there.do()
    there.decide()
    there.become("web.1.2", "rejected")
    assert [type(action) for action in there.decide()] == [Rollback]
    there.change("web", version=1, update_state="rollback_started", updated=there.now)
    there.settle()
    assert [task.version for task in there.running()] == [1, 1, 1]
    kept = {"web.2.1", "web.3.1"}
    assert kept < {task.id for task in there.running()}, "those that never changed are left alone"


def test_some_failures_may_be_borne() -> None:
    there = world(Service("web", 4, restart=Restart(delay=1),
                          update=Update(max_failure_ratio=0.3, monitor=0)))  # fmt: skip
    there.update()
    there.decide()
    there.do()
    there.decide()
    there.become("web.1.2", "failed")
    there.settle()
    assert there.services["web"].update_state == "completed"
    assert len(there.running()) == 4


def test_what_fails_soon_after_the_last_is_still_a_failure() -> None:
    there = world(Service("web", 1, update=Update(monitor=5)))
    there.update()
    for _ in range(2):
        there.decide()
        there.do()
    assert there.plan() == decisions.Plan((), there.now + 5)
    there.become("web.1.2", "failed")
    assert [type(action) for action in there.decide()] == [Pause]


# --- global ---------------------------------------------------------------------------------------


def test_global_is_one_on_each_node_that_may_have_it() -> None:
    there = world(Service("log", None, constraints=("node.hostname!=c",)))
    assert there.spread("log") == {"a": 1, "b": 1}
    there.nodes["d"] = Node("d")
    there.node("a", availability="drain")
    there.settle()
    assert there.spread("log") == {"b": 1, "d": 1}


def test_global_on_a_paused_node_stays_and_does_not_come() -> None:
    there = world(Service("log", None), nodes=2)
    there.node("a", availability="pause")
    there.nodes["c"] = Node("c", availability="pause")
    there.settle()
    assert there.spread("log") == {"a": 1, "b": 1}


def test_global_waits_for_room_on_its_node() -> None:
    there = world(Service("log", None, reserve=Reserve(memory=5)), nodes=1)
    (waiting,) = there.live("log")
    assert waiting.error == "no suitable node (insufficient resources on 1 node)"


# --- properties -----------------------------------------------------------------------------------

services = st.lists(
    st.builds(
        Service,
        st.sampled_from(["db", "log", "web"]),
        replicas=st.none() | st.integers(0, 6),
        reserve=st.builds(Reserve, st.integers(0, 2), st.sampled_from([0.0, 0.5])),
        update=st.builds(
            Update,
            parallelism=st.integers(0, 3),
            order=st.sampled_from(["stop-first", "start-first"]),
            on_failure=st.sampled_from(["continue", "pause"]),
            delay=st.sampled_from([0.0, 2.0]),
        ),
        restart=st.builds(Restart, st.sampled_from(["any", "on-failure", "none"]), st.just(1.0)),
    ),
    min_size=1,
    unique_by=lambda service: service.name,
)
orders = st.sampled_from(["stop-first", "start-first"])
chances = st.randoms(use_true_random=False)


def happen(there: World, chance: random.Random) -> None:
    """Something happens to a service, a node or a task."""
    name = chance.choice(sorted(there.services))
    node = chance.choice(sorted(there.nodes))
    what = chance.randrange(6)
    if what == 0 and there.services[name].replicas is not None:
        there.change(name, replicas=chance.randrange(7))
    elif what == 1:
        there.update(name)
    elif what == 2:
        there.node(node, availability=chance.choice(["active", "active", "pause", "drain"]))
    elif what == 3:
        there.node(node, ready=chance.random() < 0.7)
    elif what == 4 and (running := there.running(name)):
        there.become(chance.choice(running).id, chance.choice(["failed", "complete"]))
    else:
        there.now += 1
    there.do(lambda _: chance.random() < 0.7)


def check(there: World, before: list[Task]) -> None:
    """What must hold after each decision."""
    known = {task.id: task.node for task in before}
    for task in there.tasks:
        if task.node is not None and known.get(task.id) != task.node:  # decided just now
            node = there.nodes[task.node]
            assert node.ready and node.availability == "active"
    taken = placement.Occupied(there.tasks)
    for node in there.nodes.values():
        assert taken.memory[node.name] <= node.memory
        assert taken.nano_cpus[node.name] <= placement.nano(node.cpus)
    for service in there.services.values():
        live = there.live(service.name)
        slots = Counter(task.slot for task in live)
        if service.replicas is not None:
            assert len(slots) <= service.replicas
        if service.update.order == "stop-first":
            assert max(slots.values(), default=0) <= 1


@settings(deadline=None, max_examples=60)
@given(wanted=services, chance=chances)
def test_whatever_happens(wanted: list[Service], chance: random.Random) -> None:
    there = World(*wanted)
    for _ in range(25):
        happen(there, chance)
        before = there.tasks
        there.decide()
        check(there, before)
        again = there.plan()
        assert again.actions == (), f"the plan of a decided state is empty, not {again}"


@settings(deadline=None, max_examples=60)
@given(wanted=services, chance=chances)
def test_when_the_trouble_ends_all_run(wanted: list[Service], chance: random.Random) -> None:
    there = World(*wanted)
    for _ in range(15):
        happen(there, chance)
        there.decide()
    for name in there.nodes:
        there.node(name, ready=True, availability="active", memory=100, cpus=100.0)
    for name in there.services:
        there.update(name, update=Update(on_failure="continue"))
    there.settle()
    for service in there.services.values():
        wanted_now = len(there.nodes) if service.replicas is None else service.replicas
        assert len(there.running(service.name)) == len(there.live(service.name)) == wanted_now
        assert {task.version for task in there.live(service.name)} <= {service.version}


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 8), st.integers(1, 4), orders, chances)
def test_an_update_takes_down_no_more_than_it_may(
    replicas: int, parallelism: int, order: str, chance: random.Random
) -> None:
    there = world(Service("web", replicas, update=Update(parallelism, 1.0, order, monitor=0)))
    there.update()
    down = 0
    while there.services["web"].update_state != "completed":
        there.do(lambda _: chance.random() < 0.5)
        there.decide()
        down = max(down, replicas - len(there.running()))
        there.now += 0.5
    assert down <= (parallelism if order == "stop-first" else 0)
    assert {task.version for task in there.running()} == {2}


@given(wanted=services, chance=chances)
def test_the_order_of_what_is_given_makes_no_difference(
    wanted: list[Service], chance: random.Random
) -> None:
    there = World(*wanted)
    for _ in range(5):
        happen(there, chance)
        there.decide()
    happen(there, chance)
    plan = there.plan()
    chance.shuffle(there.tasks)
    there.services = dict(sorted(there.services.items(), reverse=True))
    there.nodes = dict(sorted(there.nodes.items(), reverse=True))
    assert there.plan() == plan
