"""What grading decides without a container: answers, seeds, limits, the tables."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from labcontainer.errors import UsageError
from labcontainer.lab import (
    answers,
    gradebook,
    grading,
    grading_root,
    isolation,
    judge,
    proctor,
)
from labcontainer.lab.child import Result as Ran
from labcontainer.lab.exercise import DONE, NOT_CHECKED, NOT_YET, Outcome, find
from labcontainer.lab.gradebook import Book, Result, Student
from labcontainer.lab.isolation import Ended

ENTER, PIVOT = find("chroot.enter"), find("chroot.pivot")
CHOSEN = {item.id: item for item in (ENTER, PIVOT)}


def cell(code: str, kind: str = "code") -> dict[str, Any]:
    return {"cell_type": kind, "source": code}


def folder(tmp_path: Path, cells: list[Any], **progress: Any) -> Path:
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "mycontainer").mkdir()
    (tmp_path / "notebooks/02_chroot.ipynb").write_text(json.dumps({"cells": cells}))
    if progress:
        (tmp_path / "mycontainer/progress.json").write_text(json.dumps(progress))
    return tmp_path


# --- answers --------------------------------------------------------------------------------------


def test_the_last_cell_that_is_not_the_hole_counts(tmp_path: Path) -> None:
    cells = [
        cell(f"%%exercise {ENTER.id}\nfirst = 1\n"),
        cell(["%%exercise chroot.enter\n", "second = 2\n"]),  # type: ignore[arg-type]
        cell(f"%%exercise {ENTER.id}\n{ENTER.hole}\n"),
        cell(f"%%exercise {ENTER.id}\nprose = 3\n", "markdown"),
        cell(f"%%exercise {PIVOT.id}\n{PIVOT.hole}"),
        cell("%%exercise no.such\nx = 1"),
        None,
        {"cell_type": "code", "source": 7},
    ]
    found = answers.read(folder(tmp_path, cells), CHOSEN)
    assert found.answers == {ENTER.id: answers.Answer("second = 2\n", "notebooks/02_chroot.ipynb")}


def test_where_the_cell_is_the_hole_the_progress_file_counts(tmp_path: Path) -> None:
    kept = {ENTER.id: {"done": "was = 'done'", "code": "later = 1"}, PIVOT.id: {"code": "try_ = 1"}}
    home = folder(
        tmp_path, [cell(f"%%exercise {ENTER.id}\n{ENTER.hole}")], seed="kim", answers=kept
    )
    found = answers.read(home, CHOSEN)
    assert found.seed == "kim"
    assert {name: one.code for name, one in found.answers.items()} == {
        ENTER.id: "was = 'done'", PIVOT.id: "try_ = 1"
    }  # fmt: skip


def test_last_of_all_the_package_counts(tmp_path: Path) -> None:
    home = folder(tmp_path, [])
    (home / "mycontainer/chroot.py").write_text(
        f'"""Yours."""\n\n# --- {ENTER.id}: Enter a new root ---\n\nmine = 1\n\n'
        f"# --- {PIVOT.id}: Pivot ---\n\ntwo = 2\n"
    )
    found = answers.read(home, CHOSEN).answers
    assert {name: one.code.strip() for name, one in found.items()} == {
        ENTER.id: "mine = 1", PIVOT.id: "two = 2"
    }  # fmt: skip


@pytest.mark.parametrize("text", ["", "no json", "[" * 100_000, "[]", '{"answers": 3, "seed": 4}',
                                  '{"answers": {"chroot.enter": 1}}'])  # fmt: skip
def test_a_broken_file_is_noted_and_stops_nothing(tmp_path: Path, text: str) -> None:
    home = folder(tmp_path, [cell(f"%%exercise {ENTER.id}\nx = 1")])
    (home / "mycontainer/progress.json").write_text(text)
    found = answers.read(home, CHOSEN)
    assert list(found.answers) == [ENTER.id]
    assert found.seed == ""
    assert len(found.notes) == (text[:1] not in ("[", "{") or len(text) > 1000)


def test_only_text_is_compared_with_the_hole() -> None:
    assert answers.is_hole(ENTER, f"\n\n{ENTER.hole}  \n")
    assert answers.is_hole(ENTER, " \n")
    assert not answers.is_hole(ENTER, ENTER.solution)


# --- seeds ----------------------------------------------------------------------------------------


def test_seeds_come_from_the_progress_file_the_name_or_a_list(tmp_path: Path) -> None:
    roster = tmp_path / "students.csv"
    roster.write_text("# course\nann\nben, 77\n")
    assert grading.Seeds("progress").of("ann", "s") == "s"
    assert grading.Seeds("progress").of("ann", "") == "ann"
    assert grading.Seeds("name").of("ann", "s") == "ann"
    given = grading.Seeds(str(roster))
    assert (given.of("ann", "s"), given.of("ben", "s")) == ("ann", "77")
    with pytest.raises(UsageError, match="eve is not in it"):
        given.of("eve", "s")


def test_who_shares_a_seed_is_told() -> None:
    seeds = grading.Seeds("progress")
    for who, seed in (("ann", "1"), ("ben", "2"), ("cho", "1")):
        seeds.of(who, seed)
    assert [seeds.note(who) for who in ("ann", "ben", "cho")] == [
        ["same seed as cho"], [], ["same seed as ann"]
    ]  # fmt: skip


# --- limits and verdicts --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ran", "limit"),
    [
        (Ran(status=-signal.SIGXCPU), "processor time"),
        (Ran(status=-signal.SIGXFSZ), "file size"),
        (Ran(kind="MemoryError", error="MemoryError"), "memory"),
        (Ran(kind="OSError", errno=12, error="x"), "memory"),
        (Ran(kind="OSError", errno=27, error="x"), "file size"),
        (Ran(kind="OSError", errno=28, error="x"), ""),
        (Ran(kind="BlockingIOError", errno=11, error="x"), "processes"),
        (Ran(kind="RuntimeError", error="RuntimeError: can't start new thread"), "processes"),
        (Ran(kind="PermissionError", errno=1, error="x"), ""),
        (Ran(returned=True, value=1), ""),
    ],
)
def test_a_limit_is_known_by_what_it_does(ran: Ran, limit: str) -> None:
    assert proctor.limit_of(ran) == limit


SAID = {"outcome": Outcome(DONE, score="3 bytes").as_dict(), "limit": ""}


@pytest.mark.parametrize(
    ("ended", "state", "limit"),
    [
        (Ended(0, json.dumps(SAID).encode(), ""), DONE, ""),
        (Ended(0, json.dumps(SAID).encode(), "", limit="memory"), DONE, ""),
        (Ended(0, b'{"outcome": {"state": "done", "more": 1}}', ""), NOT_YET, ""),
        (Ended(0, b"[]", ""), NOT_YET, ""),
        (Ended(-9, b"", "", limit="wall time"), NOT_YET, "wall time"),
        (Ended(1, b"", "Traceback\nMemoryError"), NOT_YET, "memory"),
        (Ended(1, b"", "Traceback\nValueError: x"), NOT_YET, ""),
        (Ended(isolation.NOT_STARTED, b"", "UnsupportedError: no user namespace"), NOT_CHECKED, ""),
    ],
)
def test_what_a_containers_end_says(ended: Ended, state: str, limit: str) -> None:
    verdict = grading._judged(ended)
    assert (verdict["outcome"]["state"], verdict["limit"]) == (state, limit)


def test_another_answer_seed_or_check_is_another_verdict() -> None:
    options = grading.Options()
    task = grading.Task(ENTER, "x = 1", "kim")
    others = [
        grading.Task(ENTER, "x = 2", "kim"),
        grading.Task(ENTER, "x = 1", "lee"),
        grading.Task(PIVOT, "x = 1", "kim"),
        grading.Task(ENTER.replace(seconds=99.0), "x = 1", "kim"),
    ]
    keys = {grading._key(one, options) for one in (task, *others)}
    keys.add(grading._key(task, options.replace(limits=isolation.Limits(memory=1 << 29))))
    assert len(keys) == 6
    assert grading._key(task, options) == grading._key(task, options.replace(jobs=4))


def test_the_memory_outlives_a_line_half_written(tmp_path: Path) -> None:
    path = tmp_path / "kept/results.jsonl"
    first = grading.Memory(path, again=False)
    first.put("a", {**SAID, "seconds": 1})
    first.put("late", {**SAID, "limit": isolation.WALL_TIME, "seconds": 1})
    with path.open("a") as file:
        file.write('{"key": "b", "verd')
    second = grading.Memory(path, again=False)
    assert second.get("a") == {**SAID, "seconds": 1}
    assert second.get("b") is second.get("late") is None
    assert grading.Memory(path, again=True).get("a") is None


def test_what_goes_into_the_container_has_no_solution() -> None:
    case = grading._case(grading.Task(ENTER, "x = 1", "kim"), isolation.Limits())
    assert b"os.chroot(root)" not in case.order
    assert json.loads(case.order)["seed"] == "kim"


def test_an_unknown_word_is_told() -> None:
    with pytest.raises(UsageError, match="--only no-such"):
        grading._chosen(["chroot.enter", "no-such"])
    assert list(grading._chosen(["chroot.enter"])) == ["chroot.enter"]
    assert set(CHOSEN) < set(grading._chosen(["02_chroot.ipynb"]))


def test_an_answer_that_looks_around_is_to_be_read() -> None:
    honest = ENTER.solution
    assert grading._review(ENTER, honest) == ""
    assert grading._review(ENTER, f"{honest}\nimport ctypes\nx = '/proc/self/fd'\n").startswith(
        "mentions /proc/self/fd, ctypes; the check looks from outside"
    )
    reap = find("namespaces.reap")
    assert grading._review(reap, f"{reap.solution}\nimport sys\ny = sys._getframe\n").endswith(
        "the check asks the answer's own process"
    )


# --- the root file system of the containers -------------------------------------------------------


def test_the_root_has_no_exercise_and_is_open_to_the_containers_users(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        shown = grading_root.make(str(tmp_path / "tree"))
    finally:
        os.umask(before)
    tree = tmp_path / "tree"
    assert ("/usr", "/usr") in shown
    assert (tree / "course/labcontainer/lab/trial.py").is_file()
    assert not list(tree.rglob("exercises")) and not list(tree.rglob("questions"))
    files = [path for path in tree.rglob("*") if not path.is_symlink()]
    modes = {(path.is_dir(), path.stat().st_mode & 0o777) for path in files}
    assert modes == {(True, 0o755), (False, 0o644)}
    assert "root" in (tree / "etc/passwd").read_text()
    assert len((tree / "etc/passwd").read_text().splitlines()) == 3


def test_exercises_of_an_installed_course_are_covered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = tmp_path / "lib/site-packages/labcontainer/lab/exercises"
    inside.mkdir(parents=True)
    monkeypatch.setattr("sys.path", [str(tmp_path / "lib/site-packages"), str(tmp_path / "other")])
    shown = [(str(tmp_path / "lib"), str(tmp_path / "lib"))]
    grading_root._cover_exercises("/tree", shown)
    assert shown[1:] == [("/tree/empty", str(inside))]


def test_the_filter_is_dockers_and_lets_pivot_root_through(tmp_path: Path) -> None:
    grading_root.write_profile(str(tmp_path / "seccomp.json"))
    profile = json.loads((tmp_path / "seccomp.json").read_text())
    allowed = {name for rule in profile["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW"
               for name in rule["names"]}  # fmt: skip
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    assert "pivot_root" in allowed
    assert not allowed & {"keyctl", "add_key", "request_key", "userfaultfd"}


# --- the tables -----------------------------------------------------------------------------------


def book() -> Book:
    results = (
        Result("ann", "chroot.enter", "02_chroot", DONE, score="3 bytes", seconds=0.5),
        Result("ann", "chroot.pivot", "02_chroot", gradebook.REFUSED, limit="memory",
               observed="=HYPERLINK(1)\n\x1b[2J", hint="+1", expected="-x", text="@y"),
        Result("ben", "chroot.enter", "02_chroot", NOT_CHECKED, text="no cgroup"),
    )  # fmt: skip
    lines = (
        Student("ann", "2026-12-01T10:00:00+00:00", False, 1, 2, 0.5),
        Student("ben", "2026-12-02T10:00:00+00:00", True, 0, 0, 0.0, ("same seed as ann",)),
    )
    return Book(lines, results, ("chroot.enter", "chroot.pivot"))


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_the_results_table() -> None:
    found = rows(gradebook.results_csv(book()))
    assert tuple(found[0]) == gradebook.RESULT_COLUMNS
    columns = ("student_id", "state", "points", "max_points")
    assert [tuple(row[name] for name in columns) for row in found] == [
        ("ann", "done", "1", "1"), ("ann", "refused", "0", "1"), ("ben", "not checked", "0", "0")
    ]  # fmt: skip
    assert found[2]["late"] == "late"


def test_no_cell_is_a_formula_and_no_terminal_obeys_one() -> None:
    row = rows(gradebook.results_csv(book()))[1]
    assert row["observed"] == "'=HYPERLINK(1)  [2J"
    assert (row["hint"], row["expected"]) == ("'+1", "'-x")


def test_the_totals_table() -> None:
    ann, ben = rows(gradebook.totals_csv(book()))
    assert tuple(ann)[:7] == gradebook.TOTAL_COLUMNS
    assert (ann["score"], ann["max_score"], ann["chroot.pivot"]) == ("1", "2", "refused")
    assert (ben["late"], ben["notes"], ben["chroot.pivot"]) == ("late", "same seed as ann", "")


def test_json_has_it_all_in_order() -> None:
    document = json.loads(gradebook.as_json(book()))
    assert list(document) == ["format", "exercises", "students", "results"]
    assert document["format"] == 1
    assert document["results"][1]["limit"] == "memory"
    assert document["students"][1]["notes"] == ["same seed as ann"]


def test_totals_count_nobody_for_what_could_not_be_checked() -> None:
    line = gradebook.total("ann", book().results, {"time": "t", "late": True}, ["n"])
    assert (line.points, line.of, line.late, line.notes) == (1, 2, True, ("n",))


def test_every_check_that_asks_the_answers_own_process_is_known() -> None:
    """docs/instructor.md tells how many."""
    from labcontainer.lab import exercise

    beside = [item.id for item in exercise.every() if grading._BESIDE.search(
        str(judge.check_of(item)["check"]))]  # fmt: skip
    assert "namespaces.reap" in beside
    assert "namespaces.own_name" in beside  # it asks for the name inside
    assert "chroot.enter" not in beside
