"""The learner's own package: each done exercise is a function in `mycontainer/<module>.py`.

`replaces.json` says which function of labcontainer each of them can take the place of; the
runtime reads it for `labcontainer run --using mycontainer`.
"""

from __future__ import annotations

import ast
import importlib
import json
import sys
from collections.abc import Callable
from typing import Any

from labcontainer.lab import student
from labcontainer.lab.exercise import Exercise, every, find
from labcontainer.lab.progress import Progress, load

_HEAD = '"""Your own: {module}. Written by the exercises, one section each; see progress.json."""\n'


def write(progress: Progress) -> None:
    """Write every file of `mycontainer/` anew from the record."""
    folder = student.package()
    folder.mkdir(parents=True, exist_ok=True)
    solved = [exercise for exercise in every() if progress.of(exercise.id)["done"]]
    (folder / "__init__.py").write_text('"""Your own container runtime, exercise by exercise."""\n')
    for module in {exercise.module for exercise in every()}:
        inside = [exercise for exercise in solved if exercise.module == module]
        file = folder / f"{module}.py"
        if inside:
            file.write_text(_module_text(module, inside, progress))
        else:
            file.unlink(missing_ok=True)
    replaces = {e.replaces: e.id for e in solved if e.replaces}
    (folder / "replaces.json").write_text(json.dumps(replaces, indent=1, sort_keys=True) + "\n")
    _forget()


def _module_text(module: str, exercises: list[Exercise], progress: Progress) -> str:
    parts = [_HEAD.format(module=module), "from __future__ import annotations\n"]
    for exercise in exercises:
        code = without_future(progress.of(exercise.id)["done"]).strip("\n")
        parts.append(f"\n# --- {exercise.id}: {exercise.title} ---\n\n{code}\n")
    return "\n".join(parts)


def without_future(code: str) -> str:
    """The code without `from __future__` lines: a module can have them at its top only."""
    lines = code.splitlines()
    for node in ast.parse(code).body:
        if isinstance(node, ast.ImportFrom) and node.module == "__future__":
            for number in range(node.lineno - 1, node.end_lineno or node.lineno):
                lines[number] = ""
    return "\n".join(lines) + "\n"


def _forget() -> None:
    """Let the next import see the new files."""
    importlib.invalidate_caches()
    for name in [name for name in sys.modules if name.split(".")[0] == "mycontainer"]:
        del sys.modules[name]


def own(exercise: Exercise) -> tuple[dict[str, Any], str]:
    """What an exercise's names mean until the learner has them: (name -> object, whose it is)."""
    if exercise.own:
        module, _, name = exercise.own.rpartition(".")
        try:
            found = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError):
            pass  # a name that this version of the package does not have
        else:
            return {exercise.bound[0]: found}, exercise.own
    namespace: dict[str, Any] = {"__name__": "__main__"}
    code, whose = exercise.solution, "the course's solution"
    if not code:
        code, whose = _to_be_written(exercise), "the empty hole"
    run_definitions(code, f"<solution of {exercise.id}>", namespace)
    return {name: namespace[name] for name in exercise.bound}, whose


def _to_be_written(exercise: Exercise) -> str:
    """In a release without solutions: the hole, its functions saying that they are empty."""
    tree = ast.parse(exercise.hole)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name in exercise.bound:
            words = f"`{node.name}` is yours to write: the cell `%%exercise {exercise.id}`"
            node.body = ast.parse(f"raise RuntimeError({words!r})").body
    return ast.unparse(tree) + "\n"


def run_definitions(code: str, file: str, namespace: dict[str, Any]) -> None:
    """Execute a cell of definitions so that `inspect` and tracebacks find its lines."""
    from labcontainer.lab.child import remember_source

    remember_source(file, code)
    exec(compile(code, file, "exec"), namespace)


def get(name: str) -> Callable[..., Any]:
    """Your function of an exercise id if it is done, else the package's own."""
    exercise = find(name)
    if load().of(exercise.id)["done"]:
        home = str(student.home())
        if home not in sys.path:
            sys.path.insert(0, home)
        module = importlib.import_module(f"mycontainer.{exercise.module}")
        found: Callable[..., Any] = getattr(module, exercise.bound[0])
        return found
    names, _ = own(exercise)
    answer: Callable[..., Any] = names[exercise.bound[0]]
    return answer
