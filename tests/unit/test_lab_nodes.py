"""The drawing of a cluster: each node with what it runs; of one that is silent nobody knows."""

from __future__ import annotations

import re
import urllib.parse
import xml.etree.ElementTree as ET

from labcontainer.lab.figures import Figure
from labcontainer.lab.figures_nodes import node_map

NODES = {
    "one": {"memory": 256, "availability": "active"},
    "two": {"memory": 128, "availability": "drain"},
}
TASKS = [
    {"service": "web", "slot": 2, "node": "one", "memory": 64},
    {"service": "web", "slot": 1, "node": "one", "memory": 32},
    {"service": "db", "slot": 1, "node": "two", "memory": 128},
]


def boxes(figure: Figure) -> list[tuple[float, float, float, float]]:
    """(x, y, width, height) of what is drawn, without the paper; it must be well-formed."""
    found = re.search(r'src="data:image/svg\+xml,([^"]*)"', figure.html)
    assert found
    tree = ET.fromstring(urllib.parse.unquote(found[1]))
    drawn = [one for one in tree.iter() if one.tag.endswith("rect") and "x" in one.attrib]
    sides = [[float(one.attrib[side]) for side in ("x", "y", "width", "height")] for one in drawn]
    return [(x, y, wide, high) for x, y, wide, high in sides]


def test_tasks_lie_in_their_node_and_none_over_another() -> None:
    one, web1, web2, two, db = boxes(node_map(NODES, TASKS))
    for outer, inner in ((one, web1), (one, web2), (two, db)):
        assert outer[0] < inner[0] and inner[0] + inner[2] < outer[0] + outer[2]
        assert outer[1] + 19 < inner[1], "below the title"
        assert inner[1] + inner[3] < outer[1] + outer[3]
    assert web2[1] + web2[3] <= web1[1]


def test_what_is_drawn_is_told_in_words() -> None:
    said = node_map(NODES, TASKS).text
    assert "Node one (active): it runs web.1, web.2." in said
    assert re.search(r"two +drain +db.1 +128 of 128 MB", said)


def test_of_a_silent_node_nothing_is_known() -> None:
    said = node_map(NODES, TASKS[:2], silent=["two"]).text
    assert "Node two (no answer): what it runs is not known." in said
    assert re.search(r"two +no answer +\? +\?", said)
