"""Students' code that attacks the grading: the verdict, its checker, the host, the other students.

Every attack is the answer of a student of its own, and all are graded in one go.
"""

from __future__ import annotations

import csv
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from labcontainer.lab import student
from labcontainer.lab.exercise import find
from tests.system import grading_attacks as attacks
from tests.system.lab_home import MAIN, TOP, processes_with

pytestmark = pytest.mark.requires("userns", "overlay-userns")

ATTACKED = "namespaces.own_name"  # its check looks at a process that is kept, from outside
SECRET = "the other student's answer"
MARK = f"lc-left-behind-{os.getpid()}"
LIMITS = ("--memory", "512m", "--processes", "48")


def notebook(answers: dict[str, str]) -> str:
    cells = []
    for name, code in answers.items():
        source = f"%%exercise {name}\n{code}"
        cells.append({"cell_type": "code", "metadata": {}, "outputs": [], "source": source})
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


class Class:
    """A class that has handed in, and who grades it."""

    def __init__(self, home: Path, uid: int) -> None:
        self.home, self.uid = home, uid
        self.host = socket.create_server(("127.0.0.1", 0))
        self.abstract = f"lc-grading-{os.getpid()}-{uid}"
        self.local = socket.socket(socket.AF_UNIX)
        self.local.bind(f"\0{self.abstract}")
        self.local.listen()
        self.env = {**os.environ, "PYTHONPATH": TOP, "HOME": str(home), "TMPDIR": str(home)}
        self.drop: list[str] = []
        if uid != os.geteuid():
            self.drop = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--"]

    def hand_in(self, who: str, code: str, seed: str = "") -> None:
        folder = self.home / "in" / who
        (folder / "notebooks").mkdir(parents=True)
        (folder / "notebooks/03_namespaces.ipynb").write_text(notebook({ATTACKED: code}))
        (folder / "mycontainer").mkdir()
        progress = {"format": 1, "seed": seed or who, "answers": {}}
        (folder / "mycontainer/progress.json").write_text(json.dumps(progress))
        (folder / "mycontainer/chroot.py").write_text(f"# {SECRET}: {who}\n")

    def hand_in_attack(self, attack: attacks.Attack) -> None:
        words = (f"{SECRET}: prints", "a new UTS namespace and nothing else")
        code = attacks.text(
            attack,
            attacks.BEFORE.get(attack, ""),
            MARK=MARK,
            PORT=self.host.getsockname()[1],
            ABSTRACT=self.abstract,
            PATHS=[str(self.home), f"{TOP}/tests", f"{TOP}/notebooks", "/home", "/var/lib"],
            WORDS=[f"{word[:9]}[{word[9]}]{word[10:]}" for word in words],
        )
        self.hand_in(attack.__name__, code)

    def words(self, *given: str) -> list[str]:
        return [*self.drop, *MAIN, "lab", *given]

    def lab(self, *given: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.words(*given), capture_output=True, text=True, timeout=300, check=False,
            cwd=self.home, env=self.env, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def grade(self, *given: str) -> list[dict[str, Any]]:
        """The results of the book."""
        ended = self.lab("grade", "all", "--only", ATTACKED, "--json", "-", "--jobs", "3",
                         *LIMITS, *given)  # fmt: skip
        assert ended.returncode == 0, ended.stderr
        results: list[dict[str, Any]] = json.loads(ended.stdout)["results"]
        return results

    def left(self) -> list[str]:
        return [path.name for path in self.home.iterdir() if "labcontainer-grade" in path.name]

    def table(self, name: str) -> list[dict[str, str]]:
        with (self.home / name).open() as file:
            return list(csv.DictReader(file))


def made(home: Path, uid: int) -> Class:
    """A class that was collected."""
    some = Class(home, uid)
    for attack in attacks.WANTED:
        some.hand_in_attack(attack)
    if uid == 0:
        some.hand_in_attack(attacks.hogs)
    some.hand_in("right", find(ATTACKED).solution)
    for who, seed in (("seed-a", "a"), ("seed-b", "b"), ("seed-c", "b")):
        some.hand_in(who, attacks.text(attacks.tells), seed)
    for path in (home, *home.rglob("*")):
        os.chown(path, uid, uid)
    taken = some.lab("collect", "in", "all")
    assert taken.returncode == 0, taken.stderr + taken.stdout
    os.chmod(home / "all", 0o700)
    return some


Graded = tuple[Class, dict[str, dict[str, Any]]]
USERS = [0, 1000] if os.geteuid() == 0 else [os.geteuid()]


@pytest.fixture(scope="module", params=USERS, ids=lambda uid: f"uid{uid}")
def graded(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Graded]:
    """A graded class: student -> what was found of ATTACKED."""
    home = tmp_path_factory.mktemp("class")
    for path in (home, *list(home.parents)[:-2]):
        os.chmod(path, 0o755)
    some = made(home, request.param)
    try:
        rows = some.grade("--csv", "book.csv", "--totals", "totals.csv")
        yield some, {row["student"]: row for row in rows}
    finally:
        some.host.close()
        some.local.close()


def test_an_honest_answer_is_done(graded: Graded) -> None:
    row = graded[1]["right"]
    assert (row["state"], row["limit"], row["review"]) == ("done", "", "")


@pytest.mark.parametrize("attack", attacks.WANTED, ids=lambda attack: attack.__name__)
def test_an_attack_gets_nothing(graded: Graded, attack: attacks.Attack) -> None:
    state, words = attacks.WANTED[attack]
    row = graded[1][attack.__name__]
    seen = row["observed"].removesuffix("saw below")
    assert row["state"] in ([state] if state else ["refused", "not yet"]), row
    assert words.strip() in f"{seen} {row['limit']}", row
    if words.endswith(" "):
        assert seen.strip() == words.strip(), row


def test_what_lies_below_the_checks_proc_is_closed_too(graded: Graded) -> None:
    """The attack took /proc away, saw the container's own one, and got nothing there."""
    assert graded[1]["looks"]["observed"].endswith("saw below")


def test_memory_of_many_processes_together_is_limited(graded: Graded) -> None:
    some, rows = graded
    if some.uid == 0:  # another user has no control group, and limits for each process alone
        assert (rows["hogs"]["state"], rows["hogs"]["limit"]) == ("refused", "memory")


def test_each_student_has_right_answers_of_their_own(
    graded: Graded, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {}
    for who, seed in (("seed-a", "a"), ("seed-b", "b"), ("seed-c", "b")):
        monkeypatch.setenv("LABCONTAINER_SEED", seed)
        told[who] = graded[1][who]["observed"]
        word = student.token(f"{ATTACKED}/name")
        assert told[who] == f"LookupError: {word} /submitted/mycontainer/chroot.py"
    assert told["seed-a"] != told["seed-b"]


def test_who_shares_a_seed_is_named(graded: Graded) -> None:
    notes = {row["student_id"]: row["notes"] for row in graded[0].table("totals.csv")}
    assert notes["seed-b"] == "same seed as seed-c"
    assert notes["seed-a"] == ""


def test_nothing_is_left(graded: Graded) -> None:
    assert processes_with(MARK) == []
    assert graded[0].left() == []


def test_no_cell_of_the_csv_is_a_formula(graded: Graded) -> None:
    rows = graded[0].table("book.csv")
    assert any(cell.startswith("'=HYPERLINK") for row in rows for cell in row.values())
    assert not any(cell.startswith("=") for row in rows for cell in row.values())


def test_a_second_grading_knows_the_verdicts_and_says_the_same(graded: Graded) -> None:
    some, rows = graded
    again = some.grade()
    assert again == list(rows.values())
    assert [row["student"] for row in again] == sorted(rows)


def test_an_interrupted_grading_goes_on(graded: Graded) -> None:
    some, rows = graded
    kept = some.home / "all/.grading/results.jsonl"
    known = kept.read_text().splitlines(keepends=True)
    half = len(known) * 3 // 4
    kept.write_text("".join(known[:half]) + known[-1][:40] + "\n")
    line = some.words("grade", "all", "--only", ATTACKED, "--jobs", "2", *LIMITS)
    with subprocess.Popen(
        line, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, cwd=some.home,
        env=some.env,
    ) as program:  # fmt: skip
        assert program.stderr is not None
        for said in program.stderr:
            if f" {ATTACKED}: " in said:
                break
        program.send_signal(signal.SIGINT)
        program.stderr.read()
    assert program.returncode == 130
    assert some.left() == []
    assert len(kept.read_text().splitlines()) > half
    depends = {attack.__name__ for attack, (state, _) in attacks.WANTED.items() if not state}
    for row in some.grade():
        if row["student"] not in depends:  # which limit those meet first hangs on the moment
            assert row["state"] == rows[row["student"]]["state"], row


BREAK_SOLUTION = """\
import sys
from labcontainer.cli.main import main
from labcontainer.lab import exercise

every = exercise.every
exercise.every = lambda: [
    item.replace(solution=item.hole.replace("...", "pass")) for item in every()
    if item.id == "ATTACKED"
]
sys.exit(main(sys.argv[1:]))
""".replace("ATTACKED", ATTACKED)


def test_a_check_that_does_not_work_here_counts_for_nobody(graded: Graded) -> None:
    """Its own solution goes through the same containers first."""
    some, _ = graded
    line = [*some.drop, sys.executable, "-c", BREAK_SOLUTION, "lab", "grade", "all"]
    ended = subprocess.run(
        [*line, "--json", "-", "--again", "--jobs", "3"],
        capture_output=True, text=True, timeout=300, check=False, cwd=some.home, env=some.env,
    )  # fmt: skip
    assert ended.returncode == 1, ended.stderr
    assert f"{ATTACKED} is not checked: its own solution is 'not yet'" in ended.stderr
    assert {row["state"] for row in json.loads(ended.stdout)["results"]} == {"not checked"}
