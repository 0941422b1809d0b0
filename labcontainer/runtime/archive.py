"""Writes a command's compiled code into one file, for finder.py: once, when it is installed.

    the interpreter's magic number, as a .pyc begins; the length of what comes next (4 bytes)
    marshalled: the finder's code, {module: Entry}
    the modules' codes, marshalled each, one behind the other

Left out of the code is what a run of the command has no use for, and would have to read: doc
strings, the annotations of functions, columns of tracebacks (-X no_debug_ranges).
See docs/decisions/import-budget.md.
"""

from __future__ import annotations
import __future__

import ast
import importlib.util
import marshal
import os
import sys
from _frozen_importlib_external import MAGIC_NUMBER
from types import CodeType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from importlib.machinery import ModuleSpec

    from labcontainer.runtime.finder import Entry

PACKAGE = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))


def path(command: str) -> str:
    """The place of a command's archive, which is that of the interpreter that asks."""
    return f"{PACKAGE}/__pycache__/{command}.{sys.implementation.cache_tag}"


def write(command: str, roots: Collection[str], later: bool) -> None:
    """Write a command's archive, whole or not at all.

    Args:
        command: its name.
        roots: the modules that it begins with.
        later: whether what their functions import is to be in it too.

    Raises:
        OSError: it can't be written.
    """
    target = path(command)
    data = contents(modules(roots, later))
    new = f"{target}.new-{os.getpid()}"
    with open(new, "wb") as file:
        file.write(data)
    os.rename(new, target)


def contents(found: dict[str, ModuleSpec]) -> bytes:
    """The whole archive."""
    entries: dict[str, Entry] = {}
    codes = b""
    for name, spec in found.items():
        source = str(spec.origin)
        about, tree = os.stat(source), parsed(source)
        first = tuple(one for one in imported(tree.body) if one in found)
        code = marshal.dumps(compiled(tree, source))
        place = (len(codes), len(codes) + len(code))
        is_package = spec.submodule_search_locations is not None
        entries[name] = (source, about.st_mtime_ns, about.st_size, is_package, *place, first)
        codes += code
    finder = f"{PACKAGE}/runtime/finder.py"
    head = marshal.dumps((compiled(parsed(finder), finder), entries))
    return MAGIC_NUMBER + len(head).to_bytes(4, "little") + head + codes


def modules(roots: Iterable[str], later: bool) -> dict[str, ModuleSpec]:
    """The modules that the roots load, at their start or `later` too, found by their imports."""
    todo = [*roots, "struct"]
    found: dict[str, ModuleSpec] = {}
    while todo:
        name = todo.pop()
        if name in found or not (spec := find_spec(name)) or not spec.has_location:
            continue
        found[name] = spec
        tree = parsed(str(spec.origin))
        names = imported(ast.walk(tree) if later else tree.body)
        todo += [one for one in names if one.split(".")[0] == "labcontainer"]
    return found


def find_spec(name: str) -> ModuleSpec | None:
    """Where a module is; None for what turns out to be a name in a module."""
    try:
        return importlib.util.find_spec(name)
    except ModuleNotFoundError:
        return None


def parsed(source: str) -> ast.Module:
    """A module's syntax."""
    with open(source, encoding="utf-8") as file:
        return ast.parse(file.read(), source)


def imported(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """The names of what may be modules in import statements, in order."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            words = node.module.split(".")
            yield from (".".join(words[: index + 1]) for index in range(len(words)))
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def compiled(tree: ast.Module, source: str) -> CodeType:
    """The code of a module, without what only people and checkers read."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            _strip_annotations(node)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(
            node
        ):
            node.body[:1] = [] if node.body[1:] else [ast.copy_location(ast.Pass(), node.body[0])]
    # What it says goes by a flag of the compiler: the statement would import a module for nothing.
    future = isinstance(node := tree.body[0], ast.ImportFrom) and node.module == "__future__"
    flag = __future__.annotations.compiler_flag if future else 0
    tree.body = tree.body[future:]
    code: CodeType = compile(tree, source, "exec", flags=flag, dont_inherit=True)
    return code


def _strip_annotations(function: ast.FunctionDef) -> None:
    function.returns = None
    given = function.args
    for argument in (*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg):
        if argument is not None:
            argument.annotation = None
