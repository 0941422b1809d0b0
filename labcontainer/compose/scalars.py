"""The values of a Compose file: words, lists, pairs, truths, numbers, sizes and lengths of time.

Each function reads what may stand at a key, or what a variable brought there as a word, and gives
its one form. An error names file, line and key.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from labcontainer import errors
from labcontainer.compose.document import Document, Path

Tree = dict[str, Any]


@dataclass(frozen=True)
class Place:
    """A value's document, path and directory: what its form needs to know, and errors to tell."""

    document: Document
    path: Path
    directory: str
    lenient: bool = False  # what is malformed stays as it is

    def at(self, *more: str | int) -> Place:
        """A place below this one."""
        return Place(self.document, (*self.path, *more), self.directory, self.lenient)

    def refuse(self, problem: str) -> errors.SpecError:
        """The error for what is wrong here."""
        return self.document.refuse(self.path, problem)

    def absolute(self, path: str) -> str:
        """A path of the file, absolute."""
        return os.path.normpath(os.path.join(self.directory, os.path.expanduser(path)))


Form = Callable[[Any, Place], Any]


def text(value: Any) -> str:
    """A word as the container will see it: a truth as YAML writes it, a whole number without .0."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value)


def texts(value: Any, _place: Place) -> list[str]:
    """A word alone is a list of one."""
    return [value] if isinstance(value, str) else [text(one) for one in value]


def pairs(value: Any, _place: Place) -> dict[str, str | None]:
    """`[A=b, C]` or `{A: b, C: null}`: a value that is not there is None."""
    if isinstance(value, list):
        cut = (one.partition("=") for one in value)
        return {key: word if equals else None for key, equals, word in cut}
    return {key: None if one is None else text(one) for key, one in value.items()}


def labels(value: Any, place: Place) -> dict[str, str]:
    """Pairs in which what has no value is empty."""
    return {key: one or "" for key, one in pairs(value, place).items()}


def command(value: Any, place: Place) -> list[str]:
    """A command line as a list, cut as a shell cuts words."""
    if isinstance(value, list):
        return [str(one) for one in value]
    try:
        return shlex.split(value)
    except ValueError as error:
        raise place.refuse(f"{value!r} is no command line: {error}") from None


def truth(value: Any, place: Place) -> bool:
    """A truth, or the word of one that a variable brought in."""
    if isinstance(value, str):
        if value.lower() not in _TRUTHS:
            raise place.refuse(f"{value!r} is neither true nor false")
        return _TRUTHS[value.lower()]
    return bool(value)


_TRUTHS = {"true": True, "false": False, "1": True, "0": False, "yes": True, "no": False,
           "on": True, "off": False, "y": True, "n": False, "t": True, "f": False}  # fmt: skip


def whole(value: Any, place: Place) -> int:
    """A whole number, or the word of one."""
    try:
        return int(value)
    except ValueError:
        raise place.refuse(f"{value!r} is no whole number") from None


def number(value: Any, place: Place) -> float:
    """A number, or the word of one."""
    try:
        return float(value)
    except ValueError:
        raise place.refuse(f"{value!r} is no number") from None


def octal(value: Any, place: Place) -> int:
    """A file's mode: a word is octal, a number is what YAML read."""
    try:
        return int(value, 8) if isinstance(value, str) else int(value)
    except ValueError:
        raise place.refuse(f"{value!r} is no mode such as 0440") from None


def size(value: Any, place: Place) -> int:
    """Bytes from `64m`; -1 stays."""
    from labcontainer.engine import words

    try:
        return int(value) if str(value).lstrip("-").isdecimal() else words.size("", str(value))
    except errors.UsageError:
        raise place.refuse(f"{value!r} is no size such as 64m") from None


def span(value: Any, place: Place) -> str:
    """A length of time such as `1m30s`; it stays a word."""
    from labcontainer.engine import moments

    try:
        moments.seconds(value)
    except errors.UsageError:
        raise place.refuse(f"{value!r} is no length of time such as 1m30s") from None
    return str(value)


def file(value: str, place: Place) -> str:
    """A path, absolute."""
    return place.absolute(value)
