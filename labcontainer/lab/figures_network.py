"""A network as it is now: namespaces as frames, links as boxes in them, cables between the boxes.

What is drawn comes from `labcontainer.topology`, which asks the kernel; as a Topology, or in the
form of plain values in which it comes back from the helper process.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from labcontainer.lab.figures import Canvas, Figure
from labcontainer.topology import Topology

_COLUMN, _BOX, _HOST, _BELOW = 190, 44, 170, 236
Row = dict[str, Any]


def network_map(found: Topology | Mapping[str, Any], *, caption: str = "") -> Figure:
    """Draw namespaces and their cables, the first one (the host) above the others."""
    value = _plain(found) if isinstance(found, Topology) else found
    host, *others = value["places"]
    rows = [_rows(place, value["cables"]) for place in (host, *others)]
    canvas = Canvas(max(_COLUMN * len(others) + 30, 400), _BELOW + 116)
    canvas.frame(8, 8, canvas.width - 16, _HOST, host["name"])
    columns = {place["name"]: 20 + _COLUMN * number for number, place in enumerate(others)}
    _draw_host(canvas, rows[0], columns)
    for place, links in zip(others, rows[1:], strict=True):
        _draw_place(canvas, place["name"], links, columns[place["name"]])
    flat = [row for links in rows for row in links]
    head = ("namespace", "link", "state", "address", "bridge", "cable to")
    table = [head, *(tuple(row[name] or "-" for name in _FIELDS) for row in flat)]
    return Figure(canvas, _words(flat), table, caption)


_FIELDS = ("place", "name", "state", "address", "master", "cable")


def _plain(found: Topology) -> dict[str, Any]:
    places = [
        {
            "name": place.name,
            "links": [link.as_dict() for link in place.links],
            "addresses": [address.as_dict() for address in place.addresses],
        }
        for place in found.places
    ]
    return {"places": places, "cables": found.cables}


def _rows(place: Mapping[str, Any], cables: Any) -> list[Row]:
    """What is to be told of each link but the loopback."""
    names = {link["index"]: link["name"] for link in place["links"]}
    ends: dict[tuple[str, str], str] = {}
    for one, other in cables:
        ends[tuple(one)], ends[tuple(other)] = ":".join(other), ":".join(one)
    found = []
    for link in place["links"]:
        if link["kind"] not in ("bridge", "veth"):
            continue
        own = [one["address"] for one in place["addresses"] if one["index"] == link["index"]]
        row = {"place": place["name"], "name": link["name"], "kind": link["kind"]}
        row |= {"state": "up" if link["up"] else "down", "master": names.get(link["master"], "")}
        row |= {"address": ", ".join(one for one in own if ":" not in one)}
        found.append(row | {"cable": ends.get((place["name"], link["name"]), "")})
    return found


def _link(canvas: Canvas, row: Row, x: float, y: float, width: float, kind: str) -> None:
    name = row["name"] if row["state"] == "up" else f"{row['name']} (down)"
    text = f"{name}\n{row['address']}" if row["address"] else name
    canvas.box(x, y, width, _BOX, text, kind if row["state"] == "up" else "bad")


def _line(canvas: Canvas, x: float, y1: float, y2: float) -> None:
    canvas.raw(
        f"<line x1='{x:g}' y1='{y1:g}' x2='{x:g}' y2='{y2:g}' stroke='#374151' stroke-width='2'/>"
    )


def _draw_host(canvas: Canvas, rows: list[Row], columns: dict[str, int]) -> None:
    """The host's ends of the cables, each above the place that it leads to; bridges above them."""
    places: dict[str, int] = {}
    for row in rows:
        where = row["cable"].partition(":")[0]
        if row["kind"] == "veth" and where in columns:
            x = places[row["name"]] = columns[where]
            _link(canvas, row, x, 118, 150, "host")
            _line(canvas, x + 75, 118 + _BOX, _BELOW + 40)
    for row in rows:
        if row["kind"] != "bridge":
            continue
        ports = [places[one["name"]] for one in rows
                 if one["master"] == row["name"] and one["name"] in places]  # fmt: skip
        left, right = min(ports, default=20), max(ports, default=20)
        _link(canvas, row, left, 40, right - left + 150, "good")
        for x in ports:
            _line(canvas, x + 75, 40 + _BOX, 118)


def _draw_place(canvas: Canvas, name: str, rows: list[Row], x: float) -> None:
    canvas.frame(x - 8, _BELOW, 166, 100, "", "inside")
    for row in rows[:1]:
        _link(canvas, row, x, _BELOW + 40, 150, "inside")
    canvas.text(x + 2, _BELOW + 20, name if rows else f"{name}: no link", bold=True)


def _words(rows: list[Row]) -> str:
    bridges = [row for row in rows if row["kind"] == "bridge"]
    parts = [
        f"Bridge {row['name']} of {row['place']} has the ports "
        + (", ".join(one["name"] for one in rows if one["master"] == row["name"]) or "none")
        for row in bridges
    ]
    cables = sorted({tuple(sorted((f"{row['place']}:{row['name']}", row["cable"])))
                     for row in rows if row["cable"]})  # fmt: skip
    parts += [f"a cable from {one} to {other}" for one, other in cables]
    return "; ".join(parts) + "." if parts else "Network namespaces without any link between them."
