"""The machines of a cluster and what runs on each, from what their daemons say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from labcontainer.lab.figures import Canvas, Figure

_WIDE, _GAP, _TOP, _HIGH = 190, 16, 48, 240


def node_map(
    nodes: Mapping[str, Mapping[str, Any]],
    tasks: Sequence[Mapping[str, Any]],
    *,
    silent: Sequence[str] = (),
    caption: str = "",
) -> Figure:
    """Draw a box for each node, and in it its tasks, as high as the memory that they reserve.

    Args:
        nodes: by name, each with its "memory" and its "availability".
        tasks: "service", "slot", "node" and "memory" of each.
        silent: names of nodes that gave no answer; what they run is not known.
        caption: a line below the drawing.
    """
    canvas = Canvas((_WIDE + _GAP) * len(nodes) + _GAP, _TOP + _HIGH + 2 * _GAP)
    most = max(node["memory"] for node in nodes.values())
    for at, (name, node) in enumerate(nodes.items()):
        x, high = _GAP + (_WIDE + _GAP) * at, _HIGH * node["memory"] / most
        state = _state(name, node, silent)
        kind = "bad" if name in silent else "host" if state == "active" else "quiet"
        canvas.frame(x, _GAP, _WIDE, high + _TOP, f"{name}: {state}", kind)
        floor = _GAP + _TOP + high - 8
        for task in _on(name, tasks):
            tall = (_HIGH - 8) * task["memory"] / most
            floor -= tall
            words = f"{_name(task)} · {task['memory']} MB"
            canvas.box(x + 10, floor, _WIDE - 20, tall - 4, words, "good")
    return Figure(canvas, _told(nodes, tasks, silent), _rows(nodes, tasks, silent), caption)


def _state(name: str, node: Mapping[str, Any], silent: Sequence[str]) -> str:
    return "no answer" if name in silent else str(node["availability"])


def _on(name: str, tasks: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    here = [task for task in tasks if task["node"] == name]
    return sorted(here, key=lambda task: (task["service"], task["slot"]))


def _name(task: Mapping[str, Any]) -> str:
    return f"{task['service']}.{task['slot']}"


def _told(
    nodes: Mapping[str, Mapping[str, Any]], tasks: Sequence[Mapping[str, Any]],
    silent: Sequence[str],
) -> str:  # fmt: skip
    words = []
    for name, node in nodes.items():
        runs = ", ".join(_name(task) for task in _on(name, tasks)) or "nothing"
        state = _state(name, node, silent)
        known = "what it runs is not known" if name in silent else f"it runs {runs}"
        words.append(f"Node {name} ({state}): {known}.")
    return " ".join(words)


def _rows(
    nodes: Mapping[str, Mapping[str, Any]], tasks: Sequence[Mapping[str, Any]],
    silent: Sequence[str],
) -> list[tuple[str, ...]]:  # fmt: skip
    found: list[tuple[str, ...]] = [("node", "state", "tasks", "reserved")]
    for name, node in nodes.items():
        here = _on(name, tasks)
        used = sum(task["memory"] for task in here)
        state, runs = _state(name, node, silent), " ".join(map(_name, here)) or "-"
        if name in silent:
            runs, reserved = "?", "?"
        else:
            reserved = f"{used} of {node['memory']} MB"
        found.append((name, state, runs, reserved))
    return found
