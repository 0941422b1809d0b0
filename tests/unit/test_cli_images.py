"""`labcontainer images rmi tag history image` as a shell sees them: Docker's lists and words."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from labcontainer.cli import images as command
from labcontainer.cli import main
from labcontainer.engine import image_search
from labcontainer.image import documents
from labcontainer.image.documents import ImageConfig
from labcontainer.image.store import Store
from tests.unit import images

ROOT = Path(__file__).resolve().parents[2]


class Shell:
    """Calls with a store of three images, one of them without a name."""

    def __init__(self, place: Path) -> None:
        self.home = f"{place}/home"
        self.store = Store(f"{self.home}/images")
        days = ("app:1", "app:2", "team/app:1"), (), ("reg.test:5000/x:1",)
        self.ids = [self.add(number, names) for number, names in enumerate(days, 1)]

    def add(self, day: int, names: tuple[str, ...]) -> str:
        layer, diff_id = images.layer(self.store, {"f": bytes(1000 * day)})
        described = ImageConfig(
            documents.host_platform(), (diff_id,), {"Labels": {"day": str(day)}},
            ({"created_by": "COPY  f\t/"}, {"created_by": "CMD x", "empty_layer": True}),
            f"2026-01-0{day}T00:00:00Z",
        )  # fmt: skip
        return self.store.add_image(described, [layer], names).id

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        surroundings = {**os.environ, "LABCONTAINER_HOME": self.home, "PYTHONPATH": str(ROOT)}
        return subprocess.run([sys.executable, "-m", "labcontainer.cli.main", *words], text=True,
                              capture_output=True, check=False, env=surroundings)  # fmt: skip

    def lines(self, *words: str) -> list[str]:
        done = self(*words)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.splitlines()


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


NAMES = ("--format", "{{.Repository}}:{{.Tag}}")


def test_a_row_for_each_name_the_newest_first(shell: Shell) -> None:
    first, second, third = (one.removeprefix("sha256:")[:12] for one in shell.ids)
    head, *rows = shell.lines("images")
    assert head.split("  ")[0] == "REPOSITORY"
    assert [row.split()[:3] for row in rows] == [
        ["reg.test:5000/x", "1", third], ["<none>", "<none>", second],
        ["app", "1", first], ["app", "2", first], ["team/app", "1", first],
    ]  # fmt: skip
    assert {row.index(row.split()[2]) for row in rows} == {head.index("IMAGE ID")}
    assert shell.lines("images", "-q", "--no-trunc", "team/app") == [shell.ids[0]]
    assert shell.lines("image", "ls", "-q") == [third, second, first, first, first]


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["dangling=true"], ["<none>:<none>"]),
        (["dangling=0", "reference=*:1"], ["app:1"]),
        (["reference=*"], ["app:1", "app:2"]),
        (["reference=team/*"], ["team/app:1"]),
        (["reference=app:2", "reference=*/x"], ["reg.test:5000/x:1", "app:2"]),
        (["label=day=2"], ["<none>:<none>"]),
        (["label!=day=1", "label=day"], ["reg.test:5000/x:1", "<none>:<none>"]),
        (["since=app:1", "dangling=false"], ["reg.test:5000/x:1"]),
        (["before=reg.test:5000/x:1", "label=day=2"], ["<none>:<none>"]),
        (["until=2026-01-02T00:00:00Z", "reference=app:1"], ["app:1"]),
    ],
)
def test_filters(shell: Shell, words: list[str], wanted: list[str]) -> None:
    flags = [part for word in words for part in ("--filter", word)]
    assert shell.lines("images", *flags, *NAMES) == wanted


@pytest.mark.parametrize("word", ["dangling=maybe", "colour=red", "until=soon", "alone"])
def test_what_is_no_filter_is_one_line(shell: Shell, word: str) -> None:
    done = shell("images", "--filter", word)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)


def test_the_fields_of_a_row_are_docker_s(shell: Shell) -> None:
    (row,) = shell.lines("images", "--format", "json", "app:1")
    assert list(json.loads(row)) == [
        "Containers", "CreatedAt", "CreatedSince", "Digest", "ID", "Repository", "SharedSize",
        "Size", "Tag", "UniqueSize", "VirtualSize",
    ]  # fmt: skip


def test_history_is_the_newest_first_and_names_the_image_once(shell: Shell) -> None:
    form = ("--format", "{{.ID}} {{.CreatedBy}}")
    short = shell.ids[0].removeprefix("sha256:")[:12]
    assert shell.lines("history", *form, "app:1") == [f"{short} CMD x", "<missing> COPY f /"]
    assert shell.lines("history", "-q", "--no-trunc", "app:1") == [shell.ids[0], "<missing>"]


def test_names_come_and_go(shell: Shell) -> None:
    assert shell.lines("tag", shell.ids[1][7:19], "new") == []
    assert shell.lines("images", "-q", "--no-trunc", "new") == [shell.ids[1]]
    assert shell.lines("rmi", "app:1") == ["Untagged: app:1"]
    refused = shell("rmi", shell.ids[0])
    assert refused.returncode == 1
    assert "must be forced" in refused.stderr
    assert shell.lines("rmi", "-f", shell.ids[0])[:3] == [
        "Untagged: app:2", "Untagged: team/app:1", f"Deleted: {shell.ids[0]}",
    ]  # fmt: skip


def test_one_that_is_not_here_does_not_keep_the_others(shell: Shell) -> None:
    done = shell("rmi", "nosuch", "app:2")
    assert (done.returncode, done.stdout) == (1, "Untagged: app:2\n")
    assert done.stderr == "Error: No such image: nosuch:latest\n"


def test_prune_removes_what_has_no_name_and_fits(shell: Shell) -> None:
    nothing = shell.lines("image", "prune", "-f", "--filter", "until=2026-01-02T00:00:00Z")
    assert nothing == ["Total reclaimed space: 0B"]
    told = shell.lines("image", "prune", "-f", "--filter", "label=day=2")
    assert told[:2] == ["Deleted Images:", f"deleted: {shell.ids[1]}"]
    assert not shell.lines("images", "-q", "--filter", "dangling=true")


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [("app", True), ("app:1", True), ("a*", True), ("*", True), ("[^b]pp", True),
     ("*/app", False), ("ap", False), ("app:2", False)],
)  # fmt: skip
def test_patterns_are_those_of_go_s_path_match(pattern: str, fits: bool) -> None:
    assert command.matches("app:1", pattern) is fits


def test_search(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[object] = []

    def found(*words: object) -> list[dict[str, object]]:
        asked.append(words[:3])
        usual = {"star_count": 0, "is_official": False, "is_automated": False}
        return [usual | {"name": "busybox", "description": "small  \n" + "x" * 60, "star_count": 9,
                         "is_official": True},
                usual | {"name": "me/busybox", "description": ""}]  # fmt: skip

    monkeypatch.setattr(image_search, "search", found)
    assert main.main(["search", "-f", "stars=3", "--limit", "5", "busybox"]) == 0
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == ["NAME", "DESCRIPTION", "STARS", "OFFICIAL"]
    assert first.split() == ["busybox", "small", "x" * 38 + "…", "9", "[OK]"]
    assert second.split() == ["me/busybox", "0"]
    assert asked == [("busybox", 5, {"stars": ["3"]})]
    assert main.main(["search", "--no-trunc", "--format", "{{.Description}}", "busybox"]) == 0
    assert capsys.readouterr().out == f"small {'x' * 60}\n\n"
