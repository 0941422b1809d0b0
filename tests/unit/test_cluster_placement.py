"""Which node a task goes to, and the reason when there is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labcontainer import errors
from labcontainer.cluster.placement import (
    Node,
    Occupied,
    Placement,
    Reserve,
    Service,
    Task,
    place,
    refusal,
    satisfies,
)

GIB = 1 << 30


def task(number: int, node: str, service: str = "web", **more: object) -> Task:
    return Task(f"{service}.{number}", service, number, node, "running", **more)  # type: ignore[arg-type]


NODES = [Node(name, memory=2 * GIB, cpus=2.0) for name in ("a", "b", "c")]


def test_the_first_goes_to_the_first_by_name() -> None:
    assert place(Service("web"), [], NODES[::-1]) == Placement("a")


def test_fewest_of_this_service_counts_before_fewest_of_all() -> None:
    tasks = [task(1, "a"), task(1, "b", "db"), task(2, "b", "db"), task(3, "c", "db"), task(2, "c")]
    assert place(Service("web"), tasks, NODES) == Placement("b")


def test_fewest_of_all_decides_between_equals() -> None:
    assert place(Service("web"), [task(1, "a", "db"), task(2, "b", "db")], NODES).node == "c"


def test_one_that_is_being_stopped_still_counts_and_one_that_is_over_does_not() -> None:
    stopping = Task("web.1", "web", 1, "a", "running", desired="shutdown")
    over = Task("web.2", "web", 2, "b", "failed")
    assert place(Service("web"), [stopping, over], NODES).node == "b"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"availability": "drain"}, "1 node not available for new tasks"),
        ({"availability": "pause"}, "1 node not available for new tasks"),
        ({"ready": False}, "1 node not available for new tasks"),
        ({"memory": GIB - 1}, "insufficient resources on 1 node"),
        ({"cpus": 0.5}, "insufficient resources on 1 node"),
        ({"labels": {"disk": "hdd"}}, "scheduling constraints not satisfied on 1 node"),
    ],
)
def test_the_reason_that_a_node_is_not_fit(changes: dict[str, object], reason: str) -> None:
    fit = {"memory": GIB, "cpus": 1.0, "labels": {"disk": "ssd"}}
    service = Service("web", reserve=Reserve(GIB, 1.0), constraints=("node.labels.disk==ssd",))
    assert place(service, [], [Node("a", **fit)]).node == "a"  # type: ignore[arg-type]
    node = Node("a", **{**fit, **changes})  # type: ignore[arg-type]
    assert place(service, [], [node]) == Placement(None, f"no suitable node ({reason})")


def test_reasons_are_counted_and_the_most_frequent_comes_first() -> None:
    nodes = [*NODES, Node("d", availability="drain")]
    found = place(Service("web", reserve=Reserve(memory=3 * GIB)), [], nodes)
    assert found.reason == (
        "no suitable node (insufficient resources on 3 nodes; 1 node not available for new tasks)"
    )


def test_no_nodes_at_all() -> None:
    assert place(Service("web"), [], []) == Placement(None, "no suitable node")


def test_fractions_of_a_processor_add_up_exactly() -> None:
    ten = [task(number, "a", reserve=Reserve(cpus=0.1)) for number in range(1, 10)]
    service = Service("web", reserve=Reserve(cpus=0.1))
    assert place(service, ten, [Node("a", cpus=1.0)]).node == "a"


def test_a_published_port_is_taken_once_a_node() -> None:
    service = Service("web", ports=("80/tcp",))
    tasks = [task(1, "a", ports=("80/tcp",)), task(2, "b", ports=("80/udp",))]
    assert place(service, tasks, NODES[:2]).node == "b"
    assert place(service, tasks, NODES[:1]).reason == (
        "no suitable node (host-mode port already in use on 1 node)"
    )


def test_a_limit_for_each_node() -> None:
    found = place(Service("web", max_per_node=1), [task(1, "a")], NODES[:1])
    assert found.reason == "no suitable node (max replicas per node limit exceed on 1 node)"


@pytest.mark.parametrize(
    ("constraint", "holds"),
    [
        ("node.hostname==a", True),
        ("node.hostname == A", True),
        ("node.hostname!=a", False),
        ("node.id==7", True),
        ("node.role==worker", True),
        ("node.role!=manager", True),
        ("node.labels.disk==ssd", True),
        ("node.labels.disk!=ssd", False),
        ("node.labels.none==x", False),
        ("node.labels.none!=x", True),
    ],
)
def test_constraints(constraint: str, holds: bool) -> None:
    assert satisfies(Node("a", id="7", labels={"disk": "ssd"}), [constraint]) is holds


@pytest.mark.parametrize("text", ["", "node.hostname", "node.hostname==", "name==a", "=="])
def test_what_is_no_constraint(text: str) -> None:
    with pytest.raises(errors.UsageError, match="constraint"):
        satisfies(Node("a"), [text])


sizes = st.integers(0, 4)
some_nodes = st.lists(
    st.builds(
        Node,
        st.sampled_from("abcde"),
        availability=st.sampled_from(["active", "active", "pause", "drain"]),
        ready=st.booleans(),
        memory=sizes,
        cpus=st.sampled_from([0.5, 1.0, 2.0]),
    ),
    unique_by=lambda node: node.name,
)
some_services = st.builds(
    Service,
    st.sampled_from(["web", "db"]),
    reserve=st.builds(Reserve, sizes, st.sampled_from([0.0, 0.1, 0.5])),
    max_per_node=st.integers(0, 2),
)


@given(nodes=some_nodes, services=st.lists(some_services, max_size=20))
def test_never_more_than_a_node_has_and_never_where_it_may_not_be(
    nodes: list[Node], services: list[Service]
) -> None:
    tasks: list[Task] = []
    for number, service in enumerate(services):
        found = place(service, tasks, nodes)
        assert (found.node is None) == bool(found.reason)
        if found.node is None:
            there = Occupied(tasks)
            assert all(refusal(service, node, there) for node in nodes)
            continue
        tasks.append(task(number, found.node, service.name, reserve=service.reserve))
        node = next(node for node in nodes if node.name == found.node)
        mine = [one for one in tasks if one.node == node.name]
        assert node.ready and node.availability == "active"
        assert sum(one.reserve.memory for one in mine) <= node.memory or not service.reserve.memory
        assert round(sum(one.reserve.cpus for one in mine), 6) <= node.cpus


@given(st.integers(1, 40), st.integers(1, 6))
def test_equal_nodes_get_equally_many(replicas: int, count: int) -> None:
    nodes = [Node(f"n{number}") for number in range(count)]
    tasks: list[Task] = []
    for number in range(replicas):
        found = place(Service("web"), tasks, nodes)
        tasks.append(task(number, found.node or ""))
    counts = [sum(one.node == node.name for one in tasks) for node in nodes]
    assert max(counts) - min(counts) <= 1
