"""A stack of layers drawn as a table one looks down on: names across, layers below one another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from labcontainer.lab.figures import Canvas, Figure

_CELL, _ROW, _LEFT = 108, 44, 150
# What an entry is -> how it is drawn. The words are in the box: nothing is told by colour alone.
_KINDS = {"file": "host", "directory": "host", "whiteout": "bad", "opaque": "bad"}


def layer_stack(
    layers: Sequence[tuple[str, Mapping[str, str]]],
    shown: Mapping[str, str] | Sequence[str],
    *,
    caption: str = "",
) -> Figure:
    """Draw layers, the top one first, and above them what they show together.

    Args:
        layers: (title, name -> "file", "directory", "whiteout" or "opaque") of each layer.
        shown: the names that the union shows; with a mapping, what is written in their boxes.
        caption: a line below the drawing.
    """
    names = sorted({name for _, entries in layers for name in entries} | set(shown))
    seen = dict(shown) if isinstance(shown, Mapping) else {name: "shows" for name in shown}
    canvas = Canvas(_LEFT + _CELL * len(names) + 16, _ROW * (len(layers) + 1) + 54)
    for column, name in enumerate(names):
        canvas.text(_LEFT + _CELL * column + _CELL / 2 - 4, 22, name, middle=True, bold=True)
    _row(canvas, 0, "the union", {name: "inside" for name in seen}, seen, names)
    for number, (title, entries) in enumerate(layers, 1):
        kinds = {name: _KINDS.get(what, "host") for name, what in entries.items()}
        _row(canvas, number, title, kinds, entries, names)
    rows = [("layer", *names), ("the union", *(seen.get(name, "") for name in names))]
    rows += [(title, *(entries.get(name, "") for name in names)) for title, entries in layers]
    return Figure(canvas, _words(layers, seen), rows, caption)


def _row(
    canvas: Canvas, number: int, title: str, kinds: Mapping[str, str], words: Mapping[str, str],
    names: Sequence[str],
) -> None:  # fmt: skip
    y = 36 + _ROW * number
    canvas.text(12, y + 22, title, bold=number == 0)
    for column, name in enumerate(names):
        if name in kinds:
            x = _LEFT + _CELL * column
            canvas.box(x, y, _CELL - 8, _ROW - 10, words[name], kinds[name])
    if number == 0:
        width = _LEFT + _CELL * len(names)
        canvas.raw(f"<line x1='8' y1='{y + 40}' x2='{width}' y2='{y + 40}' stroke='#374151'/>")


def _words(layers: Sequence[tuple[str, Mapping[str, str]]], shown: Mapping[str, str]) -> str:
    parts = [f"The union shows {', '.join(sorted(shown)) or 'nothing'}."]
    for title, entries in layers:
        inside = ", ".join(f"{name} ({what})" for name, what in sorted(entries.items()))
        parts.append(f"Layer {title}: {inside or 'empty'}.")
    return " ".join(parts)
