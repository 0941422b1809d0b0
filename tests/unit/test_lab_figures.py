"""The drawings of layers, digests and builds: what is drawn is what the objects say."""

from __future__ import annotations

import re
import urllib.parse
import xml.etree.ElementTree as ET

from labcontainer.build import dockerfile, graph
from labcontainer.kernel.netlink import Address, Link
from labcontainer.lab import (
    figures_build,
    figures_layers,
    figures_merkle,
    figures_network,
    figures_sequence,
    figures_states,
)
from labcontainer.lab.figures import Figure
from labcontainer.runtime import lifecycle
from labcontainer.topology import Place, Topology

DOCKERFILE = """\
FROM tools AS base
RUN make tools
FROM base AS docs
RUN make docs
FROM scratch AS run
COPY --from=base /a /a
"""


def words_in(figure: Figure) -> list[str]:
    """The texts of the drawing itself; it must be well-formed."""
    found = re.search(r'src="data:image/svg\+xml,([^"]*)"', figure.html)
    assert found
    tree = ET.fromstring(urllib.parse.unquote(found[1]))
    return ["".join(one.itertext()) for one in tree.iter() if one.tag.endswith("text")]


def test_a_stack_of_layers_shows_each_entry_in_its_row() -> None:
    layers = [("upper", {"a": "whiteout"}), ("lower", {"a": "file", "b": "file"})]
    figure = figures_layers.layer_stack(layers, ["b"], caption="two layers")
    words = words_in(figure)
    assert words.count("file") == 2 and words.count("whiteout") == 1 and words.count("shows") == 1
    assert "The union shows b." in figure.html
    assert figure.text.splitlines()[3].split() == ["the", "union", "shows"]


def test_a_union_of_nothing_says_so() -> None:
    figure = figures_layers.layer_stack([("upper", {"a": "whiteout"})], [])
    assert "The union shows nothing." in figure.html


def test_a_tree_of_digests_has_each_once_and_marks_what_is_new() -> None:
    below = {"sha256:1a": ["sha256:2b", "sha256:3c"], "sha256:2b": ["sha256:3c"]}
    names = {"sha256:1a": "index", "sha256:2b": "manifest", "sha256:3c": "layer"}
    figure = figures_merkle.merkle_tree("sha256:1a", below, names, changed=["sha256:2b"])
    words = words_in(figure)
    assert words.count("layer") == 1
    assert "manifest · new" in words and "index" in words
    assert "manifest (new)" in figure.text


def test_a_build_graph_tells_what_is_not_needed_and_what_is_cached() -> None:
    drawn = graph.draw_up(dockerfile.parse(DOCKERFILE))
    figure = figures_build.build_graph(drawn, cached=["RUN make tools"])
    words = words_in(figure)
    assert "docs (not needed)" in words and "base" in words
    assert "RUN make tools ✓" in words
    assert "Stage run stands on base; built: yes." in figure.html
    assert "Stage docs stands on base; built: no." in figure.html


def test_a_build_graph_of_another_target() -> None:
    drawn = graph.draw_up(dockerfile.parse(DOCKERFILE))
    words = words_in(figures_build.build_graph(drawn, "docs"))
    assert "run (not needed)" in words and "docs" in words


def test_long_instructions_are_cut_in_the_drawing_and_whole_in_the_table() -> None:
    long = "RUN " + "x" * 60
    figure = figures_build.build_graph(graph.draw_up(dockerfile.parse(f"FROM a\n{long}\n")))
    assert any(word.endswith("…") for word in words_in(figure))
    assert long in figure.text


def test_a_network_shows_each_cable_and_which_bridge_it_ends_in() -> None:
    bridge = Link(2, "br0", "bridge", "", 1500, True, 0, 0, -1)
    ours = Link(3, "lc0", "veth", "", 1500, True, 2, 2, 0)
    theirs = Link(2, "eth0", "veth", "", 1500, False, 0, 3, 0)
    host = Place("host", (bridge, ours), (Address(2, "10.1.0.1/24"), Address(2, "fe80::1/64")), ())
    box = Place("box", (theirs,), (), ())
    figure = figures_network.network_map(
        Topology((host, box), ((("box", "eth0"), ("host", "lc0")),))
    )
    words = words_in(figure)
    assert {"br0", "10.1.0.1/24", "lc0", "eth0 (down)"} <= set(words)
    assert "Bridge br0 of host has the ports lc0; a cable from box:eth0 to host:lc0." in figure.text
    rows = [row.split() for row in figure.text.splitlines()]
    assert ["host", "lc0", "up", "-", "br0", "box:eth0"] in rows
    assert ["box", "eth0", "down", "-", "-", "host:lc0"] in rows


def test_a_sequence_shows_each_message_and_its_answer() -> None:
    messages = [("you", "daemon", "POST /create", "201"), ("daemon", "daemon", "makes it", "")]
    figure = figures_sequence.sequence(["you", "daemon"], messages)
    assert {"you", "daemon", "POST /create", "201", "makes it"} <= set(words_in(figure))
    assert "From top to bottom: you to daemon: POST /create; daemon to daemon" in figure.text


def test_a_life_shows_every_state_and_every_verb_of_the_table() -> None:
    figure = figures_states.life(lifecycle.TRANSITIONS)
    words = words_in(figure)
    assert {*lifecycle.STATES, "(gone)"} <= set(words)
    assert {"start", "pause", "resume", "create"} <= set(words)
    assert "stays: exec, update" in words
    rows = [row.split() for row in figure.text.splitlines()]
    assert all([state, verb, then or "gone"] in rows
               for (state, verb), then in lifecycle.TRANSITIONS.items())  # fmt: skip
