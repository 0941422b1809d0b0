"""Docs name what there is: commands, make targets, notebooks, environment variables, pages."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from tests.architecture import source

ROOT = source.ROOT
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md",
         *sorted((ROOT / "docs").rglob("*.md"))]  # fmt: skip
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def words() -> str:
    """All that README and docs say; where a line ends makes no difference."""
    return re.sub(r"\s+", " ", " ".join(page.read_text() for page in PAGES))


def console_scripts() -> list[str]:
    return sorted(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"])


def make_targets() -> list[str]:
    makefile = (ROOT / "Makefile").read_text()
    steps = re.search(r"^STEPS\s*:= (.*)$", makefile, re.MULTILINE)
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert steps and phony
    return sorted({*steps[1].split(), *phony[1].replace("$(STEPS)", "").split()})


def variables() -> list[str]:
    """Environment variables of ours that the package reads."""
    found: set[str] = set()
    for path in source.files():
        found |= set(re.findall(r"\"(LABCONTAINER_[A-Z_]+)\"", path.read_text()))
    return sorted(found)


@pytest.mark.parametrize("name", console_scripts())
def test_console_command_is_documented(name: str) -> None:
    assert f"`{name}" in words() or f" {name} " in words()


@pytest.mark.parametrize("name", make_targets())
def test_make_target_is_documented(name: str) -> None:
    assert f"make {name}" in words()


@pytest.mark.parametrize("name", variables())
def test_environment_variable_is_documented(name: str) -> None:
    assert name in words()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebook_is_named(path: Path) -> None:
    assert path.name in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebook_names_no_path_of_a_machine(path: Path) -> None:
    cells = json.loads(path.read_text())["cells"]
    text = "".join("".join(cell["source"]) for cell in cells)
    assert not re.search(r"/(home|Users)/(?!learner|me\b)\w+|/work/", text)


@pytest.mark.parametrize("page", PAGES, ids=source.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
    broken = [link for link in links
              if "://" not in link and not (page.parent / link).exists()]  # fmt: skip
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=source.name)
def test_no_page_stands_alone(page: Path) -> None:
    if page.name == "README.md":
        return
    others = [other for other in PAGES if other != page]
    assert any(page.name in other.read_text() for other in others), "nothing links to it"


def commands() -> list[list[str]]:
    """Each `labcontainer …` command with its subcommands, as its own help knows them."""
    from labcontainer.cli import main

    return [[name] for name in sorted(main.COMMANDS)]


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_subcommand_is_documented(command: list[str]) -> None:
    assert f"labcontainer {' '.join(command)}" in words()


def test_oci_verbs_and_their_options_are_documented() -> None:
    from labcontainer.runtime import oci

    page = (ROOT / "docs/oci-command.md").read_text()
    options = {option for known, *_ in oci.VERBS.values() for option in known} | set(oci.GLOBAL)
    missing = [verb for verb in oci.VERBS if f"`{verb}" not in page]
    missing += [f"--{option}" for option in options if f"--{option}" not in page]
    assert missing == []
