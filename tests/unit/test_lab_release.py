"""A release: nothing in it tells a solution, and what is left of it works."""

from __future__ import annotations

import functools
import itertools
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from labcontainer.errors import ExistsError, UsageError
from labcontainer.lab import exercise, judge, release
from labcontainer.lab.exercise import Exercise

EVERY = exercise.every()
STEMS = {path.stem for path in (release.ROOT / "notebooks").glob("*.ipynb")}
GIVEN = [item for item in EVERY if item.notebook in STEMS]
SHORTEST = 25  # `pass` and `else:` under one another tell nothing


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("release") / "course"
    release.release(target, hide=("chroot.enter",))
    return target


def pairs(text: str) -> set[str]:
    """Each line with the one after it, also where they stand in a text as `\\n`."""
    plain = text.replace("\\n", "\n").replace("\\'", "'").replace('\\"', '"')
    lines = [line.strip() for line in plain.splitlines() if line.strip()]
    return {f"{one}\n{two}" for one, two in itertools.pairwise(lines) if len(one + two) > SHORTEST}


@functools.cache
def in_the_package() -> set[str]:
    """What may be read: the package's own code, which the notebooks show, and every hole."""
    found = set().union(*(pairs(item.hole) for item in EVERY))
    for path in (release.ROOT / "labcontainer").rglob("*.py"):
        if path.parent.name != "exercises":
            found |= pairs(path.read_text())
    return found


@functools.cache
def in_checks() -> set[str]:
    return set().union(*(pairs(str(judge.check_of(item)["check"])) for item in EVERY))


def secrets(item: Exercise) -> set[str]:
    """Pairs of lines that only the solution has, or the known-wrong answers and no check."""
    wrong = set().union(*(pairs(one.code) for one in item.wrong)) - in_checks()
    return (pairs(item.solution) | wrong) - in_the_package()


@pytest.fixture(scope="module")
def texts(released: Path) -> dict[str, set[str]]:
    """File -> what it says, in pairs of lines."""
    files = [path for path in released.rglob("*") if path.is_file()]
    return {str(path.relative_to(released)): pairs(path.read_text(errors="replace"))
            for path in files}  # fmt: skip


@pytest.mark.parametrize("item", GIVEN, ids=lambda item: item.id)
def test_no_file_has_two_lines_of_a_solution(item: Exercise, texts: dict[str, set[str]]) -> None:
    wanted = secrets(item)
    assert [name for name, found in texts.items() if found & wanted] == []


def test_the_search_finds_a_solution_where_there_is_one() -> None:
    source = release.ROOT / "labcontainer/lab/exercises/namespaces_reap.py"
    assert pairs(source.read_text()) & secrets(exercise.find("namespaces.reap"))
    assert sum(bool(secrets(item)) for item in GIVEN) > len(GIVEN) // 2


def in_release(released: Path, script: str, given: object = None) -> Any:
    """What a script of the released package prints, as JSON."""
    ended = subprocess.run(
        [sys.executable, "-c", script], input=json.dumps(given), capture_output=True, text=True,
        timeout=100, check=False, cwd=released,
        env={**os.environ, "PYTHONPATH": str(released), "LABCONTAINER_SEED": "kim",
             "LABCONTAINER_WORK": str(released)},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


LIST = """
import json
from labcontainer.lab import exercise, judge, mine
found = {}
for item in exercise.every():
    names, whose = mine.own(item)
    check = judge.check_of(item)
    fields = [item.notebook, item.title, item.hole, item.hints, item.own, item.names, item.needs,
              item.errors, item.seconds]
    found[item.id] = [item.solution, len(item.wrong), check["check_name"], whose, fields]
print(json.dumps(found))
"""


def test_the_exercises_are_all_there_without_their_answers(released: Path) -> None:
    found = in_release(released, LIST)
    assert sorted(found) == sorted(item.id for item in GIVEN)
    for item in GIVEN:
        solution, wrong, check, whose, fields = found[item.id]
        assert (solution, wrong) == ("", 0)
        assert whose == (item.own or "the empty hole")
        hidden = item.id == "chroot.enter" or release.tells(item, GIVEN)
        assert check == ("by_instructor" if hidden else judge.check_of(item)["check_name"])
        kept = [item.notebook, item.title, item.hole, item.hints, item.own, item.names, item.needs,
                item.errors, item.seconds]  # fmt: skip
        assert fields == json.loads(json.dumps(kept))


JUDGE = """
import json, sys
from labcontainer.lab.exercise import find
from labcontainer.lab.judge import judge
told = [judge(find(name), code) for name, code in json.load(sys.stdin)]
print(json.dumps([[one.state, one.text, one.observed] for one in told]))
"""


def test_checks_work_without_the_solution_or_say_who_checks(released: Path) -> None:
    kept, hidden = exercise.find("game.part"), exercise.find("chroot.enter")
    told = in_release(
        released,
        JUDGE,
        [(kept.id, kept.hole), (kept.id, kept.solution), (kept.id, kept.wrong[0].code),
         (hidden.id, hidden.hole), (hidden.id, hidden.solution)],
    )  # fmt: skip
    states = [state for state, _, _ in told]
    if "not checked" not in states[:3]:  # there is a sandbox here
        assert states[:3] == ["not attempted", "done", "not yet"]
    assert states[3:] == ["not attempted", "not checked"]
    assert told[4][1].startswith("your instructor checks this one")


CALL = """
import json
from labcontainer.lab import cells, mine
from labcontainer.lab.exercise import find
names, _ = mine.own(find("chroot.left"))
try:
    names["left"]("", [])
except RuntimeError as error:
    print(json.dumps(str(error)))
"""


def test_a_hole_that_only_the_solution_fills_says_so_when_it_is_called(released: Path) -> None:
    assert (
        in_release(released, CALL) == "`left` is yours to write: the cell `%%exercise chroot.left`"
    )


def notebooks(released: Path) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    for path in sorted((released / "notebooks").glob("*.ipynb")):
        yield path.stem, json.loads(path.read_text())["cells"]


def test_notebooks_have_no_outputs_and_all_their_cells(released: Path) -> None:
    seen = []
    for stem, cells in notebooks(released):
        seen.append(stem)
        source = json.loads((release.ROOT / f"notebooks/{stem}.ipynb").read_text())["cells"]
        assert [cell["source"] for cell in cells] == [cell["source"] for cell in source]
        code = [cell for cell in cells if cell["cell_type"] == "code"]
        assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code)
    assert set(seen) == STEMS


