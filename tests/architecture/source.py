"""The package's source, parsed once: what the architecture tests look at."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "labcontainer"


@cache
def files() -> tuple[Path, ...]:
    """Every module of the package."""
    return tuple(sorted(path for path in PACKAGE.rglob("*.py") if "__pycache__" not in path.parts))


@cache
def tree(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text(), str(path))


def name(path: Path) -> str:
    """How a failure names a file: relative to the checkout."""
    return str(path.relative_to(ROOT))


def imports(path: Path, *, at_start: bool) -> list[tuple[int, str]]:
    """What a module imports, with the line; `at_start` leaves out what functions import later.

    An import for types alone (`if TYPE_CHECKING:`) does not run and does not count.
    """
    found: list[tuple[int, str]] = []
    nodes: list[ast.AST] = list(tree(path).body)
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.append((node.lineno, node.module))
        elif at_start and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            nodes += node.orelse
        else:
            nodes += ast.iter_child_nodes(node)
    return found
