"""Variables in a Compose file: `$NAME`, `${NAME}` and their modifiers.

| written | a value that is set and not empty | empty | not set |
|---|---|---|---|
| `${N:-word}` | the value | word | word |
| `${N-word}` | the value | empty | word |
| `${N:?word}` | the value | error | error |
| `${N?word}` | the value | empty | error |
| `${N:+word}` | word | empty | empty |
| `${N+word}` | word | word | empty |

`$$` is a dollar sign. A word may have variables of its own. Source: Compose Specification,
"Interpolation".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from labcontainer import errors
from labcontainer.compose.document import Document, Path

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATORS = (":-", ":?", ":+", "-", "?", "+")


class InterpolationError(errors.LabError):
    """A variable is required and not set, or a `$` begins nothing."""


@dataclass(frozen=True)
class Variable:
    """One use of a variable: `operator` is one of `:- - :? ? :+ +`, or "" for the value alone."""

    name: str
    operator: str = ""
    word: str = ""


Unset = Callable[[str], None]


def parts(text: str) -> Iterator[str | Variable]:
    """The text and the variables of a template, in order.

    Raises:
        InterpolationError: a `$` that begins neither a variable nor `$$`.
    """
    place = 0
    while (dollar := text.find("$", place)) >= 0:
        if dollar > place:
            yield text[place:dollar]
        if text.startswith("$$", dollar):
            yield "$"
            place = dollar + 2
        elif text.startswith("${", dollar):
            end = _closing(text, dollar + 2)
            yield _braced(text, text[dollar + 2 : end])
            place = end + 1
        elif found := _NAME.match(text, dollar + 1):
            yield Variable(found[0])
            place = found.end()
        else:
            raise _invalid(text)
    if place < len(text):
        yield text[place:]


def _closing(text: str, place: int) -> int:
    """Where the brace that closes this variable stands; its word may have braces of its own."""
    depth = 1
    while place < len(text):
        if text.startswith("$$", place):
            place += 1
        elif text.startswith("${", place):
            depth += 1
            place += 1
        elif text[place] == "}":
            depth -= 1
            if not depth:
                return place
        place += 1
    raise _invalid(text)


def _braced(text: str, inside: str) -> Variable:
    name = _NAME.match(inside)
    if name is None:
        raise _invalid(text)
    rest = inside[name.end() :]
    if not rest:
        return Variable(name[0])
    for operator in _OPERATORS:
        if rest.startswith(operator):
            return Variable(name[0], operator, rest[len(operator) :])
    raise _invalid(text)


def _invalid(text: str) -> InterpolationError:
    why = "You may need to escape any $ with another $"
    return InterpolationError(f"invalid interpolation format: {text!r}. {why}")


def _ignored(_name: str) -> None:
    """Nobody is told of a variable that is not set."""


def substitute(text: str, values: Mapping[str, str], unset: Unset = _ignored) -> str:
    """The text with its variables' values; `unset` is told of each that has none and no default.

    Raises:
        InterpolationError: it is malformed, or a required variable is missing.
    """
    if "$" not in text:
        return text
    return "".join(
        one if isinstance(one, str) else _value(one, values, unset) for one in parts(text)
    )


def _value(one: Variable, values: Mapping[str, str], unset: Unset) -> str:
    value = values.get(one.name)
    kind = one.operator.lstrip(":")
    # With a colon, empty counts as not set.
    there = bool(value) if one.operator.startswith(":") else value is not None
    if kind == "+":
        return substitute(one.word, values, unset) if there else ""
    if there:
        return value or ""
    if kind == "-":
        return substitute(one.word, values, unset)
    if kind == "?":
        why = substitute(one.word, values, unset)
        raise InterpolationError(
            f"required variable {one.name} is missing a value{': ' if why else ''}{why}"
        )
    if value is None:
        unset(one.name)
    return value or ""


def interpolate(document: Document, values: Mapping[str, str], unset: Unset = _ignored) -> Document:
    """The document with all its values interpolated; keys are left as they are.

    Raises:
        SpecError: a value's variables are wrong, with file, line and key.
    """

    def walk(value: Any, path: Path) -> Any:
        if isinstance(value, dict):
            return {key: walk(one, (*path, key)) for key, one in value.items()}
        if isinstance(value, list):
            return [walk(one, (*path, place)) for place, one in enumerate(value)]
        if not isinstance(value, str):
            return value
        try:
            return substitute(value, values, unset)
        except InterpolationError as error:
            raise document.refuse(path, str(error)) from None

    return Document(
        document.name, walk(document.data, ()), document.lines, document.resets, document.overrides
    )


def variables(data: Any) -> Iterator[Variable]:
    """All variables that the values of a tree use, those in other variables' words too."""
    if isinstance(data, dict):
        for one in data.values():
            yield from variables(one)
    elif isinstance(data, list):
        for one in data:
            yield from variables(one)
    elif isinstance(data, str):
        for part in parts(data):
            if isinstance(part, Variable):
                yield part
                yield from variables(part.word)
