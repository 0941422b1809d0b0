"""`labcontainer lab release`: the course as students get it, without solutions.

    TARGET/notebooks/*.ipynb        no outputs; cells that wait for an answer may fail
    TARGET/labcontainer/            the package; lab/exercises/*.py anew, without solution and
                                    known-wrong answers, and without the checks that tell too much
    TARGET/students/NAME/           with --seed-from: a progress file with the student's seed

Where an exercise names the package's own implementation (`own`), an untouched hole means that one,
as everywhere. Where only the solution did it, the name stands for a function that says that it has
yet to be written; the cells that need it are tagged `raises-exception`, so that Jupyter goes on.
"""

from __future__ import annotations

import ast
import functools
import itertools
import json
import os
import re
import shutil
import tarfile
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from labcontainer.errors import ExistsError, NotFoundError, UsageError
from labcontainer.lab import collect, exercise, judge, progress
from labcontainer.lab.exercise import Exercise
from labcontainer.record import Record

ROOT = Path(__file__).resolve().parents[2]
BESIDE = ("pyproject.toml", "requirements.txt", "README.md", "LICENSE", "binder")
HIDDEN = "exercises"
TELLING_LINES = 25  # characters of two lines: `pass` and `else:` tell nothing
TELLING = 120  # characters of a statement's tree: `return found` tells nothing
MAY_FAIL = "raises-exception"


class Released(Record):
    """What a release holds. `by_instructor` are the exercises without a check."""

    notebooks: int
    exercises: int
    by_instructor: tuple[str, ...]
    students: int


def release(
    target: Path, only: Sequence[str] = (), hide: Sequence[str] = (), seeds: str = ""
) -> Released:
    """Write a release, a folder or a `.tar.gz`, whole or not at all.

    Args:
        only: notebooks by their names; all where none is named.
        hide: exercises whose check is not given out, beside those that tell the solution.
        seeds: a file with a line `student` or `student,seed` for each.

    Raises:
        ExistsError: the target is there. NotFoundError: this installation has no notebooks.
        UsageError: a name is not known.
    """
    if os.path.lexists(target):
        raise ExistsError(f"{target} is there already")
    notebooks = _notebooks(only)
    stems = {path.stem for path in notebooks}
    items = [item for item in exercise.every() if item.notebook in stems]
    if unknown := set(hide) - {item.id for item in items}:
        raise UsageError(f"--hide {', '.join(sorted(unknown))}: not in this release")
    students = _students(seeds)
    hidden = tuple(item.id for item in items if item.id in hide or tells(item, items))
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".release-", dir=target.parent) as made:
        top = Path(made, target.name.removesuffix(".tar.gz"))
        _write(top, notebooks, items, hidden)
        for name, seed in students.items():
            progress.save(progress.Progress(seed, {}), top / f"students/{name}/progress.json")
        _put(top, target)
    return Released(len(notebooks), len(items), hidden, len(students))


def _notebooks(only: Sequence[str]) -> list[Path]:
    found = {path.stem: path for path in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))}
    if not found:
        raise NotFoundError(f"{ROOT}/notebooks is not there: release from a checkout of the course")
    names = [name.removesuffix(".ipynb") for name in only] or list(found)
    if unknown := set(names) - found.keys():
        raise UsageError(f"--only {', '.join(sorted(unknown))}: no such notebook")
    return [found[name] for name in dict.fromkeys(names)]


def _students(path: str) -> dict[str, str]:
    """Student -> seed."""
    found: dict[str, str] = {}
    for line in Path(path).read_text().splitlines() if path else []:
        name, _, seed = (part.strip() for part in line.partition(","))
        if name and not name.startswith("#"):
            if not collect.NAME.fullmatch(name) or name in found:
                raise UsageError(f"--seed-from {path}: {name!r} is no name, or there twice")
            found[name] = seed or name
    return found


def _put(top: Path, target: Path) -> None:
    if not target.name.endswith(".tar.gz"):
        top.rename(target)
        return
    archive = top.with_name("archive")
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(top, top.name)
    archive.rename(target)


# --- the files ----------------------------------------------------------------------------------


def _write(
    top: Path, notebooks: Sequence[Path], items: Sequence[Exercise], hidden: Sequence[str]
) -> None:
    shutil.copytree(ROOT / "labcontainer", top / "labcontainer", ignore=_not_given_out)
    for name in BESIDE:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, top / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy(source, top / name)
    folder = top / "labcontainer/lab/exercises"
    folder.mkdir()
    (folder / "__init__.py").write_text('"""The exercises, one a file; see docs/exercises.md."""\n')
    for item in items:
        text = without_solution(item, item.id not in hidden)
        (folder / f"{item.id.replace('.', '_')}.py").write_text(text)
    (top / "notebooks").mkdir()
    for path in notebooks:
        document = for_students(json.loads(path.read_text()), items)
        text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
        (top / "notebooks" / path.name).write_text(text)


def _not_given_out(_: str, names: list[str]) -> list[str]:
    return [name for name in names if name in (HIDDEN, "__pycache__")]


