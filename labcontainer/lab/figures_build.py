"""The stages of a Dockerfile as a graph, drawn from what the builder itself goes by."""

from __future__ import annotations

from collections.abc import Collection

from labcontainer.build.graph import Graph, Stage
from labcontainer.lab.figures import Canvas, Figure

_WIDE, _STEP, _ACROSS, _GAP = 250, 26, 320, 24


def build_graph(
    graph: Graph, target: str = "", *, cached: Collection[str] = (), caption: str = ""
) -> Figure:
    """Draw the stages: those that stand on nothing at the left, the target at the right.

    Args:
        graph: `build.graph.draw_up` of a Dockerfile.
        target: the stage that is wanted; those that it does not need are grey.
        cached: texts of instructions whose results are known, marked "cached".
        caption: a line below the drawing.
    """
    needed = {stage.number for stage in graph.needed(target)}
    place = _places(graph)
    height = max(y + _height(graph.stages[number]) for number, (_, y) in place.items())
    width = max(x for x, _ in place.values()) + _WIDE
    canvas = Canvas(int(width) + 16, int(height) + 14)
    for stage in graph.stages:
        x, y = place[stage.number]
        for number in stage.needs:
            from_x, from_y = place[number]
            canvas.arrow(from_x + _WIDE, from_y + 14, x, y + 14)
    for stage in graph.stages:
        _stage(canvas, stage, place[stage.number], stage.number in needed, cached)
    rows = [("stage", "stands on", "instructions", "built")]
    for stage in graph.stages:
        on = [graph.stages[number].name for number in stage.needs] + list(stage.images)
        texts = "; ".join(_words(step.line.text, cached) for step in stage.steps)
        built = "yes" if stage.number in needed else "no"
        rows.append((stage.name, ", ".join(on) or "nothing", texts or "none", built))
    words = " ".join(
        f"Stage {name} stands on {on}; built: {built}." for name, on, _, built in rows[1:]
    )
    return Figure(canvas, words, rows, caption)


def _places(graph: Graph) -> dict[int, tuple[float, float]]:
    """Where each stage goes: right of all that it stands on, below those of its column."""
    depth: dict[int, int] = {}
    for stage in graph.stages:  # a stage stands on earlier ones
        depth[stage.number] = 1 + max((depth[one] for one in stage.needs), default=-1)
    below: dict[int, float] = {}
    place = {}
    for stage in graph.stages:
        column = depth[stage.number]
        y = below.get(column, 10.0)
        place[stage.number] = (8.0 + _ACROSS * column, y)
        below[column] = y + _height(stage) + _GAP
    return place


def _height(stage: Stage) -> int:
    return 34 + _STEP * (1 + len(stage.steps))


def _stage(
    canvas: Canvas, stage: Stage, place: tuple[float, float], wanted: bool, cached: Collection[str]
) -> None:
    x, y = place
    title = stage.name if wanted else f"{stage.name} (not needed)"
    canvas.frame(x, y, _WIDE, _height(stage), title, "inside" if wanted else "quiet")
    for row, line in enumerate([stage.origin.line, *(step.line for step in stage.steps)]):
        text = line.text if len(line.text) <= 32 else line.text[:31] + "…"
        mark = " ✓" if line.text in cached else ""
        canvas.text(x + 14, y + 46 + _STEP * row, text + mark, size=12)


def _words(text: str, cached: Collection[str]) -> str:
    return f"{text} (cached)" if text in cached else text
