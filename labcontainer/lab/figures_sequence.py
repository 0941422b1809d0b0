"""Who says what to whom, from top to bottom: a sequence diagram."""

from __future__ import annotations

from collections.abc import Sequence

from labcontainer.lab.figures import Canvas, Figure

_LANE, _STEP, _TOP = 190, 40, 84


def sequence(
    actors: Sequence[str], messages: Sequence[tuple[str, str, str, str]], *, caption: str = ""
) -> Figure:
    """Draw messages between actors, the first one on top.

    Args:
        actors: their names, from left to right.
        messages: (from, to, words, answer) each; the answer goes under the arrow, "" for none.
        caption: a line below the drawing.
    """
    height = _TOP + _STEP * len(messages) + 20
    canvas = Canvas(_LANE * len(actors) + 20, height)
    middles = {name: 10 + _LANE * i + _LANE / 2 for i, name in enumerate(actors)}
    for name, x in middles.items():
        canvas.raw(
            f"<line x1='{x:g}' y1='48' x2='{x:g}' y2='{height - 10}' stroke='#9ca3af' "
            "stroke-dasharray='4 4'/>"
        )
        canvas.box(x - 66, 12, 132, 36, name, "host")
    for number, (sender, receiver, words, answer) in enumerate(messages):
        _message(canvas, middles[sender], middles[receiver], _TOP + _STEP * number, words, answer)
    rows = [("from", "to", "what", "answer"), *((a, b, c, d or "-") for a, b, c, d in messages)]
    told = "; ".join(f"{a} to {b}: {c}" for a, b, c, _ in messages)
    return Figure(canvas, f"From top to bottom: {told}.", rows, caption)


def _message(canvas: Canvas, x1: float, x2: float, y: float, words: str, answer: str) -> None:
    if x1 == x2:  # something that an actor does by itself
        canvas.box(x1 - 70, y - 16, 140, 24, "", "quiet")
        canvas.text(x1, y, words, middle=True, size=11)
        return
    canvas.raw(
        f"<line x1='{x1:g}' y1='{y:g}' x2='{x2:g}' y2='{y:g}' stroke='#374151' stroke-width='1.6' "
        "marker-end='url(#tip)'/>"
    )
    middle = (x1 + x2) / 2
    shown = 1.2 * abs(x2 - x1) / 7
    canvas.text(middle, y - 5, words if len(words) < shown else words[: int(shown)] + "…",
                middle=True, size=11)  # fmt: skip
    if answer:
        canvas.text(middle, y + 13, answer, middle=True, size=10)
