"""`.dockerignore`: which files of a context are not sent to the build.

Patterns are Go's filepath.Match, and `**` for any number of directories; the last one that matches
counts, and `!` takes a file back in. A directory that matches takes all below it along. Source:
Docker, "Dockerignore files"; github.com/moby/patternmatcher.
"""

from __future__ import annotations

import posixpath
import re

from labcontainer import errors
from labcontainer.record import Record

LARGEST = 1 << 20


class Pattern(Record):
    """One line: `negated` takes files back in."""

    text: str
    negated: bool
    expression: re.Pattern[str]


class Ignore:
    """All lines of one file."""

    def __init__(self, patterns: tuple[Pattern, ...] = ()) -> None:
        self.patterns = patterns

    def excludes(self, path: str) -> bool:
        """Whether a path, relative to the context and without a slash at its end, is left out."""
        parents = _parents(path)
        found = False
        for pattern in self.patterns:
            if pattern.negated is not found:
                continue  # it could not change the answer
            if any(pattern.expression.fullmatch(one) for one in parents):
                found = not pattern.negated
        return found

    def may_hold_exceptions(self, directory: str) -> bool:
        """Whether something below an excluded directory could be taken back in."""
        for pattern in self.patterns:
            if pattern.negated:
                fixed = re.split(r"[*?\[\\]", pattern.text, maxsplit=1)[0]
                short = min(len(fixed), len(directory) + 1)
                if fixed[:short] == f"{directory}/"[:short]:
                    return True
        return False


def _parents(path: str) -> list[str]:
    """The path itself and every directory above it."""
    found = [path]
    while "/" in path:
        path = path.rpartition("/")[0]
        found.append(path)
    return found


def parse(text: str | bytes, where: str = ".dockerignore") -> Ignore:
    """The patterns of a file.

    Raises:
        UsageError: a pattern is malformed, with its line.
    """
    if isinstance(text, bytes):
        text = text.decode(errors="surrogateescape")
    if len(text) > LARGEST:
        raise errors.UsageError(f"{where}: {len(text)} letters are more than {LARGEST}")
    patterns = []
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        cleaned = clean(line)
        if cleaned is not None:
            try:
                patterns.append(pattern(cleaned))
            except errors.UsageError as error:
                raise errors.UsageError(f"{where}:{number}: {error}") from None
    return Ignore(tuple(patterns))


def clean(line: str) -> str | None:
    """A line as a pattern: spaces, `./` and slashes around it gone; None for nothing."""
    if line.startswith("#"):
        return None
    line = line.strip()
    if not line:
        return None
    negated = line.startswith("!")
    line = line[1:].strip() if negated else line
    if line:
        line = posixpath.normpath(line)
        line = f"/{line.lstrip('/')}" if line.startswith("/") else line
        if len(line) > 1 and line.startswith("/"):
            line = line[1:]
    return f"!{line}" if negated else line


def pattern(text: str) -> Pattern:
    """One cleaned pattern.

    Raises:
        UsageError: a bracket is not closed, or `!` stands alone.
    """
    negated = text.startswith("!")
    body = text[1:] if negated else text
    if negated and not body:
        raise errors.UsageError("illegal exclusion pattern: '!'")
    try:
        return Pattern(body, negated, re.compile(expression(body), re.DOTALL))
    except re.error as error:
        raise errors.UsageError(f"syntax error in pattern {text!r}: {error}") from None


def expression(text: str) -> str:
    """The regular expression of a pattern."""
    parts: list[str] = []
    place = 0
    while place < len(text):
        letter = text[place]
        if text.startswith("**", place):
            place += 2
            place += text.startswith("/", place)
            parts.append(".*" if place >= len(text) else "(?:.*/)?")
            continue
        if letter == "[":
            piece, place = _class(text, place)
            parts.append(piece)
            continue
        if letter == "\\" and place + 1 < len(text):
            place += 1
            parts.append(re.escape(text[place]))
        else:
            parts.append({"*": "[^/]*", "?": "[^/]"}.get(letter, re.escape(letter)))
        place += 1
    return "".join(parts)


def _class(text: str, place: int) -> tuple[str, int]:
    """A `[a-z]` or `[^a]`, and where it ends."""
    end = place + 1
    negated = text.startswith("^", end)
    end += negated
    body = ""
    while end < len(text) and (text[end] != "]" or not body):
        if text[end] == "\\" and end + 1 < len(text):
            end += 1
            body += re.escape(text[end])
        else:
            body += text[end] if text[end] == "-" else re.escape(text[end])
        end += 1
    if end >= len(text):
        raise errors.UsageError(f"syntax error in pattern {text!r}: '[' is not closed")
    return f"[{'^' if negated else ''}{body}]", end + 1
