"""The triple of every exercise: shipped, solved, wrong; as root and as an ordinary user."""

from __future__ import annotations

import importlib
import inspect
import os

import nbformat
import pytest

from labcontainer.lab import cells, mine
from labcontainer.lab import exercise as exercises
from labcontainer.lab.exercise import DONE, NOT_ATTEMPTED, NOT_CHECKED, NOT_YET, Exercise, Outcome
from tests.notebooks.learner import HANGS, NOTEBOOKS, code_cells, learner, who_can

pytestmark = pytest.mark.timeout(HANGS + 60)
EVERY = exercises.every()
by_exercise = pytest.mark.parametrize("item", EVERY, ids=[item.id for item in EVERY])
NOTEBOOK = {path.stem: path for path in NOTEBOOKS}
RUNS = [(item, uid) for item in EVERY if item.notebook in NOTEBOOK
        for uid in who_can(NOTEBOOK[item.notebook])]  # fmt: skip
by_exercise_and_user = pytest.mark.parametrize(
    ("item", "uid"), RUNS, ids=[f"{item.id}-uid{uid}" for item, uid in RUNS]
)


def words(outcome: Outcome) -> str:
    """All that a learner reads."""
    return " ".join(map(str, outcome.as_tuple()))


def can_be_checked(outcome: Outcome) -> None:
    if outcome.state == NOT_CHECKED:
        pytest.skip(outcome.text)


@by_exercise
def test_shipped_is_not_attempted(item: Exercise) -> None:
    with learner(os.geteuid()) as student:
        first, second = student.judge((item.id, item.hole), (item.id, f"\n# mine\n{item.hole}"))
    assert first.state == second.state == NOT_ATTEMPTED


@by_exercise_and_user
def test_the_solution_is_done_twice_in_a_row(item: Exercise, uid: int) -> None:
    with learner(uid) as student:
        first, second = student.judge((item.id, item.solution), (item.id, item.solution))
    can_be_checked(first)
    assert first.state == DONE, words(first)
    assert second == first, "a check must say the same each time"


@by_exercise_and_user
def test_wrong_answers_are_not_yet_each_in_its_own_words(item: Exercise, uid: int) -> None:
    with learner(uid) as student:
        found = student.judge(*[(item.id, wrong.code) for wrong in item.wrong])
    can_be_checked(found[0])
    for wrong, outcome in zip(item.wrong, found, strict=True):
        assert outcome.state == NOT_YET, f"{wrong.message!r}: {words(outcome)}"
        assert wrong.message in words(outcome), f"{wrong.message!r} is not in: {words(outcome)}"
        assert outcome.expected and outcome.observed, words(outcome)
    told = [words(outcome) for outcome in found]
    # Two ways to the same wrong fact may be told alike; two wrong facts may not.
    assert len(set(told)) >= 2, told


@by_exercise
def test_is_written_whole(item: Exercise) -> None:
    assert len(item.wrong) >= 2
    assert len(item.hints) == 3
    assert item.title and item.notebook in {path.stem for path in NOTEBOOKS}
    assert not item.untouched(item.solution), "it would ship solved"
    assert all(not item.untouched(wrong.code) for wrong in item.wrong)
    assert "..." in item.hole, "a hole has dots to fill"


@by_exercise
def test_its_stand_in_takes_the_same_arguments(item: Exercise) -> None:
    found, _ = mine.own(item)
    assert set(found) == set(item.bound) or item.own, "an own function stands in for one name"
    space: dict[str, object] = {"__name__": "__main__"}
    mine.run_definitions(item.solution, f"<{item.id}>", space)
    for name, stand_in in found.items():
        solved = space[name]
        if callable(stand_in) and callable(solved):
            asked = list(inspect.signature(solved).parameters.values())
            given = list(inspect.signature(stand_in).parameters.values())
            needed = [p for p in given if p.default is p.empty]
            assert len(needed) <= len(asked) <= len(given), f"{name}: {asked} against {given}"


@by_exercise
def test_what_it_replaces_is_there(item: Exercise) -> None:
    if item.replaces:
        module, _, name = item.replaces.rpartition(".")
        assert callable(getattr(importlib.import_module(module), name))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_ship_the_holes(path) -> None:  # type: ignore[no-untyped-def]
    """A notebook that ships an exercise solved, or with another hole, fails here."""
    shipped = {}
    for cell in code_cells(nbformat.read(path, as_version=4)):
        if cell.source.startswith("%%exercise"):
            head, _, code = cell.source.partition("\n")
            shipped[head.split()[1]] = code
    assert set(shipped) == {item.id for item in EVERY if item.notebook == path.stem}
    for name, code in shipped.items():
        assert code.strip() == exercises.find(name).hole.strip(), name


def test_an_exercise_that_ships_solved_is_found_out() -> None:
    """The test above would fail on it: the untouched hole is told from a solution."""
    item = EVERY[0]
    assert item.replace(hole=item.solution).untouched(item.solution)
    assert not item.untouched(item.solution)


def test_a_done_answer_becomes_the_learners_own_module(monkeypatch, tmp_path) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("LABCONTAINER_HOME", str(tmp_path))
    monkeypatch.setenv("LABCONTAINER_SEED", "course")
    item = next(item for item in EVERY if item.id == "start.facts")
    space: dict[str, object] = {"__name__": "__main__"}
    card = cells.answer(item, item.solution, space)
    assert DONE in card.text
    assert (tmp_path / "mycontainer/start.py").exists()
    assert callable(space["facts"])


def test_a_pid_namespace_without_a_child_is_no_mistake() -> None:
    """`pid_for_children` leads nowhere until then: the check looks at the other kinds."""
    item = exercises.find("users.rootless")
    with learner(os.geteuid()) as student:
        (found,) = student.judge((item.id, item.solution.replace('"ipc"', '"ipc", "pid"')))
    can_be_checked(found)
    assert found.state == DONE, words(found)


def test_a_slip_of_the_pen_gets_a_hint() -> None:
    item = exercises.find("chroot.enter")
    with learner(os.geteuid()) as student:
        (found,) = student.judge((item.id, item.solution.replace("os.chroot", "so.chroot")))
    can_be_checked(found)
    assert found.state == NOT_YET
    assert "a slip of the pen" in words(found)


def test_a_value_of_another_kind_is_told_as_such() -> None:
    """Here one rule for a list of rules: the check can't go on, and that is no kill."""
    item = exercises.find("network.publish")
    code = item.hole.replace("    ...", '    return Rule("output", f"dnat {ip}:{port}")')
    with learner(os.geteuid()) as student:
        (found,) = student.judge((item.id, code))
    can_be_checked(found)
    assert found.state == NOT_YET
    assert found.where == "what you return", words(found)
