"""Words of a Dockerfile: quotes, escapes, and variables with the shell's modifiers.

    $name ${name}  ${name:-word} ${name:+word} ${name:?word}   (without the colon: unset only)
    ${name#pattern} ## % %%                                    a prefix or suffix less
    ${name/pattern/text} //                                    replaced once, everywhere

Nothing is expanded in single quotes or after the escape character. Source: Docker, "Dockerfile
reference", Environment replacement; BuildKit, frontend/dockerfile/shell/lex.go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from labcontainer.build.errors import DockerfileError

DEEPEST = 50
_SPECIAL = "@*#?-$!"


class Lexer:
    """Reads words. `raw` keeps quotes, escapes and variables as they are, to split only."""

    def __init__(
        self, escape: str = "\\", variables: Mapping[str, str] | None = None, *, raw: bool = False
    ) -> None:
        self.escape = escape
        self.variables = variables or {}
        self.raw = raw
        self.used: set[str] = set()  # the names of the variables that were asked for

    def word(self, text: str) -> str:
        """All of a text as one word.

        Raises:
            DockerfileError: a quote or a brace is not closed; a needed variable is not set.
        """
        return _Reading(self, text).whole()

    def words(self, text: str) -> list[str]:
        """A text split at the spaces that are not quoted; spaces in variables split too.

        Raises:
            DockerfileError: as for `word`.
        """
        return _Reading(self, text).split()


class _Reading:
    """One text on its way through the lexer."""

    def __init__(self, lexer: Lexer, text: str, depth: int = 0) -> None:
        self._lexer = lexer
        self._escape = lexer.escape
        self._text = text
        self._place = 0
        self._depth = depth
        if depth > DEEPEST:
            raise DockerfileError("variables are nested too deeply")

    def _peek(self) -> str:
        return self._text[self._place : self._place + 1]

    def _next(self) -> str:
        letter = self._peek()
        self._place += 1
        return letter

    # --- words ------------------------------------------------------------------------------------

    def whole(self, stop: str = "") -> str:
        """Up to a letter of `stop` that is not quoted, or the end."""
        parts: list[str] = []
        while (letter := self._peek()) and letter not in stop:
            parts.append(self._piece(letter))
        if stop and not letter:
            raise DockerfileError(f"syntax error: missing {stop[-1]!r}")
        return "".join(parts)

    def split(self) -> list[str]:
        words: list[str] = []
        current, begun = "", False
        while letter := self._peek():
            if letter.isspace():
                self._place += 1
                words += [current] if begun else []
                current, begun = "", False
                continue
            piece = self._piece(letter)
            if letter == "$" and not self._lexer.raw:
                parts = re.split(r"\s+", piece)
                for part in parts[:-1]:
                    words += [current + part] if current + part else []
                    current = ""
                current, begun = current + parts[-1], begun or bool(current + parts[-1])
                continue
            current, begun = current + piece, True
        return [*words, current] if begun else words

    def _piece(self, letter: str) -> str:
        """What one letter stands for, or begins."""
        if letter == "'":
            return self._single()
        if letter == '"':
            return self._double()
        if letter == "$" and not self._lexer.raw:
            return self._dollar()
        self._place += 1
        if letter == self._escape:
            following = self._next()
            return letter + following if self._lexer.raw else following
        return letter

    def _single(self) -> str:
        end = self._text.find("'", self._place + 1)
        if end < 0:
            raise DockerfileError("unexpected end of statement while looking for matching "
                                  "single-quote")  # fmt: skip
        found = self._text[self._place : end + 1]
        self._place = end + 1
        return found if self._lexer.raw else found[1:-1]

    def _double(self) -> str:
        begin = self._place
        self._place += 1
        parts: list[str] = []
        while (letter := self._peek()) != '"':
            if not letter:
                raise DockerfileError("unexpected end of statement while looking for matching "
                                      "double-quote")  # fmt: skip
            parts.append(self._quoted(letter))
        self._place += 1
        return self._text[begin : self._place] if self._lexer.raw else "".join(parts)

    def _quoted(self, letter: str) -> str:
        if letter == "$" and not self._lexer.raw:
            return self._dollar()
        self._place += 1
        if letter == self._escape and (following := self._peek()):
            self._place += 1
            return following if following in ('"', "$", self._escape) else letter + following
        return letter

    # --- variables --------------------------------------------------------------------------------

    def _dollar(self) -> str:
        self._place += 1
        if self._peek() == "{":
            self._place += 1
            return self._brace()
        name = self._name()
        return (self._value(name) or "") if name else "$"

    def _name(self) -> str:
        match = re.compile(rf"[A-Za-z_][A-Za-z0-9_]*|[0-9]+|[{re.escape(_SPECIAL)}]").match(
            self._text, self._place
        )
        if match is None:
            return ""
        self._place = match.end()
        return match[0]

    def _value(self, name: str) -> str | None:
        self._lexer.used.add(name)
        return self._lexer.variables.get(name)

    def _brace(self) -> str:
        name = self._name()
        if not name:
            raise DockerfileError("syntax error: bad substitution")
        operator = self._next()
        if operator == "}":
            return self._value(name) or ""
        if operator == ":":
            return self._conditional(name, self._next(), empty_is_unset=True)
        if operator and operator in "-+?":
            return self._conditional(name, operator, empty_is_unset=False)
        if operator and operator in "#%":
            return self._trimmed(name, operator)
        if operator == "/":
            return self._replaced(name)
        if not operator:
            raise DockerfileError("syntax error: missing '}'")
        raise DockerfileError(f"unsupported modifier ({operator}) in substitution")

    def _conditional(self, name: str, operator: str, *, empty_is_unset: bool) -> str:
        word = self._inner("}")
        value = self._value(name)
        is_set = bool(value) if empty_is_unset else value is not None
        if operator == "-":
            return (value or "") if is_set else word
        if operator == "+":
            return word if is_set else ""
        if operator == "?":
            if not is_set:
                raise DockerfileError(f"{name}: {word or 'not allowed to be unset'}")
            return value or ""
        raise DockerfileError(f"unsupported modifier (:{operator}) in substitution")

    def _inner(self, stop: str) -> str:
        """What stands between the operator and the closing brace, itself expanded."""
        reading = _Reading(self._lexer, self._text, self._depth + 1)
        reading._place = self._place
        found = reading.whole(stop)
        self._place = reading._place + 1
        return found

    def _trimmed(self, name: str, operator: str) -> str:
        greedy = self._peek() == operator
        self._place += greedy
        pattern = self._inner("}")
        value = self._value(name) or ""
        lengths = range(len(value) + 1)
        match = re.compile(shell_pattern(pattern), re.DOTALL)
        for length in reversed(lengths) if greedy else lengths:
            if operator == "#" and match.fullmatch(value[:length]):
                return value[length:]
            if operator == "%" and match.fullmatch(value[len(value) - length :]):
                return value[: len(value) - length]
        return value

    def _replaced(self, name: str) -> str:
        every = self._peek() == "/"
        self._place += every
        pattern = self._inner("/}")
        text = self._inner("}") if self._text[self._place - 1] == "/" else ""
        match = re.compile(shell_pattern(pattern), re.DOTALL)
        value = self._value(name) or ""
        return match.sub(lambda _found: text, value, count=0 if every else 1) if pattern else value


def shell_pattern(pattern: str) -> str:
    """A regular expression of a shell pattern: `*`, `?` and backslashes."""
    parts: list[str] = []
    place = 0
    while place < len(pattern):
        letter = pattern[place]
        if letter == "\\" and place + 1 < len(pattern):
            place += 1
            parts.append(re.escape(pattern[place]))
        else:
            parts.append({"*": ".*", "?": "."}.get(letter, re.escape(letter)))
        place += 1
    return "".join(parts)
