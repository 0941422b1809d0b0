"""The written commands: which Python starts them, how, and that it does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from labcontainer.cli.launcher import LABCONTAINER
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


@pytest.fixture
def installed(tmp_path: Path) -> tuple[Path, Path]:
    """A copy of the package and its command."""
    package, command = tmp_path / "package/labcontainer", tmp_path / "labcontainer-oci"
    shutil.copytree(launcher.PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__", "lab"))
    launcher.write(str(command), os.path.realpath(sys.executable), str(package))
    return package, command


def archive_of(package: Path) -> Path:
    (found,) = package.glob("__pycache__/labcontainer-oci.*")
    return found


def says(command: Path) -> str:
    done = subprocess.run([command, "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_the_command_reads_no_module_of_its_own(installed: tuple[Path, Path]) -> None:
    package, command = installed
    words = [sys.executable, "-v", "-IS", str(command), "--version"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert f"code object from '{package}" not in done.stderr
    assert "import 'labcontainer.runtime.oci'" in done.stderr


def test_a_changed_source_counts_and_not_its_old_code(installed: tuple[Path, Path]) -> None:
    package, command = installed
    before = says(command)
    version = package / "runtime/version.py"
    version.write_text(version.read_text() + 'VERSION = "changed"\n')
    assert "version changed" in says(command) != before


def test_a_new_source_of_the_same_size_counts(installed: tuple[Path, Path]) -> None:
    package, command = installed
    version = package / "runtime/version.py"
    text = version.read_text()
    first = text.index('VERSION = "') + len('VERSION = "')
    version.write_text(text[:first] + "9" + text[first + 1 :])
    assert "version 9" in says(command)


def test_a_package_that_moved_still_runs(installed: tuple[Path, Path], tmp_path: Path) -> None:
    package, command = installed
    moved = tmp_path / "elsewhere/labcontainer"
    moved.parent.mkdir()
    package.rename(moved)
    command.write_text(command.read_text().replace(str(package.parent), str(moved.parent)))
    assert "spec: 1.2" in says(command)


@pytest.mark.parametrize("damage", ["gone", "empty", "torn", "of another Python", "no marshal"])
def test_without_its_archive_the_command_runs_all_the_same(
    installed: tuple[Path, Path], damage: str
) -> None:
    package, command = installed
    archive = archive_of(package)
    data = archive.read_bytes()
    wrong = {"empty": b"", "torn": data[:5000], "of another Python": b"\x01\x02" + data[2:]}
    wrong["no marshal"] = data[:4] + b"\x10\0\0\0" + b"?" * 64
    archive.write_bytes(wrong[damage]) if damage in wrong else archive.unlink()
    assert "spec: 1.2" in says(command)


def test_an_error_of_archived_code_names_its_line(installed: tuple[Path, Path]) -> None:
    package, command = installed
    words = [str(command), "--debug", "--root", "/nonexistent", "state", "x"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert f'File "{package}/runtime/state.py", line ' in done.stderr
    assert "raise NotFoundError" in done.stderr


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


# --- labcontainer ---------------------------------------------------------------------------------


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """`labcontainer` of a copy of the package, by this environment's Python."""
    package, command = tmp_path / "package/labcontainer", tmp_path / "labcontainer"
    shutil.copytree(launcher.PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    launcher.write(str(command), sys.executable, str(package), LABCONTAINER)
    return command


def test_run_asks_the_daemon_without_site_packages_and_heavy_modules(own: Path) -> None:
    words = [sys.executable, "-IS", "-X", "importtime", str(own), "run", "--rm", "busybox", "true"]
    env = os.environ | {"LABCONTAINER_HOST": "unix:///nonexistent"}
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    names = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "cannot connect to the daemon" in done.stderr
    heavy = {"site", "re", "enum", "functools", "collections", "json", "importlib", "socket"}
    assert names & heavy == set()


def test_what_is_in_site_packages_is_found_when_a_command_needs_it(
    own: Path, tmp_path: Path
) -> None:
    file = tmp_path / "compose.yaml"
    file.write_text("services: {one: {image: busybox}}\n")
    words = [str(own), "compose", "-f", str(file), "config"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "image: busybox" in done.stdout


def test_it_runs_the_copy_and_its_errors_are_one_line(own: Path) -> None:
    done = subprocess.run([own, "nonsense"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert str(own.parent / "package") in own.read_text()


def test_output_that_nobody_reads_is_no_failure_of_ours(own: Path) -> None:
    with subprocess.Popen([own, "--help"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
    assert process.returncode in (0, 120)
