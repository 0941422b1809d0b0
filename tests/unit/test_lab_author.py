"""Notebooks as text and back, and what is said of an answer without running it."""

from __future__ import annotations

import nbformat
import pytest

from labcontainer.lab import author
from labcontainer.lab.exercise import NOT_ATTEMPTED, NOT_YET, find
from labcontainer.lab.judge import look_first

TEXT = """\
# %% [markdown]
# Title

words

# %% tags=raises-exception
x = 1

# %% exercise start.facts

# %%
lab.recall("a?", "b")
"""
FACTS = find("start.facts")


def test_text_and_notebook_are_the_same() -> None:
    notebook = author.pack(TEXT)
    nbformat.validate(notebook)
    assert author.unpack(notebook) == TEXT
    assert notebook.cells[1].metadata["tags"] == ["raises-exception"]


def test_an_exercise_cell_has_the_hole() -> None:
    cell = author.pack(TEXT).cells[2]
    assert cell.source == f"%%exercise start.facts\n{FACTS.hole.rstrip()}"


def test_cells_keep_their_ids_when_others_change() -> None:
    before = [cell.id for cell in author.pack(TEXT).cells]
    after = [cell.id for cell in author.pack(TEXT.replace("x = 1", "x = 2")).cells]
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, False, True, True]
    assert len({cell.id for cell in author.pack(TEXT + TEXT).cells}) == 8


def test_questions_are_folded() -> None:
    assert author.only_shows('lab.recap("a", [])\nlab.recall("q", "a")')
    assert not author.only_shows("lab.run(f)\nlab.recall('q', 'a')")
    assert not author.only_shows("%%exercise x\n")


# --- before an answer is run --------------------------------------------------------------------


@pytest.mark.parametrize("code", [FACTS.hole, "# a comment\n" + FACTS.hole + "\n\n"])
def test_comments_and_blanks_are_no_attempt(code: str) -> None:
    outcome = look_first(FACTS, code)
    assert outcome is not None and outcome.state == NOT_ATTEMPTED


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("def facts(pid:\n", "Python that can be read"),
        (FACTS.hole.replace("...", "x = ...\n    return {}"), "every `...` replaced"),
        (FACTS.solution + "facts(1)\n", "imports, definitions and assignments only"),
        (FACTS.solution + "for x in []: pass\n", "imports, definitions and assignments only"),
        (FACTS.solution.replace("def facts", "def fact"), "the cell defines `facts`"),
        ("", "the cell defines `facts`"),
    ],
)
def test_what_can_be_said_at_once_is_said(code: str, words: str) -> None:
    outcome = look_first(FACTS, code)
    assert outcome is not None
    assert outcome.state == NOT_YET
    assert outcome.expected == words
    assert outcome.hint


def test_dots_in_a_type_are_no_hole() -> None:
    code = FACTS.solution.replace("dict[str, object]", "dict[str, tuple[int, ...]]")
    assert look_first(FACTS, code) is None