_KEPT = ("own", "replaces", "names", "hints", "needs", "writes", "errors", "seconds")


def without_solution(item: Exercise, with_check: bool) -> str:
    """An exercise's file as a student gets it."""
    of = judge.check_of(item)
    check, name = of["check"], of["check_name"]
    if not with_check:
        check, name = "from labcontainer.lab.exercise import by_instructor\n", "by_instructor"
    fields = "".join(f"    {field}={getattr(item, field)!r},\n" for field in _KEPT)
    return (
        f'"""{item.id}: {item.title}."""\n\n'
        f"{check}\n"
        "from labcontainer.lab.exercise import Exercise\n\n"
        f"HOLE = {item.hole!r}\n\n"
        "EXERCISE = Exercise(\n"
        f"    id={item.id!r},\n    notebook={item.notebook!r},\n    title={item.title!r},\n"
        f'    hole=HOLE,\n    solution="",\n    check={name},\n{fields})\n'
    )


# --- what a check tells -------------------------------------------------------------------------


def tells(item: Exercise, items: Sequence[Exercise]) -> bool:
    """Whether the check's text tells a solution: the exercise's own, be it with other variables, as
    checks that compute what they expect; or two lines of anybody's, one under the other."""
    check = str(judge.check_of(item)["check"])
    own = _statements(item.solution) - _statements(item.hole)
    if own & (_statements(check) | set().union(*map(_statements, _programs(check)))):
        return True
    return not _pairs(check).isdisjoint(set().union(*map(secret_lines, items)))


@functools.cache
def secret_lines(item: Exercise) -> frozenset[str]:
    """What only the solution has: each line with the one after it. The package may be read."""
    return frozenset(_pairs(item.solution) - _pairs(item.hole) - _lines_of_the_package())


@functools.cache
def _lines_of_the_package() -> set[str]:
    modules = (ROOT / "labcontainer").rglob("*.py")
    return set().union(*(_pairs(one.read_text()) for one in modules if one.parent.name != HIDDEN))


def _pairs(text: str) -> set[str]:
    plain = text.replace("\\n", "\n").replace("\\'", "'").replace('\\"', '"')
    lines = [line.strip() for line in plain.splitlines() if line.strip()]
    pairs = itertools.pairwise(lines)
    return {f"{one}\n{two}" for one, two in pairs if len(one + two) > TELLING_LINES}


def _programs(text: str) -> Iterator[str]:
    """The texts in a program that are programs themselves, or continue one."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "\n" in node.value:
            yield node.value


def _statements(text: str) -> set[str]:
    """Every statement that tells something, without the names of variables."""
    try:
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            tree = ast.parse(text)  # of a part of a program, escapes may make no sense
    except SyntaxError:
        return set()
    dumps = [_nameless(node) for node in ast.walk(tree) if isinstance(node, _SIMPLE)]
    return {dump for dump in dumps if len(dump) > TELLING}


_SIMPLE = (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Return, ast.Expr, ast.Raise)


def _nameless(node: ast.AST) -> str:
    """A statement's tree; `x = value` and `return value` are the same."""
    value = getattr(node, "value", None) or getattr(node, "exc", None)
    if isinstance(value, ast.Constant):  # a docstring
        return ""
    dump = ast.dump(value) if isinstance(value, ast.AST) else ""
    return re.sub(r"Name\(id='\w+'", "Name(id='_'", dump)


# --- the notebooks ------------------------------------------------------------------------------


def for_students(document: dict[str, Any], items: Sequence[Exercise]) -> dict[str, Any]:
    """A notebook without outputs, in which cells that wait for an answer may fail."""
    waiting: set[str] = set()  # names that mean nothing yet
    open_names = {item.id: set(item.bound) for item in items if not item.own}
    for cell in document["cells"]:
        if cell["cell_type"] != "code":
            continue
        cell["outputs"], cell["execution_count"] = [], None
        source = "".join(cell["source"])
        if source.startswith("%%exercise"):
            waiting |= open_names.get(source.split()[1], set())
        elif waiting and _waits(source, waiting):
            metadata = cell.setdefault("metadata", {})
            metadata["tags"] = sorted({*metadata.get("tags", []), MAY_FAIL})
    return document


def _waits(source: str, waiting: set[str]) -> bool:
    """Whether a cell can fail because a name means nothing yet; its own names are added then."""
    try:
        body = ast.parse(source).body
    except SyntaxError:  # a magic
        return False
    fails = False
    for node in body:
        if not fails and not _mentions(node, waiting):
            continue
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            waiting.add(node.name)
        else:
            fails = True
            waiting |= _stored(node)
    return fails


def _stored(node: ast.AST) -> set[str]:
    names = [one for one in ast.walk(node) if isinstance(one, ast.Name)]
    return {one.id for one in names if isinstance(one.ctx, ast.Store)}


def _mentions(node: ast.AST, names: set[str]) -> bool:
    return any(isinstance(one, ast.Name) and one.id in names for one in ast.walk(node))
