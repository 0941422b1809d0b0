"""The written command: which Python starts it, how, and that it does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from labcontainer.runtime import launcher


def fake_python(path: Path, body: str) -> str:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize("body", ["exit 1", None])
def test_an_old_or_missing_system_python_is_not_taken(tmp_path: Path, body: str | None) -> None:
    system = fake_python(tmp_path / "python3", body) if body else str(tmp_path / "none")
    assert launcher.interpreter(system) == os.path.realpath(sys.executable)


def test_a_new_enough_system_python_is_taken(tmp_path: Path) -> None:
    system = fake_python(tmp_path / "python3.99", "exit 0")
    (tmp_path / "python3").symlink_to(system)
    assert launcher.interpreter(str(tmp_path / "python3")) == system


def test_the_kernel_reads_a_short_path_itself() -> None:
    assert launcher.first_lines("/usr/bin/python3.11") == "#!/usr/bin/python3.11 -IS\n"


@pytest.mark.parametrize("folder", ["plain", "with a space", "quo'te and space", "d" * 140])
def test_the_command_runs_from_any_path(tmp_path: Path, folder: str) -> None:
    home = tmp_path / folder
    home.mkdir()
    python = fake_python(home / "python", f'exec {os.path.realpath(sys.executable)} "$@"')
    command = tmp_path / "labcontainer-oci"
    package = tmp_path / "package/labcontainer"
    shutil.copytree(launcher.PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__", "lab"))
    launcher.write(str(command), python, str(package))
    done = subprocess.run([command, "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "spec: 1.2" in done.stdout
    assert list(package.glob("runtime/__pycache__/oci.*.pyc"))
    assert command.stat().st_mode & 0o777 == 0o755


def test_an_old_command_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    command = tmp_path / "labcontainer-oci"
    command.write_text("pip's")
    package = tmp_path / "labcontainer"
    package.mkdir()
    launcher.write(str(command), sys.executable, str(package))
    assert "labcontainer.runtime.oci" in command.read_text()
    assert sorted(os.listdir(tmp_path)) == ["labcontainer", "labcontainer-oci"]


def test_a_command_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "labcontainer-oci").mkdir()
    package = tmp_path / "labcontainer"
    package.mkdir()
    with pytest.raises(OSError):
        launcher.write(str(tmp_path / "labcontainer-oci"), sys.executable, str(package))
    assert sorted(os.listdir(tmp_path)) == ["labcontainer", "labcontainer-oci"]
