"""What grading has found, as JSON and CSV: a stable schema, rows by student and exercise.

A cell of a CSV file that begins like a formula is one to a spreadsheet, and a student chooses what
`observed` says. Such a cell gets an apostrophe in front, which spreadsheets hide (OWASP, "CSV
Injection").
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from typing import Any

from labcontainer.lab.exercise import DONE, NOT_ATTEMPTED, NOT_CHECKED, NOT_YET
from labcontainer.record import Record

FORMAT = 1
REFUSED = "refused"
STATES = (DONE, NOT_YET, NOT_ATTEMPTED, REFUSED, NOT_CHECKED)
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


class Result(Record):
    """One exercise of one student.

    `limit` is the limit that a refused answer met; `review` is what a person should look at.
    """

    student: str
    exercise: str
    notebook: str
    state: str
    score: str = ""
    expected: str = ""
    observed: str = ""
    where: str = ""
    hint: str = ""
    text: str = ""
    limit: str = ""
    review: str = ""
    source: str = ""
    seconds: float = 0


class Student(Record):
    """One student's line: `points` of `of` exercises that could be checked."""

    student: str
    time: str
    late: bool
    points: int
    of: int
    seconds: float
    notes: tuple[str, ...] = ()


class Book(Record):
    """All of a grading, in order."""

    students: tuple[Student, ...]
    results: tuple[Result, ...]
    exercises: tuple[str, ...]


def total(name: str, results: Iterable[Result], entry: dict[str, Any], notes: Sequence[str]) -> \
        Student:  # fmt: skip
    """A student's line. What could not be checked counts for nobody and against nobody."""
    own = list(results)
    return Student(
        student=name,
        time=str(entry.get("time", "")),
        late=bool(entry.get("late")),
        points=sum(one.state == DONE for one in own),
        of=sum(one.state != NOT_CHECKED for one in own),
        seconds=round(sum(one.seconds for one in own), 1),
        notes=tuple(notes),
    )


def as_json(book: Book) -> str:
    """The whole book."""
    document = {
        "format": FORMAT,
        "exercises": list(book.exercises),
        "students": [one.as_dict() for one in book.students],
        "results": [one.as_dict() for one in book.results],
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


RESULT_COLUMNS = ("student_id", "notebook", "exercise", "state", "points", "max_points", "score",
                  "expected", "observed", "hint", "limit", "review", "source", "seconds",
                  "timestamp", "late")  # fmt: skip
TOTAL_COLUMNS = ("student_id", "timestamp", "late", "score", "max_score", "seconds", "notes")


def results_csv(book: Book) -> str:
    """A row for each exercise of each student."""
    lines = {one.student: one for one in book.students}
    rows = []
    for one in book.results:
        line = lines[one.student]
        rows.append(
            (one.student, one.notebook, one.exercise, one.state, int(one.state == DONE),
             int(one.state != NOT_CHECKED), one.score, one.expected, one.observed or one.text,
             one.hint, one.limit, one.review, one.source, one.seconds, line.time,
             "late" if line.late else "")
        )  # fmt: skip
    return _csv(RESULT_COLUMNS, rows)


def totals_csv(book: Book) -> str:
    """A row for each student, then a column for the state of each exercise."""
    states = {(one.student, one.exercise): one.state for one in book.results}
    rows = []
    for line in book.students:
        own = [states.get((line.student, name), "") for name in book.exercises]
        late = "late" if line.late else ""
        rows.append(
            (line.student, line.time, late, line.points, line.of, line.seconds,
             "; ".join(line.notes), *own)
        )  # fmt: skip
    return _csv((*TOTAL_COLUMNS, *book.exercises), rows)


def _csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([[_cell(value) for value in row] for row in rows])
    return out.getvalue()


def _cell(value: object) -> object:
    """A text that no spreadsheet computes, and without what only a terminal obeys."""
    if not isinstance(value, str):
        return value
    text = "".join(char if char.isprintable() else " " for char in value)
    return f"'{text}" if text.lstrip().startswith(_FORMULA) else text
