"""What a notebook shows: every card and figure in two forms that say the same."""

from __future__ import annotations

import re
import urllib.parse
import xml.etree.ElementTree as ET

import pytest

from labcontainer.errors import UsageError
from labcontainer.lab import cards, figures
from labcontainer.lab.exercise import DONE, NOT_YET, Outcome, find


def shown(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out


def test_words_become_html_safely() -> None:
    assert cards.inline("a < `b & c`") == "a &lt; <code>b &amp; c</code>"
    assert cards.inline("an *odd* word") == "an <em>odd</em> word"
    assert cards.inline("2 * 3 * 4 and `*`") == "2 * 3 * 4 and <code>*</code>"


def test_a_table_has_the_same_cells_in_both_forms() -> None:
    rows = [("what", "MB"), ("one", 1.5), ("two", 20)]
    html, text = cards.table_html(rows), cards.table_text(rows)
    assert all(str(cell) in html and str(cell) in text for row in rows for cell in row)
    assert text.splitlines()[1] == "----  ---"


def test_an_outcome_shows_all_that_was_found() -> None:
    found = Outcome(NOT_YET, expected="1", observed="2", where="line 3", hint="look *there*")
    card = cards.outcome(find("start.facts"), found, "`facts` is your attempt.")
    for form in (card.text, card.html):
        assert all(word in form for word in ("not yet", "1", "2", "line 3", "facts"))
    assert "<em>there</em>" in card.html


def test_done_shows_the_score() -> None:
    card = cards.outcome(find("start.facts"), Outcome(DONE, score="4 statements"), "")
    assert "done · score: 4 statements" in card.text
    assert "✓" in card.html


def test_a_diff_marks_lines_without_colour_too(capsys: pytest.CaptureFixture[str]) -> None:
    cards.diff("a\nb\n", "a\nc\n", title="step")
    assert shown(capsys) == "step\n a\n-b\n+c\n"
    assert "line-through" in cards._diff_html("-b")


def test_source_is_the_packages_own(capsys: pytest.CaptureFixture[str]) -> None:
    cards.show_source(cards.inline)
    out = shown(capsys)
    assert out.startswith("labcontainer/lab/cards.py\ndef inline(text: str) -> str:")
    cards.show_source(cards.inline, (1, 1))
    assert len(shown(capsys).splitlines()) == 2


def test_boxes_say_what_they_hold(capsys: pytest.CaptureFixture[str]) -> None:
    cards.recap("roots", [("chroot", "another /")], next="03")
    cards.real_thing("one line", [("runc", "file.go", "Init")])
    cards.recall("why?", "because")
    out = shown(capsys)
    assert all(word in out for word in ("another /", "Next: 03", "file.go", "Answer: because"))


# --- figures ------------------------------------------------------------------------------------

TABLE = [("what", "MB"), ("a", 3)]


def svg_of(figure: figures.Figure) -> ET.Element:
    address = figure.html.split('src="data:image/svg+xml,')[1].split('"')[0]
    return ET.fromstring(urllib.parse.unquote(address))


def test_a_figure_is_an_image_with_alt_text_and_a_table() -> None:
    figure = figures.figure(figures.Canvas(100, 50).box(1, 1, 50, 20, "a & b"), alt='say "it"',
                            table=TABLE, caption="cap")  # fmt: skip
    assert 'alt="say &quot;it&quot;"' in figure.html
    assert "<table>" in figure.html
    assert "<svg" not in re.sub(r'src="[^"]*"', "", figure.html), "an untrusted page drops it"
    assert "say" in figure.text and "a     3" in figure.text
    texts = [element.text for element in svg_of(figure).iter() if element.tag.endswith("text")]
    assert texts == ["a & b"]


@pytest.mark.parametrize(("alt", "table"), [("", TABLE), ("a picture", TABLE[:1])])
def test_a_figure_without_words_or_data_is_refused(alt: str, table: list[tuple[str, str]]) -> None:
    with pytest.raises(UsageError, match="alt text and a data table"):
        figures.figure(figures.Canvas(10, 10), alt=alt, table=table)


def test_bars_are_as_long_as_their_values() -> None:
    figure = figures.bars([("a", 2), ("b", 4, "bad")], "ms", alt="two bars", limit=3)
    rects = [e for e in svg_of(figure).iter() if e.tag.endswith("rect")][1:]
    assert float(rects[1].attrib["width"]) == 2 * float(rects[0].attrib["width"])
    assert rects[1].attrib["stroke-dasharray"] != rects[0].attrib["stroke-dasharray"]
