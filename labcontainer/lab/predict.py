"""Predict, then run: a question before the cell that answers it.

The words are in `lab/questions/<topic>.toml`, so that neither the answer nor the explanations are
in a cell that a learner reads before guessing: `lab.predict("chroot.where")` is all it says.
"""

from __future__ import annotations

import functools
import os
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from labcontainer.errors import NotFoundError, SpecError
from labcontainer.lab.cards import Card, box, inline, show
from labcontainer.record import Record

FOLDER = Path(__file__).resolve().parent / "questions"
LETTERS = "abcdefgh"


class Prediction(Record):
    """A question with its choices; `answer` is the index of the right one, and each choice has
    an explanation."""

    question: str
    choices: tuple[str, ...]
    answer: int
    explanations: tuple[str, ...]


def predict(
    name: str, choices: Sequence[str] = (), answer: int = 0, explanations: Sequence[str] = ()
) -> None:
    """Ask a question of the course by its id. A wrong guess gets its explanation, no penalty.

    An author's draft may give question, choices, answer and explanations here instead of an id;
    `lab.author` moves them to the questions' file.

    Raises:
        NotFoundError: there is no such question. SpecError: it is not a whole one.
    """
    if choices:
        asked = checked(name, Prediction(name, tuple(choices), answer, tuple(explanations)))
    else:
        asked = find(name)
    card, widget = twin(asked), radio(asked)
    if widget is None:
        show(card)
        return
    from IPython.display import display

    bundle = {**card._repr_mimebundle_(), **widget._repr_mimebundle_()}
    bundle["text/plain"] = card.text
    display(bundle, raw=True)


def find(name: str) -> Prediction:
    """The question of an id, `<topic>.<word>`."""
    topic, _, word = name.partition(".")
    known = catalogue(topic)
    if word not in known:
        import difflib

        near = difflib.get_close_matches(word, known)
        hint = f"; did you mean {topic}.{near[0]}?" if near else ""
        raise NotFoundError(f"question {name!r} does not exist{hint}")
    return known[word]


@functools.cache
def catalogue(topic: str) -> dict[str, Prediction]:
    """All questions of a topic, by word; empty where it has no file."""
    path = FOLDER / f"{topic}.toml"
    try:
        tables = tomllib.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except tomllib.TOMLDecodeError as error:
        raise SpecError(str(path), str(error)) from None
    return {word: _from_table(f"{topic}.{word}", table) for word, table in tables.items()}


def _from_table(name: str, table: dict[str, Any]) -> Prediction:
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in table.items()}
    try:
        return checked(name, Prediction(**values))
    except TypeError as error:
        raise SpecError(name, str(error)) from None


def checked(name: str, asked: Prediction) -> Prediction:
    """The same, if it is a whole question."""
    if not len(asked.choices) == len(asked.explanations) > asked.answer >= 0:
        raise SpecError(name, "each choice needs an explanation, and one of them is the answer")
    return asked


def twin(asked: Prediction) -> Card:
    """The static form: the choices, each folding out to its explanation."""
    verdict = ["Right." if i == asked.answer else "Not so." for i in range(len(asked.choices))]
    items = "".join(
        f"<details><summary>{LETTERS[i]}) {inline(choice)}</summary>"
        f"<b>{verdict[i]}</b> {inline(asked.explanations[i])}</details>"
        for i, choice in enumerate(asked.choices)
    )
    text = "\n".join(f"  {LETTERS[i]}) {choice}" for i, choice in enumerate(asked.choices))
    html = box("info", f"Predict: {inline(asked.question)}", items)
    return Card(html, f"Predict: {asked.question}\n{text}")


def radio(asked: Prediction) -> Any | None:
    """The live form, where a person sits in front of a notebook."""
    if os.environ.get("LABCONTAINER_STATIC"):  # CI, and runs that store outputs
        return None
    try:
        import ipywidgets
        from IPython import get_ipython
    except ImportError:
        return None
    if get_ipython() is None:
        return None
    buttons = ipywidgets.RadioButtons(
        options=[(choice.replace("`", ""), i) for i, choice in enumerate(asked.choices)],
        index=None,
        layout=ipywidgets.Layout(width="auto"),
    )
    told = ipywidgets.HTML()

    def tell(change: dict[str, Any]) -> None:
        chosen = change["new"]
        if chosen is not None:
            told.value = _told(asked, chosen)

    buttons.observe(tell, names="value")
    head = ipywidgets.HTML(box("info", f"Predict: {inline(asked.question)}", ""))
    return ipywidgets.VBox([head, buttons, told])


def _told(asked: Prediction, chosen: int) -> str:
    right = chosen == asked.answer
    head = "✓ Right" if right else "↻ Not so; run the next cell and see"
    return box("good" if right else "bad", head, inline(asked.explanations[chosen]))
