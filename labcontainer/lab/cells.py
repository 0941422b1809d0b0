"""`%%exercise` and the calls around it: hints, solution, reset, progress."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from labcontainer.errors import LabError
from labcontainer.lab import mine, progress, student
from labcontainer.lab.cards import (
    Card,
    box,
    code_block,
    inline,
    outcome,
    show,
    table_html,
    table_text,
)
from labcontainer.lab.exercise import DONE, NOT_ATTEMPTED, Exercise, every, find
from labcontainer.lab.judge import judge, look_first


def exercise(line: str, cell: str) -> None:
    """The `%%exercise ID` cell: check what is in it, keep it, bind its names."""
    from IPython import get_ipython

    space = get_ipython().user_ns
    name = line.strip()
    try:
        card = answer(find(name), cell.strip("\n") + "\n", space)
    except LabError as error:
        card = Card(box("bad", "Exercise", inline(str(error))), str(error))
    show(card)


def answer(item: Exercise, code: str, space: dict[str, Any]) -> Card:
    """Check one answer; returns the card to show. `space` gets the names."""
    found = judge(item, code)
    record = progress.load()
    entry = record.of(item.id)
    if found.state != NOT_ATTEMPTED:
        entry.update(code=code, attempts=entry["attempts"] + 1, state=found.state)
    if found.state == DONE:
        entry.update(done=code, score=found.score)
    if found.state != NOT_ATTEMPTED:
        progress.save(record)
    if found.state == DONE:
        mine.write(record)
    return outcome(item, found, _bind(item, found.state, code, space))


def _bind(item: Exercise, state: str, code: str, space: dict[str, Any]) -> str:
    """Give the notebook the exercise's names; the sentence that says what they mean now."""
    names = ", ".join(f"`{name}`" for name in item.bound)
    verb = "is" if len(item.bound) == 1 else "are"
    if state == DONE:
        mine.run_definitions(code, f"<{item.id}>", space)
        return f"{names} {verb} yours now, kept in `mycontainer/{item.module}.py`."
    if state != NOT_ATTEMPTED and look_first(item, code) is None:
        try:
            mine.run_definitions(code, f"<{item.id}>", space)
            return f"{names} {verb} your attempt."
        except Exception:  # the card above has already said what is wrong
            pass
    found, whose = mine.own(item)
    space.update(found)
    source = whose if whose.startswith("the ") else f"`{whose}`"
    until = "Fill the hole; until then" if state == NOT_ATTEMPTED else "Until that is mended,"
    return f"{until} {names} {verb} {source}."


# --- around it ----------------------------------------------------------------------------------


def hint(name: str) -> None:
    """The next hint of an exercise: three in all, each says more."""
    item, record = find(name), progress.load()
    entry = record.of(item.id)
    number = min(entry["hints"] + 1, len(item.hints))
    entry["hints"] = number
    progress.save(record)
    head = f"Hint {number} of {len(item.hints)}: {item.id}"
    words = item.hints[number - 1]
    show(Card(box("info", head, inline(words)), f"{head}\n  {words}"))


def solution(name: str) -> None:
    """A solution, after an attempt of your own; or when asked twice."""
    item, record = find(name), progress.load()
    entry = record.of(item.id)
    entry["asked"] += 1
    progress.save(record)
    if not entry["attempts"] and entry["asked"] < 2:
        words = "Try it first, or take a hint. Ask once more and you get it all the same."
        show(Card(box("quiet", item.id, inline(words)), f"{item.id}\n  {words}"))
        return
    if not item.solution:
        words = "Your instructor keeps the solution of this one."
        show(Card(box("quiet", item.id, inline(words)), f"{item.id}\n  {words}"))
        return
    head = f"One solution of {item.id}"
    show(Card(box("info", head, code_block(item.solution)), f"{head}\n{item.solution}"))


def reset(name: str) -> None:
    """Forget your answer to an exercise; a new cell below has the hole as it was."""
    item, record = find(name), progress.load()
    record.answers.pop(item.id, None)
    progress.save(record)
    mine.write(record)
    cell = f"%%exercise {item.id}\n{item.hole}"
    try:
        from IPython import get_ipython

        get_ipython().set_next_input(cell, replace=False)
    except (ImportError, AttributeError):
        print(cell)


def overview() -> Card:
    """What is done, what is under way: a table of all exercises."""
    record = progress.load()
    rows = [("exercise", "notebook", "state", "tries", "score")]
    for item in sorted(every(), key=lambda item: (item.notebook, item.id)):
        entry = record.answers.get(item.id, {})
        state = DONE if entry.get("done") else entry.get("state", NOT_ATTEMPTED)
        tries, score = str(entry.get("attempts", 0)), str(entry.get("score", ""))
        rows.append((item.id, item.notebook, state, tries, score))
    count = sum(row[2] == DONE for row in rows)
    head = f"{count} of {len(rows) - 1} exercises done"
    return Card(box("good", head, table_html(rows)), f"{head}\n{table_text(rows)}")


def export_progress(target: str = "progress.json") -> None:
    """Write your progress to a file that you can download and import elsewhere."""
    progress.save(progress.load(), Path(target))
    print(f"written: {target}")


def import_progress(source: str = "progress.json") -> None:
    """Take in a progress file: your answers are there again, and so is `mycontainer/`."""
    record = progress.load()
    progress.merge(record, progress.load(Path(source)))
    progress.save(record)
    mine.write(record)
    show(overview())


def register() -> None:
    """Make `%%exercise` known, and `mycontainer` importable."""
    from IPython import get_ipython

    shell = get_ipython()
    if shell is not None:
        shell.register_magic_function(exercise, magic_kind="cell", magic_name="exercise")
    home = str(student.home())
    if home not in sys.path:
        sys.path.insert(0, home)
