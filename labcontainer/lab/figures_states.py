"""The life of a container as a drawing: states as boxes, and the verbs between them."""

from __future__ import annotations

from collections.abc import Mapping

from labcontainer.lab.figures import Canvas, Figure

_WIDTH, _HEIGHT = 106, 44
# Where a state stands, and how far the arrow between two of them is bent: up is positive.
_PLACES = {
    "creating": (16, 130),
    "created": (190, 130),
    "running": (370, 130),
    "stopped": (550, 130),
    "paused": (370, 280),
    "": (720, 130),
}
_BENDS = {
    ("created", "stopped"): 100.0,
    ("created", ""): 200.0,
    ("running", "paused"): 22.0,
    ("paused", "running"): 22.0,
}
_ASIDE = {  # words beside an arrow that is not level: (right, down) of its middle
    ("created", "paused"): (-40, 0),
    ("paused", "stopped"): (36, 4),
    ("running", "paused"): (30, 8),
    ("paused", "running"): (-34, 8),
}


def life(transitions: Mapping[tuple[str, str], str], *, caption: str = "") -> Figure:
    """Draw a table of (state, verb) -> state; "" is a container that is gone."""
    canvas = Canvas(842, 350)
    steps: dict[tuple[str, str], list[str]] = {("creating", "created"): ["create"]}
    for (state, verb), following in transitions.items():
        steps.setdefault((state, following), []).append(verb)
    for (start, end), verbs in steps.items():
        if start != end:
            _arrow(canvas, start, end, ", ".join(verbs))
    for state, (x, y) in _PLACES.items():
        stays = ", ".join(steps.get((state, state), ()))
        text = f"{state}\n " if stays else state or "(gone)"
        canvas.box(x, y, _WIDTH, _HEIGHT, text, "host" if state else "quiet")
        if stays:
            canvas.text(x + 6, y + 37, f"stays: {stays}", size=9)
    told = [(state, verb, following or "gone") for (state, verb), following in transitions.items()]
    words = "; ".join(f"{verb} leads from {state} to {then}" for state, verb, then in told)
    return Figure(
        canvas, f"States and verbs: {words}.", [("state", "verb", "then"), *told], caption
    )


def _arrow(canvas: Canvas, start: str, end: str, words: str) -> None:
    """A curve from the border of one box to that of another, with words at its middle."""
    (x1, y1), (x2, y2) = (
        (_PLACES[one][0] + _WIDTH / 2, _PLACES[one][1] + _HEIGHT / 2) for one in (start, end)
    )
    bend, dx, dy = _BENDS.get((start, end), 0.0), x2 - x1, y2 - y1
    length = (dx * dx + dy * dy) ** 0.5
    mx, my = (x1 + x2) / 2 + bend * dy / length, (y1 + y2) / 2 - bend * dx / length
    (ax, ay), (bx, by) = _border(x1, y1, mx, my), _border(x2, y2, mx, my)
    canvas.raw(
        f"<path d='M{ax:.0f} {ay:.0f}Q{mx:.0f} {my:.0f} {bx:.0f} {by:.0f}' fill='none' "
        "stroke='#374151' stroke-width='1.6' marker-end='url(#tip)'/>"
    )
    right, down = _ASIDE.get((start, end), (0, -6))
    x, y = (ax + bx) / 4 + mx / 2 + right, (ay + by) / 4 + my / 2 + down
    canvas.text(x, y, words, middle=True, size=12)


def _border(x: float, y: float, mx: float, my: float) -> tuple[float, float]:
    """Where the way from a box's middle to (mx, my) leaves the box."""
    dx, dy = mx - x, my - y
    scale = min(
        (_WIDTH / 2 + 3) / max(abs(dx), 1e-9),
        (_HEIGHT / 2 + 3) / max(abs(dy), 1e-9),
    )
    return x + dx * scale, y + dy * scale
