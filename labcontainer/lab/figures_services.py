"""The services of a Compose project and what they wait for, from the project's own graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from labcontainer.lab.figures import Canvas, Figure

if TYPE_CHECKING:
    from labcontainer.compose.graph import Edge, Graph

_WIDE, _HIGH, _ACROSS, _DOWN = 130, 44, 290, 58
_WORDS = {
    "service_started": "started",
    "service_healthy": "healthy",
    "service_completed_successfully": "ended with 0",
}
_KINDS = {"running": "good", "healthy": "good", "starting": "host", "exited": "bad",
          "unhealthy": "bad"}  # fmt: skip


def service_graph(
    graph: Graph, states: Mapping[str, str] | None = None, *, caption: str = ""
) -> Figure:
    """Draw the services: those that are started first at the left, each behind what it waits for.

    Args:
        graph: `compose.graph.of` of a project.
        states: a word for each service, such as "running" or "exited", shown below its name.
        caption: a line below the drawing.
    """
    known = states or {}
    column = {name: at for at, level in enumerate(graph.levels) for name in level}
    # A row for each: so no arrow runs through another service's box.
    place = {name: (10 + _ACROSS * column[name], 34 + _DOWN * at)
             for at, name in enumerate(graph.nodes)}  # fmt: skip
    width = _ACROSS * (len(graph.levels) - 1) + _WIDE + 20
    canvas = Canvas(width, 40 + _DOWN * len(graph.nodes))
    for number in range(len(graph.levels)):
        canvas.text(10 + _ACROSS * number + _WIDE / 2, 20, f"round {number + 1}", middle=True)
    for edge in graph.edges:
        _edge(canvas, edge, place)
    for name, (x, y) in place.items():
        state = known.get(name, "")
        text = f"{name}\n{state}" if state else name
        canvas.box(x, y, _WIDE, _HIGH, text, _KINDS.get(state, "plain"))
    return Figure(canvas, _told(graph), _rows(graph, known), caption)


def _edge(canvas: Canvas, edge: Edge, place: Mapping[str, tuple[float, float]]) -> None:
    """Along the row of what is waited for, then over to who waits."""
    (x1, y1), (x2, y2) = place[edge.target], place[edge.source]
    words = _WORDS[edge.condition] + ("" if edge.required else "?")
    y, bend = y1 + _HIGH / 2, x2 - 50
    canvas.raw(
        f"<line x1='{x1 + _WIDE:g}' y1='{y:g}' x2='{bend:g}' y2='{y:g}' stroke='#374151' "
        "stroke-width='1.8'/>"
    )
    canvas.arrow(bend, y, x2 - 2, y2 + _HIGH / 2)
    canvas.text(bend - 96, y - 6, words, size=12)


def _waits(graph: Graph, name: str) -> str:
    waits = [f"{one.target} ({_WORDS[one.condition]})" for one in graph.edges if one.source == name]
    return ", ".join(waits) or "nothing"


def _told(graph: Graph) -> str:
    return " ".join(f"Service {name} waits for {_waits(graph, name)}." for name in graph.nodes)


def _rows(graph: Graph, known: Mapping[str, str]) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = [("service", "round", "waits for", "state")]
    for number, level in enumerate(graph.levels, 1):
        found += [(name, str(number), _waits(graph, name), known.get(name, "-")) for name in level]
    return found
