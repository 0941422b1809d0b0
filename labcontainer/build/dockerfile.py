"""The lines of a Dockerfile: parser directives, comments, continued lines, heredocs.

    # escape=`              directives, before anything else
    FROM busybox            an instruction: keyword, then --flags, then the rest of its line
    RUN --network=none \\    goes on in the next line; comments between are left out
        make
    COPY <<EOF /etc/motd    the lines up to EOF belong to it
    EOF

What the rest of a line means is in `instructions`. Source: Docker, "Dockerfile reference", and the
parser of BuildKit (frontend/dockerfile/parser), whose words for errors these are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from labcontainer.build.errors import DockerfileError
from labcontainer.build.words import Lexer
from labcontainer.record import Record

KEYWORDS = (
    "ADD ARG CMD COPY ENTRYPOINT ENV EXPOSE FROM HEALTHCHECK LABEL MAINTAINER ONBUILD RUN SHELL "
    "STOPSIGNAL USER VOLUME WORKDIR"
).split()
WITH_HEREDOCS = ("ADD", "COPY", "RUN")
LARGEST = 4 << 20
_DIRECTIVE = re.compile(r"#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*$")
_HEREDOC = re.compile(r"(\d*)<<(-?)([^<]*)$")


class Heredoc(Record):
    """A file that stands in the Dockerfile. `expand` is false where its name was quoted."""

    name: str
    expand: bool
    chomp: bool
    data: str

    @property
    def content(self) -> str:
        """Its text; with `<<-` without the tabs that lines begin with."""
        if not self.chomp:
            return self.data
        return "".join(line.lstrip("\t") for line in self.data.splitlines(keepends=True))


class Line(Record):
    """One instruction as it is written: `text` is all of it in one line, from line `number` on."""

    keyword: str
    flags: tuple[str, ...]
    rest: str
    number: int
    text: str
    heredocs: tuple[Heredoc, ...] = ()

    def wrong(self, problem: str) -> DockerfileError:
        """The error that says so of this line."""
        return DockerfileError(problem, self.number, self.text)


class Dockerfile(Record):
    """A whole file: its directives by name, its instructions in order."""

    directives: dict[str, str]
    lines: tuple[Line, ...]

    @property
    def escape(self) -> str:
        """The character that continues lines and takes letters' meaning away."""
        return self.directives.get("escape", "\\")


def parse(text: str | bytes) -> Dockerfile:
    """The instructions of a Dockerfile.

    Raises:
        DockerfileError: it can't be read; nothing else is ever raised.
    """
    if isinstance(text, bytes):
        text = text.decode(errors="surrogateescape")
    if len(text) > LARGEST:
        raise DockerfileError(f"{len(text)} letters are more than {LARGEST}")
    physical = text.removeprefix("\ufeff").split("\n")
    directives = _directives(physical)
    lines = tuple(_Reader(physical, directives.get("escape", "\\")).instructions())
    if not lines:
        raise DockerfileError("file with no instructions")
    return Dockerfile(directives, lines)


def _directives(physical: list[str]) -> dict[str, str]:
    """The `# name=value` lines that the file begins with; any other line ends them."""
    found: dict[str, str] = {}
    for number, line in enumerate(physical, 1):
        match = _DIRECTIVE.match(line.strip())
        name = match[1].lower() if match else ""
        if match is None or name not in ("syntax", "escape", "check"):
            return found
        if name in found:
            raise DockerfileError(f"only one {name} parser directive can be used", number, line)
        if name == "escape" and match[2] not in ("\\", "`"):
            problem = f"invalid ESCAPE {match[2]!r}: must be ` or \\"
            raise DockerfileError(problem, number, line)
        found[name] = match[2]
    return found


