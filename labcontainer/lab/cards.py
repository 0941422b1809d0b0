"""Boxes of words in a notebook: each has an HTML form and a text twin that says the same."""

from __future__ import annotations

import difflib
import inspect
import re
import textwrap
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import labcontainer
from labcontainer.lab.exercise import DONE, NOT_ATTEMPTED, NOT_YET, Exercise, Outcome

# Colours that read on a light and on a dark page; each box also has its own sign and word.
COLOURS = {"good": "#1a7f4b", "bad": "#b35900", "quiet": "#6b7280", "info": "#2563a8"}
SIGNS = {DONE: ("good", "✓"), NOT_YET: ("bad", "↻"), NOT_ATTEMPTED: ("quiet", "○")}

_EMPHASIS = re.compile(r"(?<![\w*])\*([^*\s](?:[^*]*[^*\s])?)\*(?![\w*])")


class Card:
    """Something to display: `text/html` for the notebook, `text/plain` for everything else."""

    def __init__(self, html: str, text: str) -> None:
        self.html = html
        self.text = text

    def _repr_mimebundle_(self, **_options: object) -> dict[str, str]:
        return {"text/plain": self.text, "text/html": self.html}

    def __repr__(self) -> str:
        return self.text


def show(card: Card) -> None:
    """Display a card; print its text where there is no notebook."""
    try:
        from IPython import get_ipython
        from IPython.display import display
    except ImportError:
        print(card.text)
        return
    if get_ipython() is None:
        print(card.text)
    else:
        display(card)


def box(kind: str, head: str, body: str) -> str:
    """A box with a bar at its left in the colour of its kind."""
    colour = COLOURS[kind]
    return (
        f'<div style="border-left: 5px solid {colour}; padding: 4px 14px; margin: 6px 0">'
        f'<div style="font-weight: bold; color: {colour}">{head}</div>{body}</div>'
    )


def table_html(rows: Sequence[Sequence[object]]) -> str:
    """A table; the first row is its head."""
    head, *rest = rows
    cells = "".join(f'<th style="text-align: left">{inline(str(cell))}</th>' for cell in head)
    lines = [f"<tr>{cells}</tr>"]
    for row in rest:
        cells = "".join(f'<td style="text-align: left">{inline(str(cell))}</td>' for cell in row)
        lines.append(f"<tr>{cells}</tr>")
    return f"<table>{''.join(lines)}</table>"


def table_text(rows: Sequence[Sequence[object]]) -> str:
    """The same table in letters."""
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in texts) for i in range(len(texts[0]))]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip()
             for row in texts]  # fmt: skip
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def inline(text: str) -> str:
    """Text with `code` in backticks and *emphasis* in stars, as HTML."""
    parts = escape(text).split("`")
    return "".join(
        f"<code>{part}</code>" if i % 2 else _EMPHASIS.sub(r"<em>\1</em>", part)
        for i, part in enumerate(parts)
    )


def code_block(text: str) -> str:
    """Lines of code or diff."""
    return f'<pre style="margin: 4px 0; line-height: 1.35">{escape(text)}</pre>'


# --- the answer of a check ----------------------------------------------------------------------


def outcome(exercise: Exercise, found: Outcome, bound: str) -> Card:
    """The card of a check; `bound` says what the names mean now."""
    kind, sign = SIGNS.get(found.state, ("info", "–"))
    score = f" · score: {found.score}" if found.score else ""
    head = f"{sign} {exercise.id} · {found.state}{score}"
    rows = [("wanted", found.expected), ("observed", found.observed), ("look at", found.where),
            ("hint", found.hint)]  # fmt: skip
    rows = [(name, value) for name, value in rows if value]
    lines = [line for line in (found.text, bound) if line]
    text = [head, *[f"  {line}" for line in lines if line == found.text]]
    text += [textwrap.indent(f"{name + ':':10}{value}", "  ") for name, value in rows]
    text += [f"  {bound}"] if bound else []
    body = "".join(f"<div>{inline(line)}</div>" for line in lines if line == found.text)
    body += "".join(f"<div><b>{name}</b>: {inline(value)}</div>" for name, value in rows)
    body += f'<div style="opacity: 0.75">{inline(bound)}</div>' if bound else ""
    return Card(box(kind, escape(head), body), "\n".join(text))


# --- boxes that an author writes ----------------------------------------------------------------


def recall(question: str, answer: str) -> None:
    """A question about an earlier notebook; its answer folds out."""
    html = f"<details><summary>{inline(question)}</summary>{inline(answer)}</details>"
    text = f"From before: {question}\n  Answer: {answer}"
    show(Card(box("info", "From before", html), text))


def real_thing(text: str, places: Sequence[tuple[str, str, str]]) -> None:
    """Where the same step lies in other container software: (project, file, function) rows."""
    rows = [("project", "file", "function"), *places]
    html = f"<div>{inline(text)}</div>{table_html(rows)}"
    plain = f"The real thing: {text}\n{textwrap.indent(table_text(rows), '  ')}"
    show(Card(box("info", "The real thing", html), plain))


def recap(title: str, points: Sequence[tuple[str, str]], next: str = "") -> None:
    """The recap card: (word, meaning) rows, and where to go on."""
    rows = [("word", "what it does"), *points]
    onward = f"<div>Next: {inline(next)}</div>" if next else ""
    plain = f"Recap: {title}\n{textwrap.indent(table_text(rows), '  ')}"
    plain += f"\n  Next: {next}" if next else ""
    head = f"Recap: {escape(title)}"
    show(Card(box("good", head, table_html(rows) + onward), plain))


def show_source(obj: Any, lines: tuple[int, int] | None = None) -> None:
    """The package's own real code of a function, class or module.

    `lines` picks (first, last) of it, counted from 1 at its first line.
    """
    path = Path(inspect.getsourcefile(obj) or "")
    text = inspect.getsource(obj)
    if lines:
        text = "\n".join(text.splitlines()[lines[0] - 1 : lines[1]])
    root = Path(labcontainer.__file__ or "").resolve().parent.parent
    shown = path.resolve().relative_to(root) if path.resolve().is_relative_to(root) else path
    text = textwrap.dedent(text).rstrip()
    show(Card(box("info", escape(str(shown)), code_block(text)), f"{shown}\n{text}"))


def diff(before: Any, after: Any, title: str = "") -> None:
    """What a step changed: two functions or two texts, as a unified diff without its heads."""
    old, new = (_text_of(thing).splitlines() for thing in (before, after))
    lines = [line for line in difflib.unified_diff(old, new, lineterm="", n=2)][2:]
    text = "\n".join(line for line in lines if not line.startswith("@@")) or "(no change)"
    head = title or "What changed"
    show(Card(box("info", escape(head), _diff_html(text)), f"{head}\n{text}"))


def _text_of(thing: Any) -> str:
    return thing if isinstance(thing, str) else textwrap.dedent(inspect.getsource(thing))


def _diff_html(text: str) -> str:
    """A diff with added lines bold and removed lines struck: readable without colour."""
    styles = {"+": f"color: {COLOURS['good']}; font-weight: bold",
              "-": f"color: {COLOURS['bad']}; text-decoration: line-through"}  # fmt: skip
    lines = [
        f'<span style="{styles[line[0]]}">{escape(line)}</span>' if line[:1] in styles
        else escape(line)
        for line in text.splitlines()
    ]  # fmt: skip
    return f'<pre style="margin: 4px 0; line-height: 1.35">{chr(10).join(lines)}</pre>'
