"""A notebook's function as source text that runs in another process, with what it refers to.

Pickle would send names only, and the helper has no notebook to look them up in. So the text of
the function goes, with an import or the text of everything global that its code mentions.
"""

from __future__ import annotations

import builtins
import enum
import importlib
import inspect
import sys
import textwrap
import types
from collections.abc import Callable
from typing import Any

from labcontainer.errors import UsageError
from labcontainer.record import Record

_CONSTANTS = (int, float, str, bytes, bool, type(None), list, tuple, dict, set, frozenset)
_HOMES = ("labcontainer", "mycontainer")  # modules that the other process can import too
_NOT_HOME = "labcontainer.lab.exercises"  # where the solutions are: text goes, never an import


def source_of(target: Callable[..., Any]) -> tuple[str, str]:
    """(source text, name to call) of a function or class.

    Raises:
        UsageError: it is a lambda or built-in, or refers to what can't be sent.
    """
    parts: dict[str, str] = {}
    _add(target.__name__, target, parts)
    return "\n".join(parts.values()), target.__name__


def _add(name: str, value: Any, parts: dict[str, str]) -> None:
    """Add the text that gives `name` its value, and first what that text refers to."""
    if name in parts:
        return
    if isinstance(value, types.ModuleType):
        parts[name] = f"import {value.__name__} as {name}\n"
    elif (line := _import_line(name, value)) is not None:
        parts[name] = line
    elif inspect.isfunction(value) or inspect.isclass(value):
        _add_source(name, value, parts)
    elif isinstance(value, (*_CONSTANTS, Record)):
        _add_constant(name, value, parts)
    else:
        raise UsageError(f"{name!r} is a {type(value).__name__}: it can't go to the helper process")


def _add_constant(name: str, value: Any, parts: dict[str, str]) -> None:
    if isinstance(value, Record):
        _add(type(value).__name__, type(value), parts)
    parts[name] = f"{name} = {_plain(value)!r}\n"


def _plain(value: Any) -> Any:
    """A constant whose repr is Python: a signal's would be `<Signals.SIGTERM: 15>`."""
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, dict):
        return {_plain(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return type(value)(_plain(each) for each in value)
    return value


def _add_source(name: str, value: Any, parts: dict[str, str]) -> None:
    if name == "<lambda>":
        raise UsageError("a lambda can't go to the helper process: write it with def")
    try:
        text = textwrap.dedent(inspect.getsource(value))
    except (OSError, TypeError):
        raise UsageError(f"the source of {name!r} is not to be found") from None
    parts[name] = ""  # a function that mentions itself
    for mentioned, found in _mentioned(value).items():
        _add(mentioned, found, parts)
    del parts[name]
    alias = f"{name} = {value.__name__}\n" if name != value.__name__ else ""
    parts[name] = text + alias


def _import_line(name: str, value: Any) -> str | None:
    """`from module import name`, if another process can import it from a module."""
    module = getattr(value, "__module__", None)
    home = (module or "").split(".")[0]
    importable = home in _HOMES or home in sys.stdlib_module_names
    if module in (None, "__main__", "builtins") or not importable:
        return None
    if module.startswith(_NOT_HOME):
        return None
    own = getattr(value, "__qualname__", getattr(value, "__name__", ""))
    if own and hasattr(importlib.import_module(module), own):
        return f"from {module} import {own} as {name}\n"
    return None


def _mentioned(value: Any) -> dict[str, Any]:
    """Every global that the code of a function or class mentions, and its value."""
    found: dict[str, Any] = {}
    for code, space in _codes(value):
        names = set(code.co_names)
        names |= {word for const in code.co_consts if isinstance(const, types.CodeType)
                  for word in _all_names(const)}  # fmt: skip
        for word in sorted(names):
            if word in space and not hasattr(builtins, word):
                found[word] = space[word]
    found.update(_annotated(value))
    return found


def _codes(value: Any) -> list[tuple[types.CodeType, dict[str, Any]]]:
    if inspect.isfunction(value):
        return [(value.__code__, value.__globals__)]
    members = vars(value).values()
    methods = [inspect.unwrap(getattr(member, "__func__", member)) for member in members]
    return [(m.__code__, m.__globals__) for m in methods if inspect.isfunction(m)]


def _annotated(value: Any) -> dict[str, Any]:
    """What annotations, defaults and base classes mention, which the code object does not."""
    space = getattr(value, "__globals__", None)
    if space is None:
        return {base.__name__: base for base in value.__bases__ if base is not object}
    words = [getattr(note, "__name__", None) for note in value.__annotations__.values()]
    return {word: space[word] for word in words if word is not None and word in space}


def _all_names(code: types.CodeType) -> set[str]:
    names = set(code.co_names)
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            names |= _all_names(const)
    return names
