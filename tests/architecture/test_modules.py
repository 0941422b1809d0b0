"""Shape: short functions, short files, no code in __init__, no junk drawer, nothing unfinished."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.architecture import source

FUNCTION_LINES = 60
FILE_LINES = 450
# A longer file needs a reason.
LONG_FILES = {
    "labcontainer/cgroups.py": "one class: all that a group does, with imports where they are used",
    "labcontainer/lab/probes.py": "one short function for each fact of the doctor's table",
    "labcontainer/network.py": "one lesson: bridges and cables planned, made, taken back",
}
JUNK_DRAWERS = {"utils", "util", "helpers", "common", "misc", "shared", "tools"}
# Folders of data, one file a thing.
TABLES = {("lab", "exercises"), ("kernel", "syscall_table")}
FOREIGN = {"ctypes", "_ctypes", "fcntl", "termios"}
MODULES = pytest.mark.parametrize("path", source.files(), ids=source.name)


@MODULES
def test_functions_fit_on_a_screen(path: Path) -> None:
    long = [
        f"{node.name} has {node.end_lineno - node.lineno + 1} lines"
        for node in ast.walk(source.tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno >= FUNCTION_LINES
    ]
    assert not long


@MODULES
def test_files_are_short(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines <= FILE_LINES or source.name(path) in LONG_FILES


@pytest.mark.parametrize("name", LONG_FILES)
def test_long_file_is_still_long(name: str) -> None:
    assert len((source.ROOT / name).read_text().splitlines()) > FILE_LINES, "strike it off the list"


@pytest.mark.parametrize(
    "path", [path for path in source.files() if path.name == "__init__.py"], ids=source.name
)
def test_init_holds_a_docstring_only(path: Path) -> None:
    tree = source.tree(path)
    assert len(tree.body) == 1 and ast.get_docstring(tree)


@MODULES
def test_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(source.tree(path))


@MODULES
def test_no_junk_drawer(path: Path) -> None:
    assert path.stem not in JUNK_DRAWERS and path.parent.name not in JUNK_DRAWERS


@MODULES
def test_two_levels_deep_at_most(path: Path) -> None:
    folders = path.relative_to(source.PACKAGE).parts[:-1]
    assert len(folders) <= 1 or folders in TABLES


@MODULES
def test_foreign_calls_are_the_kernel_rooms(path: Path) -> None:
    if path.relative_to(source.PACKAGE).parts[0] == "kernel":
        return
    found = [name for _, name in source.imports(path, at_start=False) if name in FOREIGN]
    assert not found and "AF_NETLINK" not in path.read_text()


@pytest.mark.parametrize(
    "path",
    [*source.files(), *sorted((source.ROOT / "tests").rglob("*.py"))],
    ids=source.name,
)
def test_nothing_unfinished(path: Path) -> None:
    words = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X|NotImplemented" + r"Error)\b")
    assert not words.findall(path.read_text())
