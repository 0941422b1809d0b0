"""The learner's record and package: kept, carried elsewhere, and made anew from one file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from labcontainer.errors import NotFoundError, SpecError
from labcontainer.lab import cells, mine, progress, student
from labcontainer.lab.exercise import DONE, NOT_YET, Exercise, Outcome, done, find
from labcontainer.lab.trial import Trial

FACTS = find("start.facts")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LABCONTAINER_HOME", str(tmp_path))
    monkeypatch.setenv("LABCONTAINER_SEED", "course")
    monkeypatch.delenv("JUPYTERHUB_USER", raising=False)
    return tmp_path


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> list[Outcome]:
    """What the check is going to say, instead of running it."""
    said = [Outcome(DONE)]
    monkeypatch.setattr(cells, "judge", lambda item, code: said[-1])
    return said


def test_a_student_has_the_same_numbers_each_time_and_others_have_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mine_ = (student.token("x"), student.number("y", 1, 10**9), student.choice("z", range(10**6)))
    again = (student.token("x"), student.number("y", 1, 10**9), student.choice("z", range(10**6)))
    monkeypatch.setenv("LABCONTAINER_SEED", "other")
    others = (student.token("x"), student.number("y", 1, 10**9), student.choice("z", range(10**6)))
    assert mine_ == again
    assert not set(mine_) & set(others)


def test_without_a_given_seed_one_is_made_and_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LABCONTAINER_SEED")
    assert student.seed() == student.seed() == progress.load().seed
    monkeypatch.setenv("JUPYTERHUB_USER", "ada")
    assert student.seed() == "ada"


def test_a_done_answer_is_a_module(home: Path, judged: list[Outcome]) -> None:
    space: dict[str, object] = {"__name__": "__main__"}
    code = "from __future__ import annotations\n" + FACTS.solution
    card = cells.answer(FACTS, code, space)
    assert "`facts` is yours now" in card.text
    assert space["facts"].__module__ == "__main__"
    text = (home / "mycontainer/start.py").read_text()
    assert text.count("from __future__") == 1
    say = "from mycontainer import start; print(callable(start.facts))"
    ended = subprocess.run([sys.executable, "-c", say], cwd=home, capture_output=True, text=True)
    assert ended.stdout == "True\n", ended.stderr


def test_a_later_wrong_try_does_not_take_back_what_is_done(
    home: Path, judged: list[Outcome]
) -> None:
    cells.answer(FACTS, FACTS.solution, {})
    judged.append(Outcome(NOT_YET, expected="a", observed="b"))
    cells.answer(FACTS, FACTS.hole.replace("...", "return {}"), {})
    entry = progress.load().of("start.facts")
    assert (entry["attempts"], entry["state"]) == (2, NOT_YET)
    assert "comm" in (home / "mycontainer/start.py").read_text()


def test_replaces_says_which_function_is_taken_the_place_of(
    home: Path, judged: list[Outcome]
) -> None:
    item = find("chroot.enter")
    cells.answer(item, item.solution, {"__name__": "__main__"})
    replaces = json.loads((home / "mycontainer/replaces.json").read_text())
    assert replaces == {item.replaces: "chroot.enter"}
    cells.reset("chroot.enter")
    assert json.loads((home / "mycontainer/replaces.json").read_text()) == {}
    assert not (home / "mycontainer/chroot.py").exists()


def test_an_untouched_hole_binds_the_packages_own() -> None:
    space: dict[str, object] = {"__name__": "__main__"}
    item = find("chroot.enter")
    card = cells.answer(item, item.hole, space)
    assert "not attempted" in card.text
    assert item.own in card.text
    assert getattr(space["enter"], "__module__", "") == item.own.rpartition(".")[0]
    assert progress.load().answers == {}, "looking is no attempt"


def test_what_can_not_be_read_is_not_run(home: Path) -> None:
    space: dict[str, object] = {"__name__": "__main__"}
    card = cells.answer(FACTS, FACTS.hole + f"open({str(home / 'x')!r}, 'w')\n", space)
    assert "imports, definitions and assignments only" in card.text or "`...`" in card.text
    assert not (home / "x").exists()


def test_hints_come_one_after_the_other(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(4):
        cells.hint("start.facts")
    heads = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Hint")]
    assert [head.split(":")[0] for head in heads] == [
        "Hint 1 of 3", "Hint 2 of 3", "Hint 3 of 3", "Hint 3 of 3"]  # fmt: skip


def test_a_solution_is_shown_when_asked_twice(capsys: pytest.CaptureFixture[str]) -> None:
    cells.solution("start.facts")
    assert "Try it first" in capsys.readouterr().out
    cells.solution("start.facts")
    assert "os.readlink" in capsys.readouterr().out


def test_a_solution_is_shown_after_an_attempt(
    capsys: pytest.CaptureFixture[str], judged: list[Outcome]
) -> None:
    judged.append(Outcome(NOT_YET, expected="a", observed="b"))
    cells.answer(FACTS, FACTS.hole.replace("...", "return 3"), {"__name__": "__main__"})
    cells.solution("start.facts")
    assert "os.readlink" in capsys.readouterr().out


def test_progress_is_carried_elsewhere(
    home: Path, judged: list[Outcome], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cells.answer(FACTS, FACTS.solution, {"__name__": "__main__"})
    cells.export_progress(str(tmp_path / "mine.json"))
    elsewhere = tmp_path / "elsewhere"
    monkeypatch.setenv("LABCONTAINER_HOME", str(elsewhere))
    cells.import_progress(str(tmp_path / "mine.json"))
    assert (elsewhere / "mycontainer/start.py").exists()
    assert mine.get("start.facts").__module__ == "mycontainer.start"
    sys.path.remove(str(elsewhere))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 9}', '{"format": 1}'])
def test_a_torn_progress_file_is_named(home: Path, text: str) -> None:
    progress.path().parent.mkdir()
    progress.path().write_text(text)
    with pytest.raises(SpecError, match=r"progress\.json"):
        progress.load()


def test_an_unknown_id_names_near_ones() -> None:
    with pytest.raises(NotFoundError, match=r"did you mean .*start\.facts"):
        find("start.fact")


def test_old_ids_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(find.__globals__["ALIASES"], "start.three_facts", "start.facts")
    assert find("start.three_facts") is FACTS


def test_a_check_is_a_plain_function() -> None:
    def check(trial: Trial) -> Outcome:
        return done("yes")

    item = Exercise(id="a.b", notebook="n", title="t", hole="", solution="", check=check)
    assert item.run_check(None).text == "yes"  # type: ignore[arg-type]
    assert (item.module, item.bound) == ("a", ("b",))
