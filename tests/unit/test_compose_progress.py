"""How Compose tells of its steps: lines, objects, or one line a resource."""

from __future__ import annotations

import io
import json
import sys
from argparse import Namespace

import pytest

from labcontainer import errors
from labcontainer.cli import compose_progress
from labcontainer.cli.compose_progress import DONE, ERROR, WARNING, WORKING, Live, kind_of


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("Creating", WORKING), ("Recreate", WORKING), ("Created", DONE), ("Running", DONE),
        ("Healthy", DONE), ("Synced 3 file(s)", DONE), ("Warning: in use", WARNING),
        ("Resource is still in use", WARNING), ("Error", ERROR),
    ],
)  # fmt: skip
def test_what_a_status_means(status: str, kind: str) -> None:
    assert kind_of(status) == kind


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("word", "ansi", "terminal", "found"),
    [
        ("", "", True, "Live"), ("", "", False, "Steps"), ("", "never", True, "Steps"),
        ("plain", "", True, "Steps"), ("tty", "", False, "Live"), ("json", "", True, "Json"),
        ("quiet", "", True, "Quiet"),
    ],
)  # fmt: skip
def test_who_is_told(
    monkeypatch: pytest.MonkeyPatch, word: str, ansi: str, terminal: bool, found: str
) -> None:
    for name in ("COMPOSE_PROGRESS", "COMPOSE_ANSI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "stderr", Terminal() if terminal else io.StringIO())
    asked = Namespace(progress=word, ansi=ansi, verb="up")
    assert type(compose_progress.of(asked)).__name__ == found
    monkeypatch.setenv("COMPOSE_PROGRESS", word)
    asked = Namespace(progress="", ansi=ansi, verb="up")
    assert type(compose_progress.of(asked)).__name__ == found


def test_a_variable_that_says_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPOSE_PROGRESS", "fancy")
    with pytest.raises(errors.UsageError, match="COMPOSE_PROGRESS=fancy"):
        compose_progress.of(Namespace(progress="", ansi="", verb="up"))


def test_lines_and_objects() -> None:
    out = io.StringIO()
    with compose_progress.Steps(out) as tell:
        tell("Network n", "Creating")
    assert out.getvalue() == " Network n  Creating\n"
    out = io.StringIO()
    with compose_progress.Json(out) as tell:
        tell("Network n", "Created")
    assert json.loads(out.getvalue()) == {"id": "Network n", "status": "Done", "text": "Created"}


def test_what_still_went_on_has_failed() -> None:
    out = Terminal()

    def failing() -> None:
        with Live(out, "up", colour=False) as tell:
            tell("Network n", "Creating")
            tell("Network n", "Created")
            tell("Container c", "Starting")
            raise OSError

    with pytest.raises(OSError):
        failing()
    last = out.getvalue().rpartition("[+] up ")[2]
    assert last.startswith("2/2") and "✔ Network n" in last and "✘ Container c Error" in last


def test_lines_alone_beside_the_output_of_containers() -> None:
    out = Terminal()
    with Live(out, "up", colour=False) as tell:
        tell("Container c", "Created")
        tell.beside_output()
        drawn = len(out.getvalue())
        tell("Container c", "Started")
        tell("Container c", "Stopping")
    assert out.getvalue()[drawn:] == " Container c  Stopping\n"