def cell(source: str) -> dict[str, Any]:
    return {"cell_type": "code", "metadata": {}, "outputs": [1], "execution_count": 1,
            "source": source}  # fmt: skip


def test_cells_that_wait_for_an_answer_may_fail() -> None:
    waits, own = exercise.find("chroot.left"), exercise.find("chroot.enter")
    sources = [
        "left = 1\nprint(left)",  # before the hole
        f"%%exercise {waits.id}\n{waits.hole}",
        f"%%exercise {own.id}\n{own.hole}",
        "enter('/x')",  # the package's own
        "def show():\n    return left('', [])",  # only defined
        "found = show()",
        "import os\nprint(os.name)",
        "print(found)",
    ]
    made = release.for_students({"cells": [cell(one) for one in sources]}, EVERY)["cells"]
    tags = [bool(one["metadata"].get("tags")) for one in made]
    assert tags == [False, False, False, False, False, True, False, True]


def test_a_check_that_computes_what_the_solution_does_is_kept_back() -> None:
    assert release.tells(exercise.find("chroot.left"), [])  # with other variables
    assert not release.tells(exercise.find("chroot.enter"), GIVEN)


def test_a_check_that_does_what_another_solution_does_is_kept_back_too() -> None:
    files = exercise.find("chroot.files")
    assert not release.tells(files, [files])
    assert release.tells(files, [files, exercise.find("chroot.enter")])


def test_an_archive_with_seeds_of_one_notebook(tmp_path: Path) -> None:
    roster = tmp_path / "students.csv"
    roster.write_text("ann\nben,77\n")
    made = release.release(tmp_path / "week2.tar.gz", ("02_chroot",), (), str(roster))
    assert (made.notebooks, made.students) == (1, 2)
    assert made.exercises == sum(item.notebook == "02_chroot" for item in EVERY)
    with tarfile.open(tmp_path / "week2.tar.gz") as archive:
        names = archive.getnames()
        progress = archive.extractfile("week2/students/ben/progress.json")
        assert progress is not None
        assert json.load(progress)["seed"] == "77"
    assert [name for name in names if name.endswith(".ipynb")] == [
        "week2/notebooks/02_chroot.ipynb"
    ]
    assert sorted(os.listdir(tmp_path)) == ["students.csv", "week2.tar.gz"]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ({"only": ("02_chroot", "nothing")}, "--only nothing"),
        ({"only": ("02_chroot",), "hide": ("users.lookup",)}, "--hide users"),
    ],
)
def test_unknown_words(tmp_path: Path, words: dict[str, Any], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        release.release(tmp_path / "course", **words)
    assert os.listdir(tmp_path) == []


def test_names_of_students_are_names(tmp_path: Path) -> None:
    roster = tmp_path / "students.csv"
    for text in ("ann\nann\n", "../up\n"):
        roster.write_text(text)
        with pytest.raises(UsageError, match="is no name, or there twice"):
            release.release(tmp_path / "course", seeds=str(roster))


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "course").mkdir()
    with pytest.raises(ExistsError):
        release.release(tmp_path / "course")
