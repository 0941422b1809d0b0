"""Files of variables: `.env`, `--env-file`, and a service's `env_file`.

    # a comment
    NAME=value ${OTHER} # a comment again
    export NAME="two lines\\n, variables and escapes"
    NAME='as it is: $NAME'
    NAME                     the caller's value, if there is one

Source: Docker, "Syntax for environment files". COMPOSE_* variables: docs/compose.md.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from labcontainer import errors
from labcontainer.compose import interpolation

_LINE = re.compile(r"(?:export[ \t]+)?([^\s=:#\"'$]+)[ \t]*([=:]|$)[ \t]*", re.MULTILINE)
_COMMENT = re.compile(r"(?:^|\s)#")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_ESCAPE = re.compile(r"\\(0\d{1,3}|[abfnrtv\"\\$])")


def read(path: str, known: Mapping[str, str], *, raw: bool = False) -> dict[str, str]:
    """The variables of a file; `known` are those that its values may use. `raw` leaves values be.

    Raises:
        UsageError: it can't be read, or a line is none, with its number.
    """
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except OSError as error:
        why = os.strerror(error.errno or 0)
        raise errors.UsageError(f"env file {path}: {why}") from None
    except UnicodeDecodeError:
        raise errors.UsageError(f"env file {path}: it is no UTF-8 text") from None
    return parse(text, path, known, raw=raw)


def parse(text: str, name: str, known: Mapping[str, str], *, raw: bool = False) -> dict[str, str]:
    """The variables of a text.

    Raises:
        UsageError: a line is none, with its number.
    """
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    found: dict[str, str] = {}
    place = 0
    while place < len(text):
        if text[place] in " \t\n":
            place += 1
        elif text[place] == "#":
            place = _end_of_line(text, place)
        else:
            place = _statement(text, place, name, known, found, raw)
    return found


def _end_of_line(text: str, place: int) -> int:
    end = text.find("\n", place)
    return len(text) if end < 0 else end


def _statement(
    text: str, place: int, name: str, known: Mapping[str, str], found: dict[str, str], raw: bool
) -> int:
    """Read one `NAME=value`; where it ends."""
    line = _LINE.match(text, place)
    if line is None:
        shown = text[place : _end_of_line(text, place)]
        raise _refuse(text, place, name, f"{shown!r} is no NAME=VALUE")
    key, start = line[1], line.end()
    if not line[2]:
        if key in known:
            found[key] = known[key]
        return start
    quote = "" if raw else text[start : start + 1]
    if quote in ("'", '"') and quote:
        value, end = _quoted(text, start, name)
    else:
        end = _end_of_line(text, start)
        value = text[start:end]
        value = value if raw else _COMMENT.split(value, maxsplit=1)[0].strip()
    if not raw and quote != "'":
        value = _ESCAPE.sub(_escape, value) if quote == '"' else value
        value = _expand(value, text, start, name, {**found, **known})
    found[key] = value
    return end


def _quoted(text: str, start: int, name: str) -> tuple[str, int]:
    """A value in quotes, escapes still in it, and the place behind it; it may have many lines."""
    quote = text[start]
    place = start + 1
    while place < len(text):
        if text[place] == "\\":
            place += 1
        elif text[place] == quote:
            value = text[start + 1 : place]
            if quote == "'":
                value = value.replace("\\'", "'")
            return value, _end_of_line(text, place)
        place += 1
    raise _refuse(text, start, name, "unterminated quoted value")


def _escape(found: re.Match[str]) -> str:
    letter = found[1]
    if letter == "$":
        return "$$"  # one dollar sign, and no variable
    if letter[0] == "0":
        return chr(int(letter, 8) & 0xFF)
    return _ESCAPES.get(letter, letter)


def _expand(value: str, text: str, place: int, name: str, known: Mapping[str, str]) -> str:
    try:
        return interpolation.substitute(value, known)
    except interpolation.InterpolationError as error:
        raise _refuse(text, place, name, str(error)) from None


def _refuse(text: str, place: int, name: str, why: str) -> errors.UsageError:
    line = text.count("\n", 0, place) + 1
    return errors.UsageError(f"env file {name}:{line}: {why}")


def truth(values: Mapping[str, str], name: str) -> bool:
    """Whether a COMPOSE_ variable says yes: 1, true, yes, y or on."""
    return values.get(name, "").lower() in ("1", "true", "yes", "y", "on")
