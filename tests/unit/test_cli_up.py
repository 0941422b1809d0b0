"""Which steps start the lab where there is no Linux: no such machine is at hand, the choice is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from labcontainer.cli import main, up
from labcontainer.errors import NotFoundError, UnsupportedError

ROOT = Path(__file__).resolve().parents[2]


def installed(monkeypatch: pytest.MonkeyPatch, *programs: str) -> None:
    monkeypatch.setattr(
        "shutil.which", lambda name, **_: f"/bin/{name}" if name in programs else None
    )


@pytest.mark.parametrize(
    ("platform", "programs", "way"),
    [
        ("darwin", ("docker", "limactl"), "docker"),
        ("darwin", ("limactl", "podman"), "podman"),
        ("darwin", ("limactl",), "lima"),
        ("win32", ("wsl",), "wsl"),
        ("win32", ("wsl", "docker"), "docker"),
        ("linux", ("make", "docker"), "make"),
    ],
)
def test_the_first_that_is_installed_is_taken(
    monkeypatch: pytest.MonkeyPatch, platform: str, programs: tuple[str, ...], way: str
) -> None:
    installed(monkeypatch, *programs)
    assert up.choose(platform) == way


@pytest.mark.parametrize("platform", ["darwin", "win32", "sunos5"])
def test_without_any_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, platform: str
) -> None:
    installed(monkeypatch)
    with pytest.raises(UnsupportedError, match="install Docker Desktop"):
        up.choose(platform)


def test_what_the_learner_writes_stays_outside_of_a_container() -> None:
    build, run = up.steps("docker", "/course", 9000)
    assert build[-1] == "." and "binder/Dockerfile" in build
    assert "/course/mycontainer:/home/jovyan/labcontainer/mycontainer" in run
    assert "127.0.0.1:9000:8888" in run, "nobody else's browser"


def test_the_folder_inside_is_the_dockerfiles() -> None:
    text = (ROOT / "binder/Dockerfile").read_text()
    assert "ARG NB_USER=jovyan" in text and "WORKDIR ${HOME}/labcontainer" in text


@pytest.mark.parametrize("way", ["lima", "wsl", "make"])
def test_elsewhere_it_ends_in_make_lab(way: str) -> None:
    last = up.steps(way, "/course", 9000)[-1]
    assert last[-3:-1] == ["make", "lab"] or last[:2] == ["make", "lab"]
    assert "--port 9000" in last[-1]


def test_steps_are_printed_and_not_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["up", "--print", "--with", "lima"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("$ limactl start")
    assert lines[-1].endswith("make lab 'LAB_ARGS=--no-browser --port 8888'")


def test_the_first_step_that_fails_ends_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(up, "steps", lambda *_: [["sh", "-c", "exit 7"], ["touch", "never"]])
    monkeypatch.setattr(up, "checkout", lambda: str(tmp_path))
    assert main.main(["up", "--with", "make"]) == 7
    assert os.listdir(tmp_path) == []


def test_a_package_without_the_course_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labcontainer.__file__", "/usr/lib/python3/labcontainer/__init__.py")
    with pytest.raises(NotFoundError, match="no checkout of the course"):
        up.checkout()


def test_the_command_loads_nothing_of_linux() -> None:
    code = (
        "import sys; sys.path.insert(0, '.'); sys.modules['fcntl'] = None\n"
        "sys.platform = 'darwin'\n"
        "from labcontainer.cli import main\n"
        "main.main(['up', '--print', '--with', 'docker'])\n"
        "print([name for name in sys.modules if name.startswith('labcontainer.kernel')])"
    )
    words = [sys.executable, "-c", code]
    said = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert said.splitlines()[-1] == "[]"
