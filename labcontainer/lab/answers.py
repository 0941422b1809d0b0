"""A student's answers: exercise id -> code, from what was collected of them. Nothing is run here.

The notebook's cell counts; where it is the hole still, what the progress file remembers as done,
then its last attempt, then the section of `mycontainer/`. An answer that is nowhere is not there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from labcontainer.lab.exercise import ALIASES, Exercise
from labcontainer.record import Record

_SECTION = re.compile(r"^# --- ([a-z_0-9.]+): .* ---$", re.MULTILINE)


class Answer(Record):
    """One answer and where it was found."""

    code: str
    source: str  # the file, seen from the student's folder


class Submission(Record):
    """What is known of one student before anything is run."""

    answers: dict[str, Answer]
    seed: str = ""  # the progress file's; "" where there is none
    notes: tuple[str, ...] = ()  # files that can't be read, and why


def read(folder: Path, wanted: dict[str, Exercise]) -> Submission:
    """The answers of a collected folder to the wanted exercises."""
    notes: list[str] = []
    progress = _document(folder / "mycontainer/progress.json", folder, notes)
    found: dict[str, Answer] = {}
    for name, code, source in _every(folder, progress, notes):
        exercise = wanted.get(ALIASES.get(name, name))
        if exercise is not None and exercise.id not in found and not is_hole(exercise, code):
            found[exercise.id] = Answer(code, source)
    seed = progress.get("seed")
    return Submission(found, seed if isinstance(seed, str) else "", tuple(notes))


def is_hole(exercise: Exercise, code: str) -> bool:
    """Whether the code is the hole as it was given out; only the text is looked at."""
    return not code.strip() or code.split() == exercise.hole.split()


def _every(
    folder: Path, progress: dict[str, Any], notes: list[str]
) -> Iterator[tuple[str, str, str]]:
    """(id, code, source) of all that may be an answer, the best first."""
    for path in sorted((folder / "notebooks").glob("*.ipynb")):
        source = f"notebooks/{path.name}"
        for name, code in reversed(_cells(_document(path, folder, notes))):
            yield name, code, source
    entries = progress.get("answers")
    for name, entry in sorted(entries.items() if isinstance(entries, dict) else []):
        for field in ("done", "code"):
            last = entry.get(field) if isinstance(entry, dict) else None
            if isinstance(last, str):
                yield name, last, f"mycontainer/progress.json ({field})"
    for path in sorted((folder / "mycontainer").glob("*.py")):
        for name, code in _sections(path.read_text(errors="replace")):
            yield name, code, f"mycontainer/{path.name}"


def _document(path: Path, folder: Path, notes: list[str]) -> dict[str, Any]:
    """A JSON object in a file, or an empty one and a note."""
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        notes.append(f"{path.relative_to(folder)}: no JSON ({str(error)[:80]})")
        return {}
    return document if isinstance(document, dict) else {}


def _cells(notebook: dict[str, Any]) -> list[tuple[str, str]]:
    """(id, code) of each `%%exercise` cell."""
    cells = notebook.get("cells")
    found = []
    for cell in cells if isinstance(cells, list) else []:
        if not isinstance(cell, dict) or cell.get("cell_type") != "code":
            continue
        source = cell.get("source")
        if isinstance(source, list) and all(isinstance(line, str) for line in source):
            source = "".join(source)
        if isinstance(source, str) and source.lstrip().startswith("%%exercise"):
            head, _, code = source.lstrip().partition("\n")
            found.append((head.removeprefix("%%exercise").strip(), code))
    return found


def _sections(text: str) -> list[tuple[str, str]]:
    """(id, code) of each section of a module that `lab.mine` wrote."""
    parts = _SECTION.split(text)[1:]
    return list(zip(parts[::2], parts[1::2], strict=True))
