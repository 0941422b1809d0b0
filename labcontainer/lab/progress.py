"""What a learner has done: one JSON file in `mycontainer/`, which can be carried elsewhere.

A Binder session ends without warning, so everything to go on is in that one file: seed, code of
every attempt, hints seen, scores.
"""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any

from labcontainer.errors import LabError, SpecError
from labcontainer.lab import student

FORMAT = 1


class Progress:
    """The learner's record. `answers[id]` has code, state, score, attempts, hints, asked."""

    def __init__(self, seed: str, answers: dict[str, dict[str, Any]]) -> None:
        self.seed = seed
        self.answers = answers

    def of(self, exercise: str) -> dict[str, Any]:
        """The entry of one exercise; made where there is none."""
        fresh = {"code": "", "state": "not attempted", "score": "", "done": "", "attempts": 0,
                 "hints": 0, "asked": 0}  # fmt: skip
        return self.answers.setdefault(exercise, fresh)

    def as_json(self) -> str:
        """The file's text."""
        document = {"format": FORMAT, "seed": self.seed, "answers": self.answers}
        return json.dumps(document, indent=1, sort_keys=True) + "\n"


def path() -> Path:
    """Where the record is kept."""
    return student.package() / "progress.json"


def load(source: Path | None = None) -> Progress:
    """The record; an empty one, saved at once for its seed, where there is none.

    Raises:
        SpecError: the file is not a progress file.
    """
    where = source or path()
    try:
        text = where.read_text()
    except FileNotFoundError:
        if source is not None:
            raise
        progress = Progress(os.environ.get("LABCONTAINER_SEED") or secrets.token_hex(8), {})
        save(progress)
        return progress
    try:
        document = json.loads(text)
        if document["format"] != FORMAT:
            raise SpecError(str(where), f"format {document['format']} is not known here")
        return Progress(str(document["seed"]), dict(document["answers"]))
    except (ValueError, KeyError, TypeError) as error:
        raise SpecError(str(where), f"not a progress file ({error})") from error


def save(progress: Progress, target: Path | None = None) -> None:
    """Write the record whole or not at all."""
    where = target or path()
    try:
        where.parent.mkdir(parents=True, exist_ok=True)
        new = where.with_suffix(".new")
        new.write_text(progress.as_json())
        new.replace(where)
    except OSError as error:
        raise LabError(f"your progress can't be saved: {error}") from error


def merge(progress: Progress, other: Progress) -> None:
    """Take in another record: done there is done here; its seed is kept with its answers."""
    progress.seed = other.seed
    for name, entry in other.answers.items():
        if entry.get("done") or not progress.of(name)["done"]:
            progress.answers[name] = entry
