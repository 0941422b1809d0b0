"""Questions before an answer: their file, their two forms, and their way out of a draft."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest

from labcontainer.errors import NotFoundError, SpecError
from labcontainer.lab import author, drafts, predict
from labcontainer.lab.predict import Prediction

WHICH = Prediction("which?", ("this", "that"), 1, ("not this", "yes"))
FILES = sorted(predict.FOLDER.glob("*.toml"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    predict.catalogue.cache_clear()
    monkeypatch.setattr(predict, "FOLDER", tmp_path)
    yield tmp_path
    predict.catalogue.cache_clear()


def test_a_prediction_has_a_static_twin(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    (folder / "topic.toml").write_text(drafts.as_toml({"which": WHICH}))
    predict.predict("topic.which")
    assert capsys.readouterr().out == "Predict: which?\n  a) this\n  b) that\n"
    html = predict.twin(WHICH).html
    assert html.count("<details>") == 2
    assert "<b>Right.</b> yes" in html
    assert "<b>Not so.</b> not this" in html


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_question_is_whole_and_its_file_reads_as_it_would_be_written(path: Path) -> None:
    assert drafts.as_toml(predict.catalogue(path.stem)) == path.read_text()


def test_an_id_that_is_not_there_is_told_with_a_near_one() -> None:
    with pytest.raises(NotFoundError, match=r"'chroot.loadr' does not exist; did you mean"):
        predict.find("chroot.loadr")
    with pytest.raises(NotFoundError, match=r"'nothing.at-all' does not exist$"):
        predict.find("nothing.at-all")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[a]\nquestion = "q"\nanswer = 0\nchoices = ["x"]\nexplanations = []\n', "each choice"),
        ('[a]\nquestion = "q"\nanswer = 1\nchoices = ["x"]\nexplanations = ["y"]\n', "the answer"),
        ('[a]\nquestion = "q"\n', "missing"),
        ("[a\n", "Expected"),
    ],
)
def test_a_file_that_is_off_is_told(folder: Path, text: str, said: str) -> None:
    (folder / "topic.toml").write_text(text)
    with pytest.raises(SpecError, match=said):
        predict.find("topic.a")


# --- drafts -------------------------------------------------------------------------------------

DRAFT = """\
# %%
lab.predict(
    "Who is the first of a new namespace?",
    ["me", "you"],
    answer=1,
    explanations=["No.", "It's \\"you\\"."],
)
print(1)
"""


def test_a_drafts_question_moves_to_its_file(folder: Path) -> None:
    notebook = author.pack(DRAFT)
    drafts.move_questions(notebook, "topic")
    assert notebook.cells[0].source == 'lab.predict("topic.first-new")\nprint(1)'
    assert predict.find("topic.first-new").explanations == ("No.", 'It\'s "you".')
    again = author.pack(DRAFT)
    drafts.move_questions(again, "topic")
    assert again.cells[0].source == notebook.cells[0].source, "it keeps its id"


def test_a_question_that_nobody_asks_goes(folder: Path) -> None:
    (folder / "topic.toml").write_text(drafts.as_toml({"which": WHICH}))
    drafts.move_questions(nbformat.v4.new_notebook(), "topic")
    assert predict.catalogue("topic") == {}


def test_a_draft_runs_before_it_is_moved(capsys: pytest.CaptureFixture[str]) -> None:
    predict.predict("which?", ["this", "that"], 1, ["not this", "yes"])
    assert capsys.readouterr().out.startswith("Predict: which?\n  a) this")
    with pytest.raises(SpecError, match="each choice needs an explanation"):
        predict.predict("which?", ["this", "that"], 1, ["yes"])