class _Reader:
    """The physical lines, one logical line after another."""

    def __init__(self, physical: list[str], escape: str) -> None:
        self._lines = physical
        self._next = 0
        self._escape = escape
        mark = re.escape(escape)
        self._continues = re.compile(rf"(?:(?<!{mark}){mark}|^{mark})[ \t]*$")

    def instructions(self) -> Iterator[Line]:
        while self._next < len(self._lines):
            number = self._next + 1
            text = self._logical()
            if text.strip():
                yield self._instruction(number, text)

    def _take(self) -> str:
        line = self._lines[self._next].removesuffix("\r")
        self._next += 1
        return line

    def _logical(self) -> str:
        """A line with all that it goes on in; comments and empty lines between are left out."""
        first = self._take().lstrip(" \t")
        text, continues = self._part("" if first.startswith("#") else first)
        while continues and self._next < len(self._lines):
            line = self._take()
            if not line.strip() or line.lstrip(" \t").startswith("#"):
                continue
            part, continues = self._part(line)
            text += part
        return text

    def _part(self, line: str) -> tuple[str, bool]:
        match = self._continues.search(line)
        return (line[: match.start()], True) if match else (line, False)

    def _instruction(self, number: int, text: str) -> Line:
        keyword, _, rest = _cut(text.strip())
        keyword = keyword.upper()
        wrong = DockerfileError("", number, text.strip())
        if keyword not in KEYWORDS:
            wrong.problem = unknown(keyword)
            raise wrong
        flags, rest = split_flags(rest)
        if not rest and not (keyword == "ONBUILD" and flags):
            wrong.problem = f"{keyword} requires at least one argument"
            raise wrong
        heredocs = tuple(self._heredocs(keyword, rest, wrong))
        return Line(keyword, flags, rest, number, text.strip(), heredocs)

    def _heredocs(self, keyword: str, rest: str, wrong: DockerfileError) -> Iterator[Heredoc]:
        """The files whose names a line has, read from the lines that follow it."""
        if keyword == "ONBUILD":
            keyword, _, rest = _cut(rest.strip())
            rest = split_flags(rest)[1]
        if keyword.upper() not in WITH_HEREDOCS or "<<" not in rest:
            return
        for name, expand, chomp in heredocs_in(rest, self._escape):
            data: list[str] = []
            while self._next < len(self._lines):
                line = self._take()
                if (line.lstrip("\t") if chomp else line) == name:
                    break
                data.append(f"{line}\n")
            else:
                wrong.problem = f"unterminated heredoc {name!r}"
                raise wrong
            yield Heredoc(name, expand, chomp, "".join(data))


def _cut(text: str) -> tuple[str, str, str]:
    """The first word, the spaces, and what follows."""
    match = re.match(r"(\S*)([\t\v\f\r ]*)", text)
    assert match is not None
    return match[1], match[2], text[match.end() :].strip()


def unknown(keyword: str) -> str:
    """The words for a keyword that there is none of, with the one that was perhaps meant."""
    import difflib

    close = difflib.get_close_matches(keyword, KEYWORDS, 1, 0.6)
    return f"unknown instruction: {keyword}" + (f" (did you mean {close[0]}?)" if close else "")


def split_flags(rest: str) -> tuple[tuple[str, ...], str]:
    """The words that begin with `--` at the start of a line, and the rest; `--` alone ends them."""
    flags: list[str] = []
    while rest.startswith("--"):
        word, end = _flag(rest)
        rest = rest[end:].lstrip()
        if word == "--":
            break
        flags.append(word)
    return tuple(flags), rest


def _flag(text: str) -> tuple[str, int]:
    """One word, its quotes and backslashes taken away, and where it ends."""
    word, place, quote = "", 0, ""
    while place < len(text):
        letter = text[place]
        if letter == "\\" and place + 1 < len(text) and quote != "'":
            place += 1
            word += text[place]
        elif quote:
            quote, word = ("", word) if letter == quote else (quote, word + letter)
        elif letter in "'\"":
            quote = letter
        elif letter.isspace():
            break
        else:
            word += letter
        place += 1
    return word, place


def heredocs_in(rest: str, escape: str = "\\") -> list[tuple[str, bool, bool]]:
    """The heredocs that the words of a line open: (name, expand, chomp) of each."""
    try:
        words = Lexer(escape, raw=True).words(rest)
    except DockerfileError:
        return []  # quotes that only the shell understands
    return [found for word in words if (found := heredoc(word, escape)) is not None]


def heredoc(word: str, escape: str = "\\") -> tuple[str, bool, bool] | None:
    """What a word such as `<<-"EOF"` opens, if anything."""
    match = _HEREDOC.match(word)
    if match is None or not match[3]:
        return None
    try:
        names = Lexer(escape).words(match[3])
    except DockerfileError:
        return None
    if len(names) != 1:
        return None
    return names[0], names[0] == match[3], bool(match[2])
