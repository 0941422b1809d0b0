"""Drawings: SVG with alternative text and the same data as a table."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any
from urllib.parse import quote

from labcontainer.errors import UsageError
from labcontainer.lab.cards import Card, inline, show, table_html, table_text

FONT = "font-family='DejaVu Sans, Verdana, sans-serif'"
# kind: fill, line, dashes. Every kind differs in its line too, never by colour alone.
KINDS = {
    "plain": ("#ffffff", "#374151", "none"),
    "host": ("#e8eef7", "#2563a8", "none"),
    "inside": ("#e6f4ea", "#1a7f4b", "7 3"),
    "good": ("#e6f4ea", "#1a7f4b", "none"),
    "bad": ("#fdeee0", "#b35900", "2 3"),
    "quiet": ("#f3f4f6", "#9ca3af", "none"),
}


class Canvas:
    """A small SVG pen. Coordinates are pixels from the upper left corner."""

    def __init__(self, width: int, height: int) -> None:
        self.width = width
        self.height = height
        self._parts: list[str] = []

    def box(
        self, x: float, y: float, w: float, h: float, text: str = "", kind: str = "plain"
    ) -> Canvas:
        """A rounded box; lines of `text` are centred in it, the first one bold."""
        fill, line, dashes = KINDS[kind]
        self._parts.append(
            f"<rect x='{x:g}' y='{y:g}' width='{w:g}' height='{h:g}' rx='6' fill='{fill}' "
            f"stroke='{line}' stroke-width='1.5' stroke-dasharray='{dashes}'/>"
        )
        lines = text.split("\n") if text else []
        top = y + h / 2 - (len(lines) - 1) * 9 + 5
        for i, words in enumerate(lines):
            self.text(x + w / 2, top + 18 * i, words, middle=True, bold=i == 0 and len(lines) > 1)
        return self

    def frame(
        self, x: float, y: float, w: float, h: float, title: str = "", kind: str = "host"
    ) -> Canvas:
        """A box around others, with its title inside at the top left."""
        self.box(x, y, w, h, "", kind)
        if title:
            self.text(x + 10, y + 19, title, bold=True)
        return self

    def text(
        self, x: float, y: float, words: str, *, middle: bool = False, bold: bool = False,
        size: int = 13,
    ) -> Canvas:  # fmt: skip
        """Words with their base line at `y`; from `x` on, or centred on it."""
        anchor = "middle" if middle else "start"
        weight = "bold" if bold else "normal"
        self._parts.append(
            f"<text x='{x:g}' y='{y:g}' {FONT} font-size='{size}' font-weight='{weight}' "
            f"text-anchor='{anchor}' fill='#111827'>{escape(words)}</text>"
        )
        return self

    def arrow(
        self, x1: float, y1: float, x2: float, y2: float, text: str = "", kind: str = "plain"
    ) -> Canvas:
        """An arrow, with words beside its middle."""
        _, line, dashes = KINDS[kind]
        self._parts.append(
            f"<line x1='{x1:g}' y1='{y1:g}' x2='{x2:g}' y2='{y2:g}' stroke='{line}' "
            f"stroke-width='1.8' stroke-dasharray='{dashes}' marker-end='url(#tip)'/>"
        )
        if text:
            sideways = abs(x2 - x1) > abs(y2 - y1)
            x, y = (x1 + x2) / 2, (y1 + y2) / 2
            self.text(*((x, y - 7) if sideways else (x + 8, y + 4)), text, middle=sideways, size=12)
        return self

    def raw(self, svg: str) -> Canvas:
        """Any other SVG element."""
        self._parts.append(svg)
        return self

    def __str__(self) -> str:
        tip = (
            "<defs><marker id='tip' viewBox='0 0 10 10' refX='9' refY='5' markerWidth='7' "
            "markerHeight='7' orient='auto-start-reverse'><path d='M0 0L10 5L0 10z' "
            "fill='#374151'/></marker></defs>"
        )
        paper = f"<rect width='{self.width}' height='{self.height}' rx='8' fill='#ffffff'/>"
        return (
            f"<svg xmlns='http://www.w3.org/2000/svg' width='{self.width}' height='{self.height}' "
            f"viewBox='0 0 {self.width} {self.height}'>{tip}{paper}{''.join(self._parts)}</svg>"
        )


class Figure(Card):
    """A drawing as an image with alternative text, and its data as a table that folds out.

    An `<img>` shows in a notebook that is not trusted yet, where an `<svg>` element would not.
    """

    def __init__(
        self, svg: object, alt: str, table: Sequence[Sequence[object]], caption: str = ""
    ) -> None:
        if not alt.strip() or len(table) < 2:
            raise UsageError("a figure needs alt text and a data table (a head and a row)")
        address = "data:image/svg+xml," + quote(str(svg).replace('"', "'"), safe=" <>=:/;,.()'-+")
        text = escape(alt, quote=True)
        under = f"<figcaption>{inline(caption)}</figcaption>" if caption else ""
        html = (
            f'<figure style="margin: 8px 0"><img alt="{text}" src="{address}" '
            f'style="max-width: 100%"/>{under}'
            f"<details><summary>the data as a table</summary>{table_html(table)}</details></figure>"
        )
        words = f"{caption}: {alt}" if caption else alt
        super().__init__(html, f"[figure] {words}\n{table_text(table)}")


def figure(
    svg: object, *, alt: str, table: Sequence[Sequence[object]], caption: str = ""
) -> Figure:
    """A drawing to be displayed (let it be the last expression of the cell, or pass it to `show`).

    Args:
        svg: SVG text or a Canvas.
        alt: what one sees, in a sentence.
        table: the data; the first row is the head.
    """
    return Figure(svg, alt, table, caption)


def bars(
    rows: Sequence[tuple[Any, ...]], unit: str, *, alt: str, caption: str = "", limit: float = 0
) -> Figure:
    """A bar chart of (label, value) or (label, value, kind) rows. `limit` draws a line there."""
    left, width, step = 12 + 8 * max(len(str(row[0])) for row in rows), 420, 34
    top = max([float(row[1]) for row in rows] + [limit]) or 1.0
    canvas = Canvas(left + width + 130, step * len(rows) + 24)
    for i, row in enumerate(rows):
        y, length = 12 + step * i, max(2.0, float(row[1]) / top * width)
        canvas.text(10, y + 17, str(row[0]))
        canvas.box(left, y, length, 24, "", row[2] if len(row) > 2 else "host")
        canvas.text(left + length + 8, y + 17, f"{row[1]:g} {unit}")
    if limit:
        x = left + limit / top * width
        canvas.raw(f"<line x1='{x:g}' y1='4' x2='{x:g}' y2='{canvas.height - 4}' "
                   f"stroke='#b35900' stroke-width='2' stroke-dasharray='4 3'/>")  # fmt: skip
    table = [("what", unit), *[(row[0], row[1]) for row in rows]]
    return Figure(canvas, alt, table, caption)


def display_figure(figure: Figure) -> None:
    """Show a figure that is not the last expression of its cell."""
    show(figure)
