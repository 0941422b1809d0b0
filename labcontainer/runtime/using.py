"""A learner's own functions in the place of the package's: `labcontainer run --using mycontainer`.

`mycontainer/replaces.json` maps a function of the ladder to an exercise that was done:
`{"labcontainer.rootfs.pivot_root": "chroot.pivot"}` stands for the function `pivot` of
`mycontainer/chroot.py`. The runtime calls such functions through their modules, so setting the
module's attribute is all there is to do. It is done in the process that creates the container,
before it forks.
"""

from __future__ import annotations

import os
import sys

from labcontainer.errors import NotFoundError, SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any

LADDER = ("rootfs", "namespaces", "users", "cgroups", "capabilities", "seccomp", "network",
          "overlay")  # fmt: skip


def install(folder: str) -> tuple[str, ...]:
    """Put the functions of a learner's package in place; the names of what was replaced.

    Raises:
        NotFoundError: there is no such package.
        SpecError: its replaces.json, or a module that it names, is not right.
    """
    table = os.path.join(folder, "replaces.json")
    replaces = _read(table)
    found = [(target, *_find(table, folder, target, replaces[target])) for target in replaces]
    for _, module, name, function in found:  # all or none
        setattr(module, name, function)
    return tuple(target for target, *_ in found)


def _read(table: str) -> dict[str, str]:
    import json

    try:
        with open(table, encoding="utf-8") as file:
            document = json.load(file)
    except FileNotFoundError:
        hint = "the exercises of the notebooks write it"
        raise NotFoundError(f"{table} does not exist; {hint}") from None
    except (ValueError, OSError) as error:
        raise SpecError(table, str(error)) from error
    texts = isinstance(document, dict) and all(isinstance(v, str) for v in document.values())
    if not texts:
        raise SpecError(table, "must map names of functions to names of exercises")
    return dict(document)


def _find(
    table: str, folder: str, target: str, exercise: str
) -> tuple[ModuleType, str, Callable[..., Any]]:
    """(module of the ladder, its function's name, the learner's function)."""
    import importlib

    home, module_name, name = (["", "", ""] + target.split("."))[-3:]
    if home != "labcontainer" or module_name not in LADDER:
        raise SpecError(table, f"{target} is no function of the ladder")
    module = importlib.import_module(f"labcontainer.{module_name}")
    if not callable(getattr(module, name, None)):
        raise SpecError(table, f"{target} is no function of the ladder")
    return module, name, _own(table, folder, exercise)


def _own(table: str, folder: str, exercise: str) -> Callable[..., Any]:
    """The learner's function of an exercise."""
    import importlib

    parent, package = os.path.split(os.path.abspath(folder))
    file, _, verb = exercise.partition(".")
    if parent not in sys.path:
        sys.path.insert(0, parent)
    try:
        function = getattr(importlib.import_module(f"{package}.{file}"), verb, None)
    except Exception as error:  # a learner's module may fail in any way
        raise SpecError(f"{folder}/{file}.py", f"{type(error).__name__}: {error}") from error
    if not callable(function):
        raise SpecError(table, f"{folder}/{file}.py has no function {verb!r}")
    return function  # type: ignore[no-any-return]
