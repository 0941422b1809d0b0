"""A tree of digests drawn from the left: who knows the leftmost can check all others."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from labcontainer.lab.figures import Canvas, Figure

_WIDE, _HIGH, _ACROSS, _DOWN = 178, 44, 226, 58


def merkle_tree(
    root: str,
    children: Mapping[str, Sequence[str]],
    names: Mapping[str, str],
    *,
    changed: Collection[str] = (),
    caption: str = "",
) -> Figure:
    """Draw the documents and blobs that a digest leads to.

    Args:
        root: the digest on the left.
        children: digest -> the digests that its document holds.
        names: digest -> what it is, such as "manifest".
        changed: digests that are to stand out, dashed and marked "new".
        caption: a line below the drawing.
    """
    columns = _columns(root, children)
    place = {
        digest: (12 + _ACROSS * column, 14 + _DOWN * row)
        for column, digests in enumerate(columns)
        for row, digest in enumerate(digests)
    }
    rows = max(len(digests) for digests in columns)
    canvas = Canvas(_ACROSS * len(columns) - 24, _DOWN * rows + 14)
    for digest, (x, y) in place.items():
        for child in children.get(digest, ()):
            to_x, to_y = place[child]
            canvas.arrow(x + _WIDE, y + _HIGH / 2, to_x, to_y + _HIGH / 2)
    for digest, (x, y) in place.items():
        mark = " · new" if digest in changed else ""
        kind = "bad" if digest in changed else "host"
        canvas.box(x, y, _WIDE, _HIGH, f"{names[digest]}{mark}\n{short(digest)}", kind)
    table = [("what", "digest", "holds the digests of")]
    for digests in columns:
        for digest in digests:
            below = ", ".join(names[child] for child in children.get(digest, ()))
            new = " (new)" if digest in changed else ""
            table.append((names[digest] + new, short(digest), below or "-"))
    words = "; ".join(
        f"{row[0]} holds the digests of {row[2]}" for row in table[1:] if row[2] != "-"
    )
    return Figure(canvas, f"A tree of digests: {words}.", table, caption)


def short(digest: str) -> str:
    """The first eight digits, enough for the eye."""
    return f"{digest.partition(':')[2][:8]}…"


def _columns(root: str, children: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """The digests by their distance from the root, each once."""
    columns, seen = [[root]], {root}
    while True:
        below = [child for digest in columns[-1] for child in children.get(digest, ())]
        fresh = [child for child in dict.fromkeys(below) if child not in seen]
        if not fresh:
            return columns
        seen.update(fresh)
        columns.append(fresh)
