"""Which service must wait for which: the order of starting, and of stopping, which is its reverse.

An edge leads from a service to what it depends on. What does not depend on one another is started
side by side. `of(project)` is the graph as plain data for a drawing.
"""

from __future__ import annotations

import graphlib
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from labcontainer import errors
from labcontainer.compose.model import Project, Service


class CycleError(errors.LabError):
    """Services that wait for one another; `way` begins and ends with the same one."""

    def __init__(self, way: list[str]) -> None:
        super().__init__(f"dependency cycle detected: {' -> '.join(way)}")
        self.way = way


@dataclass(frozen=True)
class Edge:
    """`source` waits until `condition` is so of `target`."""

    source: str
    target: str
    condition: str
    required: bool = True


@dataclass(frozen=True)
class Graph:
    """Services in `nodes`, in the order of their start; `levels` are those that start together."""

    nodes: tuple[str, ...]
    edges: tuple[Edge, ...]
    levels: tuple[tuple[str, ...], ...]


def of(project: Project) -> Graph:
    """A project's graph as data."""
    edges = tuple(
        Edge(name, one.service, one.condition, one.required)
        for name, service in sorted(project.services.items())
        for one in service.depends_on
        if one.service in project.services
    )
    levels = order(project.services)
    return Graph(tuple(name for level in levels for name in level), edges, levels)


def order(services: Mapping[str, Service]) -> tuple[tuple[str, ...], ...]:
    """Services by levels: each needs only those of the levels before it.

    Raises:
        CycleError: there is no such order.
    """
    sorter = _sorter(needs(services))
    levels: list[tuple[str, ...]] = []
    while sorter.is_active():
        ready = tuple(sorted(sorter.get_ready()))
        levels.append(ready)
        sorter.done(*ready)
    return tuple(levels)


def needs(services: Mapping[str, Service]) -> dict[str, set[str]]:
    """What each service needs, of those that there are."""
    return {
        name: {one.service for one in service.depends_on if one.service in services}
        for name, service in sorted(services.items())
    }


def reversed_needs(services: Mapping[str, Service]) -> dict[str, set[str]]:
    """For stopping: each service waits for those that need it."""
    found: dict[str, set[str]] = {name: set() for name in sorted(services)}
    for name, others in needs(services).items():
        for other in others:
            found[other].add(name)
    return found


def _sorter(edges: dict[str, set[str]]) -> graphlib.TopologicalSorter[str]:
    sorter = graphlib.TopologicalSorter({name: sorted(edges[name]) for name in sorted(edges)})
    try:
        sorter.prepare()
    except graphlib.CycleError as error:
        # graphlib tells a cycle from what is needed to who needs it.
        raise CycleError(list(reversed(error.args[1]))) from None
    return sorter


def walk(
    edges: dict[str, set[str]],
    act: Callable[[str], None],
    cancel: Callable[[], None] = lambda: None,
    most: int = 0,
) -> None:
    """Call `act` for each name, as soon as all that it needs are done, several at a time.

    `most` at a time; 0 is as many as there are.

    After a failure nothing new is begun; what runs is waited for, then the first error is raised.
    `cancel` is called on Ctrl-C, so that those who run may end.
    """
    sorter = _sorter(edges)
    running: dict[Future[None], str] = {}
    failed: BaseException | None = None
    with ThreadPoolExecutor(max_workers=most or max(len(edges), 1)) as pool:
        try:
            while running or (failed is None and sorter.is_active()):
                if failed is None:
                    for name in sorted(sorter.get_ready()):
                        running[pool.submit(act, name)] = name
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in sorted(done, key=lambda one: running[one]):
                    failed = failed or future.exception()
                    sorter.done(running.pop(future))
        except KeyboardInterrupt:
            cancel()
            raise
    if failed is not None:
        raise failed
