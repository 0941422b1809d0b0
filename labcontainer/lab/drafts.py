"""For authors: questions that a draft holds in its cells go to the questions' file of its topic.

A draft's cell says `lab.predict("Who is it?", ["me", "you"], 1, ["No.", "Yes."])`, what becomes of
it in the notebook `lab.predict("chroot.who")`.
"""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

from labcontainer.lab import predict
from labcontainer.lab.predict import Prediction

_NAMES = ("question", "choices", "answer", "explanations")
_EMPTY = frozenset("a an and are as at be but by do does for has have how if in into is it its may "
                   "now of on one or that the then there this to up was what when where which who "
                   "why will with".split())  # fmt: skip


def topic_of(notebook: str) -> str:
    """`02_chroot` asks the questions of the topic `chroot`."""
    return re.sub(r"^\d+_", "", notebook)


def move_questions(notebook: Any, topic: str) -> None:
    """Write the notebook's questions to the topic's file, and leave their ids in the cells.

    Questions of the file that no cell asks any more go.
    """
    known, asked = dict(predict.catalogue(topic)), set()
    for cell in notebook.cells:
        if cell.cell_type == "code" and "lab.predict(" in cell.source:
            for call in _calls(cell.source):
                if len(call.args) + len(call.keywords) > 1:
                    word = _word(_inline(call), known)
                    known[word] = _inline(call)
                    said = f'lab.predict("{topic}.{word}")'
                    cell.source = cell.source.replace(_text(cell.source, call), said)
                else:
                    word = ast.literal_eval(call.args[0]).partition(".")[2]
                asked.add(word)
    kept = {word: known[word] for word in known if word in asked}
    if kept != predict.catalogue(topic):
        (predict.FOLDER / f"{topic}.toml").write_text(as_toml(kept))
        predict.catalogue.cache_clear()


def _calls(source: str) -> list[ast.Call]:
    """The calls of lab.predict in a cell, the last one first: its text can then be replaced."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    found = [call for call in calls if ast.unparse(call.func) == "lab.predict"]
    return sorted(found, key=lambda call: -call.lineno)


def _text(source: str, call: ast.Call) -> str:
    text = ast.get_source_segment(source, call)
    assert text is not None
    return text


def _inline(call: ast.Call) -> Prediction:
    given = dict(zip(_NAMES, call.args, strict=False))
    given |= {word.arg or "": word.value for word in call.keywords}
    values = {name: ast.literal_eval(node) for name, node in given.items()}
    values = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
    return predict.checked(values["question"], Prediction(**values))


def _word(asked: Prediction, known: dict[str, Prediction]) -> str:
    """Its id: the one that it has, else two words of it that no other has."""
    for word, other in known.items():
        if other.question == asked.question:
            return word
    words = re.findall(r"[a-z0-9]+", asked.question.lower())
    told = [word for word in words if word not in _EMPTY]
    for count in range(2, len(told) + 1):
        word = "-".join(told[:count])
        if word not in known:
            return word
    raise ValueError(f"no id for {asked.question!r}")


def as_toml(questions: dict[str, Prediction]) -> str:
    """The text of a questions' file. A JSON string is a TOML string."""
    parts = []
    for word, asked in questions.items():
        lists = {"choices": asked.choices, "explanations": asked.explanations}
        lines = [f"[{word}]", f"question = {_quoted(asked.question)}", f"answer = {asked.answer}"]
        for name, texts in lists.items():
            lines += [f"{name} = [", *[f"    {_quoted(text)}," for text in texts], "]"]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def file_of(notebook: Path) -> Path:
    """Where a notebook's questions are."""
    return predict.FOLDER / f"{topic_of(notebook.stem)}.toml"
